"""A training with a teacher: what is refused, what is kept, and that a stopped run goes on with the same one."""

from __future__ import annotations

import dataclasses
import shutil
from contextlib import chdir

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from astroclf.config.compose import composed_as
from astroclf.config.resume import resumed_config
from astroclf.data.split.assign import Splits
from astroclf.errors import CheckpointError, ConfigError
from astroclf.inference.seen import SeenImages
from astroclf.models.precision import choose_precision
from astroclf.run import teacher as teaching
from astroclf.run.build import ProcessCache, TrialContext
from astroclf.run.data import Data
from astroclf.run.folder import RunFolder
from astroclf.run.teacher import check_preparation, load_teachers, teacher_for
from astroclf.run.train import fit
from astroclf.settings.config import Config
from tests.tiny import write_tiny_package

CPU = choose_precision("fp32", torch.device("cpu"))
WORDS = (
    "dataset.samples=60", "dataset.image_size=32", "backbone=custom6conv", "tracking=none", "trainer=debug",
    "trainer.max_eval_batches=1", "trainer.batch_size=4", "trainer.precision=fp32",
)  # fmt: skip


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr("astroclf.models.custom6conv.WIDTHS", (8,) * 6)


@pytest.fixture
def data(monkeypatch):
    """Return stand-ins for a decoded data set of the tiny package's classes: five images, one of the test split."""

    class Cache:
        tones: dict = {}  # noqa: RUF012
        pixel_digests = np.array([f"{row:016x}" for row in range(5)])

    monkeypatch.setattr(Data, "classes", ("Sb (barred)", "Merging", "Round Smooth"))
    return Data(Cache(), Splits(np.arange(3), np.array([3]), np.array([4]), {}))


def config(*words: str) -> Config:
    return composed_as(Config, "config", ["tracking=none", "dataset.image_size=32", *words])


def with_reading(teachers, settings):
    """Let a tiny package say that its images were read as these settings have it."""
    for member in teachers.members:
        member.spec = dataclasses.replace(member.spec, reading=settings.dataset.reading.to_plain())
    return teachers


def test_a_teacher_of_other_images_is_refused_with_the_key_that_differs(tiny_package):
    teachers = load_teachers([str(tiny_package)], None, CPU)
    check_preparation(teachers, config())
    for words, key in (
        (["dataset.image_size=64"], "dataset.image_size=32, and this training has 64"),
        (["augment.output_size=16"], "augment.output_size=null, and this training has 16"),
        (["augment.crop=[200,200]"], "augment.crop=null, and this training has [200,200]"),
    ):
        with pytest.raises(ConfigError) as caught:
            check_preparation(teachers, config(*words))
        assert key in str(caught.value)


def test_a_teacher_that_has_seen_test_images_is_refused_and_one_that_has_seen_validation_images_is_told_of(
    tmp_path, data, tiny_backbone, caplog, monkeypatch
):
    settings = config()
    digests = data.cache.pixel_digests
    none = np.array([], str)
    monkeypatch.setattr(teaching, "Teacher", lambda *args: None)
    for name, seen in {
        "fair": SeenImages.of(digests[:3], digests[3:4]),
        "told": SeenImages.of(digests[:4], none),
    }.items():
        teachers = with_reading(load_teachers([str(write_tiny_package(tmp_path / name, seen))], None, CPU), settings)
        caplog.clear()
        teacher_for(teachers, settings, data, None)
        assert ("1 of the 1 validation images" in caplog.text) == (name == "told")
    leaky = write_tiny_package(tmp_path / "leaky", SeenImages.of(none, digests[4:]))
    with pytest.raises(ConfigError, match="has seen 1 of the 1 test images in its training"):
        teacher_for(with_reading(load_teachers([str(leaky)], None, CPU), settings), settings, data, None)


def test_a_teacher_of_other_classes_or_reading_is_refused(tiny_package, data, monkeypatch):
    settings = config()
    teachers = load_teachers([str(tiny_package)], None, CPU)
    with pytest.raises(ConfigError, match="read in another way \\(its reading"):
        teacher_for(teachers, settings, data, None)
    monkeypatch.setattr(Data, "classes", ("Merging", "Round Smooth"))
    with pytest.raises(ConfigError, match="only one of them has Sb"):
        teacher_for(with_reading(teachers, settings), settings, data, None)


def test_a_student_learns_from_two_teachers_and_a_stopped_one_goes_on_with_the_same(small, tmp_path):
    def trained(name, *words, cache=None):
        settings = composed_as(Config, "config", [*WORDS, *words])
        fit(settings, RunFolder.new(tmp_path / name), "astroclf train", cache or ProcessCache(), TrialContext())
        return tmp_path / name

    def gone_on_with(folder, steps):
        (folder / "metrics.json").unlink()
        settings = resumed_config(Config, folder, str(folder), [f"trainer.max_steps={steps}"])
        return fit(settings, RunFolder.resumed(str(folder)), "astroclf train", ProcessCache(), TrialContext())

    cache = ProcessCache()
    members = [trained(f"m{seed}", f"seed={seed}", cache=cache) / "checkpoints" / "best.pt" for seed in (0, 1)]
    with chdir(tmp_path):
        student = trained("student", "loss.teacher=[m0/checkpoints/best.pt,m1/checkpoints/best.pt]", cache=cache)
    assert "train/distillation_loss" in (student / "history.csv").read_text().splitlines()[0]
    assert list(OmegaConf.load(student / "config.yaml").loss.teacher) == [*map(str, members)]
    gone_on_with(student, 4)
    shutil.copy(members[1], tmp_path / "other.pt")
    members[0].unlink()
    (tmp_path / "other.pt").rename(members[0])
    with pytest.raises(CheckpointError, match="has other weights now"):
        gone_on_with(student, 5)
