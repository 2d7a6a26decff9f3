import csv
import math

from astroclf.evaluation.history import read_history, write_history


def test_floats_survive_to_the_last_bit_and_gaps_are_empty(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [{"step": 1, "val/loss": 0.1 + 0.2}, {"step": 2, "val/loss": math.nan, "val/extra": 1e-300}])
    first, second = csv.DictReader(path.read_text().splitlines())
    assert float(first["val/loss"]) == 0.1 + 0.2
    assert first["val/extra"] == ""
    assert second["val/loss"] == ""
    assert float(second["val/extra"]) == 1e-300


def test_what_is_read_is_what_was_written(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [{"val/loss": 2.0}, {"val/loss": 0.1 + 0.2, "train/loss": 1.8}])
    history = read_history(path)
    assert history["val/loss"].tolist() == [2.0, 0.1 + 0.2]
    assert math.isnan(history["train/loss"][0])
    assert history["train/loss"][1] == 1.8
    path.write_text("step,val/loss\n")  # stopped before the first validation
    assert read_history(path) == {}
