import csv
import math

from astroclf.evaluation.history import write_history


def test_floats_survive_to_the_last_bit_and_gaps_are_empty(tmp_path):
    path = tmp_path / "history.csv"
    write_history(path, [{"step": 1, "val/loss": 0.1 + 0.2}, {"step": 2, "val/loss": math.nan, "val/extra": 1e-300}])
    first, second = csv.DictReader(path.read_text().splitlines())
    assert float(first["val/loss"]) == 0.1 + 0.2
    assert first["val/extra"] == ""
    assert second["val/loss"] == ""
    assert float(second["val/extra"]) == 1e-300
