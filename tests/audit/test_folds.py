"""Doubts of networks that have not seen what they judge: how samples are shared out, what is kept, what comes of it."""

from __future__ import annotations

import csv
import json
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.audit import folds as fold_trainings
from astroclf.audit.folds import divide, epochs_for, out_of_fold
from astroclf.audit.inspection import inspect
from astroclf.config.build import build
from astroclf.config.compose import composed_as
from astroclf.data.cache.image_cache import ImageCache, open_image_cache
from astroclf.data.catalog import Catalog
from astroclf.data.split.links import Links, Pairs
from astroclf.engine.signals import Terminated
from astroclf.errors import ConfigError, Interrupted
from astroclf.settings.verbs.data import CheckConfig
from tests.audit.planted import save

NAMES = ("dark", "light")


def catalog(labels: list[int], **columns) -> tuple[Catalog, np.ndarray]:
    ids = np.array([f"{row}.png" for row in range(len(labels))])
    names = tuple(f"class {label}" for label in range(max(labels) + 1))
    return Catalog(ids, np.array(labels), names, **columns), np.array([f"{row:08x}" for row in range(len(labels))])


def write_easy(folder: Path, each: int = 6) -> Path:
    """Two classes that a network learns in a few steps, one image of the second lying in the folder of the first."""
    random = np.random.default_rng(0)
    for name, level in (("dark", 40), ("light", 180)):
        for number in range(each):
            save(folder / name / f"{number}.png", random.integers(level, level + 40, (24, 24, 3), np.uint8))
    save(folder / "dark" / "wrong.png", random.integers(180, 220, (24, 24, 3), np.uint8))
    return folder


def config(folder: Path, *overrides: str) -> CheckConfig:
    words = [
        "dataset=folder", f"dataset.path={folder}", f"dataset.cache_dir={folder.parent / 'cache'}",
        "dataset.image_size=24", "trainer.device=cpu", "trainer.num_workers=1", *overrides,
    ]  # fmt: skip
    return composed_as(CheckConfig, "check", words)


def opened(config: CheckConfig) -> ImageCache:
    return open_image_cache(build(config.dataset, reading=config.dataset.reading), Path(config.dataset.cache_dir))


def test_each_sample_is_judged_once_and_what_is_linked_lies_in_one_fold():
    table, digests = catalog([0] * 20 + [1] * 20, split=np.array(["train", "test"] * 20))
    links = Links(near=Pairs(np.array([[0, 1], [20, 25]]), np.ones(2)))
    folds = divide(table, digests, links, 5, seed=0)
    judged = np.concatenate([folds.rows(number)[1] for number in range(5)])
    assert sorted(judged) == list(range(40))
    assert folds.of_row[0] == folds.of_row[1]
    assert folds.of_row[20] == folds.of_row[25]
    assert folds.judged.all()
    assert folds.apart.tolist() == [19, 19]
    for number in range(5):
        trained, tested = folds.rows(number)
        assert not set(trained) & set(tested)
        assert table.class_counts(tested).min() >= 3


def test_a_class_of_one_image_is_not_judged_and_one_of_two_is():
    table, digests = catalog([0] * 10 + [1] * 2 + [2])
    folds = divide(table, digests, Links(), 5, seed=0)
    assert folds.judged.tolist() == [True] * 12 + [False]
    assert folds.of_row[10] != folds.of_row[11]
    assert folds.apart.tolist() == [10, 2, 1]


def test_few_images_are_gone_through_often():
    assert [epochs_for(images) for images in (30, 800, 2000, 100_000)] == [40, 20, 8, 4]


def test_a_model_and_folds_cannot_both_doubt():
    with pytest.raises(ConfigError, match="model=models:/a@b and folds=5 both say what doubts the labels"):
        composed_as(CheckConfig, "check", ["folds=5", "model=models:/a@b"])


