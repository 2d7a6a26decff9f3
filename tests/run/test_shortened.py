"""A run that looks at a part of validation and test says so, and leaves nothing that could pass for a result."""

from __future__ import annotations

import json

import mlflow
import numpy as np
import pytest

from astroclf.config.compose import composed_as
from astroclf.run.build import ProcessCache
from astroclf.run.data import load_data
from astroclf.run.folder import RunFolder
from astroclf.run.train import train
from astroclf.settings.config import Config
from astroclf.util.logs import log

SMALL = ("dataset.samples=200", "dataset.image_size=16", "backbone=custom6conv", "trainer=debug")


def config_of(*overrides: str) -> Config:
    return composed_as(Config, "config", [*SMALL, *overrides])


def test_a_part_has_its_own_fingerprint_and_the_classes_of_the_whole():
    whole = load_data(config_of("tracking=none"))
    part = whole.shortened(20)
    for name in ("val", "test"):
        rows, all_rows = getattr(part.splits, name), getattr(whole.splits, name)
        assert len(rows) == 20
        assert set(rows) < set(all_rows)
        assert np.all(np.diff(rows) > 0)
        assert np.bincount(whole.cache.catalog.labels[rows]).tolist() == [2] * 10
        assert part.splits.fingerprints[name] != whole.splits.fingerprints[name]
        np.testing.assert_array_equal(getattr(whole.shortened(20).splits, name), rows)
    assert part.splits.train is whole.splits.train
    assert part.fingerprints["train_fingerprint"] == whole.fingerprints["train_fingerprint"]
    assert part.caveat == f"tested on 20 of {len(whole.splits.test)} images: not a result"
    assert whole.caveat == ""
    assert whole.shortened(10_000).fingerprints == whole.fingerprints


def test_a_debug_run_leaves_one_checkpoint_a_report_and_no_model(tmp_path, database_uri, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(log, "propagate", True)
    folder = tmp_path / "run"
    with caplog.at_level("INFO", logger=log.name):
        config = config_of(f"tracking.uri={database_uri}", "trainer.keep_lowest_loss=3")
        metrics = train(config, RunFolder.new(folder), "astroclf train")
    assert metrics["test/images"] == 24
    assert "run/model" not in metrics
    assert len(json.loads((folder / "metrics.json").read_text())) == len(metrics)
    assert len({path.stat().st_ino for path in (folder / "checkpoints").iterdir()}) == 1
    assert not (folder / "model").exists()
    assert {path.name for path in (folder / "plots").iterdir()} == {"augmented.png"}
    page = (folder / "report.html").read_text()
    assert "tested on 24 of 30 images: not a result" in page
    assert "Labels that may be wrong" in page
    assert (folder / "suspects.csv").read_text().startswith("id,label,suggested_label,")
    assert "This was tested on 24 of 30 images: not a result. Nothing is packaged or registered." in caplog.messages
    client = mlflow.MlflowClient(database_uri)
    assert client.search_registered_models() == []
    assert (
        client.get_run(metrics["run/mlflow_id"]).data.tags["partial_test"] == "tested on 24 of 30 images: not a result"
    )


def test_a_few_steps_do_not_copy_the_whole_data_set_to_memory(tmp_path, monkeypatch):
    asked: list[str] = []

    class Stopped(Exception):
        pass

    class Asking(ProcessCache):
        def pixels(self, data, keep_images_on, device):
            asked.append(keep_images_on)
            raise Stopped

    monkeypatch.chdir(tmp_path)
    for steps in ("3", "null"):
        with pytest.raises(Stopped):
            train(
                config_of("tracking=none", f"trainer.max_steps={steps}"),
                RunFolder.new(tmp_path / steps), "astroclf train", Asking(),
            )  # fmt: skip
    assert asked == ["disk", "auto"]
