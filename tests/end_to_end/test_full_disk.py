"""Training on real disks that are too small, or read-only: one paragraph each, and it goes on once there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.small_disk import is_possible, on_small_disks

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not is_possible(), reason="no tmpfs can be mounted here")]
RUN = (
    "train", "dataset.samples=60", "dataset.image_size=16", "backbone=custom6conv", "trainer.device=cpu",
    "trainer.epochs=1", "trainer.batch_size=16", "trainer.num_workers=1",
)  # fmt: skip


def test_a_disk_that_refuses_is_one_paragraph_and_the_run_goes_on_once_there_is_room(
    tmp_path, clean_environment, own_cache
):
    words = [*RUN, f"dataset.cache_dir={own_cache}"]
    (tmp_path / "disk").mkdir()
    read_only, no_database, no_checkpoint, no_package, no_registration = on_small_disks(
        tmp_path / "disk",
        [
            {"kib": None, "words": [*words, "tracking=none"]},
            {"kib": 300, "words": words},
            {"kib": 40_000, "words": [*words, "tracking=none"]},
            {"kib": 100_000, "words": [*words, "tracking=none"]},
            {"kib": 120_000, "words": words},
        ],
        clean_environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    for each, what in (
        (read_only, "read-only"),
        (no_database, "database or disk is full"),
        (no_checkpoint, "last.pt: the disk is full"),
        (no_package, "model: the disk is full"),
        (no_registration, "Could not register the model 'galaxy10_sim'"),
    ):
        said = " ".join(each["said"].split())
        assert each["status"] == 1
        assert what in said
        assert "Traceback" not in said
        assert each["left"] == []
        assert each["again"] == 0, each["again_said"]
    assert [each["resumed"] for each in (no_checkpoint, no_package, no_registration)] == [False, True, True]


def test_a_pretraining_on_a_full_disk_goes_on_once_there_is_room(tmp_path, clean_environment, own_cache):
    words = ["pretrain", *RUN[1:], "views=2", "slices=8", f"dataset.cache_dir={own_cache}", "tracking=none"]
    (tmp_path / "disk").mkdir()
    no_checkpoint, no_backbone = on_small_disks(
        tmp_path / "disk",
        [{"kib": 40_000, "words": words}, {"kib": 100_000, "words": words}],
        clean_environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    for each, file in ((no_checkpoint, "last.pt"), (no_backbone, "backbone.safetensors")):
        assert each["status"] == 1
        assert f"{file}: the disk is full" in " ".join(each["said"].split())
        assert "Traceback" not in each["said"]
        assert each["left"] == []
        assert each["again"] == 0, each["again_said"]
    assert [each["resumed"] for each in (no_checkpoint, no_backbone)] == [False, True]


def test_a_sweep_on_a_full_disk_stops_and_its_trials_go_on_once_there_is_room(tmp_path, clean_environment, own_cache):
    words = [
        *RUN, f"dataset.cache_dir={own_cache}", "tracking=none", "-m", "seed=0,1", "hydra.sweeper.study_name=night",
    ]  # fmt: skip
    (tmp_path / "disk").mkdir()
    (full,) = on_small_disks(
        tmp_path / "disk",
        [{"kib": 40_000, "words": words}],
        clean_environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    said = " ".join(full["said"].split())
    assert full["status"] == 1
    assert "The sweep night was stopped. Could not write" in said
    assert "Its trials go on, from where each stood, with: astroclf train" in said
    assert "Traceback" not in said
    assert full["again"] == 0, full["again_said"]
    assert "Study night: all 2 combinations, 0 of them finished" in full["again_said"]
    assert "Sweep night: 2 trials, 2 complete." in full["again_said"]