@pytest.fixture
def judge(monkeypatch):
    """Replace the training of a fold; returns the numbers of images that each was to be trained on."""
    trained: list[int] = []

    def answer(parts, advance):
        trained.append(len(parts.data.splits.train))
        rows = parts.data.splits.test
        return np.eye(len(parts.data.classes), dtype=np.float32)[parts.data.cache.catalog.labels[rows]]

    monkeypatch.setattr(fold_trainings, "_judge", answer)
    monkeypatch.setattr(fold_trainings, "images_per_second", lambda parts: 100.0)
    return trained


def test_finished_folds_are_kept_until_labels_or_settings_change(tmp_path, judge):
    settings = config(write_easy(tmp_path / "sky"), "folds=3")
    cache = opened(settings)
    folds = divide(cache.catalog, cache.digests, Links(), 3, seed=0)
    first = out_of_fold(settings, cache, folds)
    assert len(judge) == 3
    assert (first.argmax(axis=1) == cache.catalog.labels).all()
    np.testing.assert_array_equal(out_of_fold(settings, cache, folds), first)
    assert len(judge) == 3
    out_of_fold(replace(settings, fold_epochs=2), cache, folds)
    assert len(judge) == 6
    relabelled = replace(cache, catalog=replace(cache.catalog, labels=1 - cache.catalog.labels))
    out_of_fold(settings, relabelled, folds)
    assert len(judge) == 9


@pytest.mark.parametrize(("stop", "status"), [(KeyboardInterrupt, 130), (Terminated, 143)])
def test_a_stopped_check_goes_on_with_the_next_fold(tmp_path, judge, monkeypatch, stop, status):
    settings = config(write_easy(tmp_path / "sky"), "folds=3")
    cache = opened(settings)
    folds = divide(cache.catalog, cache.digests, Links(), 3, seed=0)
    answer = fold_trainings._judge

    def stopped_in_the_second(parts, advance):
        if judge:
            raise stop
        return answer(parts, advance)

    monkeypatch.setattr(fold_trainings, "_judge", stopped_in_the_second)
    with pytest.raises(Interrupted, match="1 of 3 folds are trained and kept") as caught:
        out_of_fold(settings, cache, folds)
    assert caught.value.exit_code == status
    monkeypatch.setattr(fold_trainings, "_judge", answer)
    assert np.isfinite(out_of_fold(settings, cache, folds)).all()
    assert len(judge) == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_check_trains_the_folds_and_says_how_far_they_can_be_trusted(tmp_path):
    settings = config(write_easy(tmp_path / "sky"), "folds=2", "fold_epochs=1", "fold_image_size=16")
    save(tmp_path / "sky" / "comet" / "lonely.png", np.random.default_rng(1).integers(0, 255, (24, 24, 3), np.uint8))
    out = tmp_path / "out"
    assert inspect(settings, out, "check it") == 2  # no splits with a class of one image; its labels are looked at
    saved = json.loads((out / "check.json").read_text())
    (few,) = (found for found in saved["findings"] if found["kind"] == "few for folds")
    assert few["cases"][0]["text"] == "comet: 1 independent image for 2 folds; its label cannot be judged"
    said = saved["dataset"]["out of fold"]
    assert "of the 13 images that they judged" in said
    assert said in (out / "report.html").read_text()
    suspects = (out / "suspects.csv").read_text()
    assert suspects.startswith("id,label,suggested_label,label_probability,suggested_probability,class_accuracy\n")
    assert "lonely" not in suspects
    assert not list(tmp_path.rglob("*.db"))


@pytest.mark.slow
def test_a_wrong_label_is_found_by_networks_that_have_not_seen_it(tmp_path):
    settings = config(write_easy(tmp_path / "sky", each=40), "folds=3", "fold_epochs=12")
    assert inspect(settings, tmp_path / "out", "check it") == 1
    with (tmp_path / "out" / "suspects.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["id"], first["label"], first["suggested_label"]) == ("dark/wrong.png", "dark", "light")
    assert float(first["class_accuracy"]) > 0.9
