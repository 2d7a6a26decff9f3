"""Training against the votes on each sample, from a table of fractions to the records; and where there are none."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from PIL import Image

from astroclf.errors import ConfigError
from astroclf.losses.focal import FocalLoss
from astroclf.run.build import ProcessCache, TrialContext, opened_run
from astroclf.run.data import load_data
from astroclf.run.folder import RunFolder
from astroclf.run.train import train
from tests.config.test_validate import config

SHARES = {"smooth": (0.6, 0.3), "disk": (0.3, 0.6)}  # of the votes; the rest are for an artifact, which never wins
SOFT = (
    "dataset=folder", "dataset.image_size=16", "loss.soft_labels=true", "backbone=custom6conv", "trainer.device=cpu",
    "tracking=none",
)  # fmt: skip
VOTES = "dataset.columns={path: id, votes: [smooth,disk,artifact]}"


@pytest.fixture
def sky(tmp_path):
    """A folder of images that are easily told apart, and the table of their votes."""
    folder, rng, lines = tmp_path / "sky", np.random.default_rng(0), ["id,smooth,disk,artifact"]
    folder.mkdir()
    for number in range(48):
        kind = "disk" if number % 2 else "smooth"
        pixels = rng.integers(0, 60, (16, 16, 3), np.uint8) + np.uint8(150 * (kind == "disk"))
        Image.fromarray(pixels).save(folder / f"{number}.png")
        lines.append(f"{number},{SHARES[kind][0]},{SHARES[kind][1]},0.1")
    (folder / "votes.csv").write_text("\n".join([*lines, ""]))
    return folder


def test_the_loss_goes_by_the_votes_and_all_else_by_the_largest(sky, tmp_path):
    asked = config(
        *SOFT, VOTES, f"dataset.path={sky}", f"dataset.cache_dir={tmp_path / 'cache'}", "dataset.val_fraction=0.25",
        "dataset.test_fraction=0.25", "loss.label_smoothing=0", "head.uncertainty=false", "trainer.epochs=1",
        "trainer.batch_size=4", "trainer.precision=fp32",
    )  # fmt: skip
    metrics = train(asked, RunFolder.new(tmp_path / "run"), "python -m astroclf.train")
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").read_text().splitlines()))
    assert len(rows) == metrics["test/images"] == 12
    assert all(row["label"] == ("disk" if int(row["id"].partition(".")[0]) % 2 else "smooth") for row in rows)
    shares = [(2 / 3, 1 / 3) if row["label"] == "smooth" else (1 / 3, 2 / 3) for row in rows]
    chances = [(float(row["p_smooth"]), float(row["p_disk"])) for row in rows]
    losses = [-s * math.log(p) - d * math.log(q) for (s, d), (p, q) in zip(shares, chances, strict=True)]
    assert metrics["test/loss"] == pytest.approx(np.mean(losses), rel=1e-3)


def test_a_run_does_not_go_on_with_other_votes_though_the_same_class_wins(sky, tmp_path):
    def contents(name, *words):
        asked = config(*SOFT, VOTES, f"dataset.path={sky}", f"dataset.cache_dir={tmp_path / 'cache'}", *words)
        with opened_run(asked, RunFolder.new(tmp_path / name), "", ProcessCache(), TrialContext()) as run:
            return run.trainer.fingerprints, run.data.splits.fingerprints

    soft, images = contents("soft")
    assert contents("again")[0] == soft
    assert contents("hard", "loss.soft_labels=false") == (images, images)
    (sky / "votes.csv").write_text((sky / "votes.csv").read_text().replace("0.6,0.3,", "0.7,0.2,"))
    changed, same = contents("changed")
    assert same == images
    assert all(changed[name] != soft[name] for name in ("train", "val", "test"))


@pytest.fixture
def labelled(sky):
    """The same images with labels instead of votes."""
    (sky / "votes.csv").rename(sky / "labels.csv")
    lines = [f"{number},{'disk' if number % 2 else 'smooth'}" for number in range(48)]
    (sky / "labels.csv").write_text("\n".join(["path,label", *lines, ""]))
    return sky


def test_without_votes_soft_labels_are_refused_before_anything_is_decoded(labelled, tmp_path):
    words = (*SOFT, f"dataset.path={labelled}", f"dataset.cache_dir={tmp_path / 'cache'}")
    with pytest.raises(ConfigError, match=r"loss\.soft_labels=true .* has none\. .*dataset\.columns\.votes"):
        load_data(config(*words))
    assert not (tmp_path / "cache").exists()
    process = ProcessCache()
    process.data(config(*words, "loss.soft_labels=false"))
    with (  # also where another run of the process has decoded it
        pytest.raises(ConfigError, match="this data set has none"),
        opened_run(config(*words), RunFolder.new(tmp_path / "run"), "", process, TrialContext()),
    ):
        pass


def test_a_loss_that_takes_no_soft_labels_is_refused_before_data_are_looked_for(monkeypatch, tmp_path):
    monkeypatch.setattr(FocalLoss, "forward", lambda self, logits_BC, labels_B: logits_BC.sum(1))
    asked = config("loss=focal", *SOFT, f"dataset.path={tmp_path}", f"dataset.cache_dir={tmp_path / 'cache'}")
    with (
        pytest.raises(ConfigError, match=r"focal\.FocalLoss takes no soft labels"),
        opened_run(asked, RunFolder.new(tmp_path / "run"), "", ProcessCache(), TrialContext()),
    ):
        pass
    assert not (tmp_path / "cache").exists()
