"""``astroclf pretrain`` as people type it: without labels, with them, stopped, and what a training makes of it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from astroclf.config.compose import composed_as
from astroclf.engine.checkpoint import load_checkpoint
from astroclf.engine.trainer import Trainer
from astroclf.errors import Interrupted
from astroclf.evaluation.history import HISTORY_FILE
from astroclf.models.weights import read_state
from astroclf.registry.backbone_file import BACKBONE_FILE, read_pretraining
from astroclf.run.data import load_unlabelled
from astroclf.run.folder import RunFolder
from astroclf.run.pretrain import pretrain
from astroclf.settings.config import PretrainConfig
from tests.engine.test_trainer import assert_equal_states

SMALL = (
    "dataset.image_size=16", "backbone=custom6conv", "trainer.epochs=2", "trainer.batch_size=8", "views=2", "slices=8",
    "trainer.device=cpu", "trainer.precision=fp32", "trainer.num_workers=1", "tracking=none",
)  # fmt: skip


def write_images(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)).save(folder / f"{seed}-{number}.png")


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """Images beside each other and in a folder below: nothing that says a class."""
    write_images(tmp_path / "nights", 20)
    write_images(tmp_path / "nights" / "deeper" / "still", 4, seed=1)
    return tmp_path / "nights"


def config(*words: str) -> PretrainConfig:
    return composed_as(PretrainConfig, "pretrain", [*SMALL, *words])


def only_run(kind: str, tmp_path: Path) -> Path:
    (run,) = (tmp_path / "experiments" / kind).glob("*/*")
    return run


def test_a_training_begins_with_what_was_learned_of_a_flat_folder(typed, nights, tmp_path):
    done = typed(f"astroclf pretrain nights {shlex.join(SMALL)} trainer.epochs=1 augment.mean=0.3 augment.std=0.2")
    assert done.returncode == 0, done.stderr
    assert "learning from 20 images, 4 to measure by" in done.stderr + done.stdout
    run = only_run("pretraining", tmp_path)
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["pretraining/images"] == 20
    assert "val/knn_accuracy" not in metrics
    assert (run / "plots" / "augmented.png").is_file()
    weights = read_state(run / BACKBONE_FILE)
    last = load_checkpoint(run / "checkpoints" / "last.pt")["model"]
    assert weights.keys() == {name.removeprefix("backbone.") for name in last if name.startswith("backbone.")}

    # Some of the same pictures with labels: a test would be of pixels that the backbone has seen.
    for kind, seed in (("a", 0), ("b", 2)):
        write_images(tmp_path / "labelled" / kind, 12, seed)
    said = typed(
        "astroclf train labelled dataset.image_size=16 backbone=custom6conv trainer=debug tracking=none "
        f"trainer.max_steps=0 backbone.weights={run}"
    )
    assert said.returncode == 0, said.stderr
    text = said.stderr + said.stdout
    assert "pretrained on" in text
    assert "test images, without their labels" in text  # the twelve of `a` were among its 24
    trained = only_run("runs", tmp_path)
    assert "mean:\n  - 0.3" in (trained / "config.yaml").read_text()


def test_the_test_images_of_a_data_set_with_labels_are_left_out_unless_they_are_asked_for(tmp_path):
    words = ("dataset.samples=80", f"dataset.cache_dir={tmp_path}")
    left_out, used = (load_unlabelled(config(*words, *more), lambda: None) for more in ((), ("use_test=true",)))
    assert len(left_out.splits.test) == 10
    assert sorted(used.splits.train) == sorted([*left_out.splits.train, *left_out.splits.test])
    few_labels = load_unlabelled(config(*words, "dataset.label_fraction=0.1"), lambda: None)
    assert few_labels.splits.train.tolist() == left_out.splits.train.tolist()


@pytest.mark.slow
@pytest.mark.usefixtures("single_threaded")
def test_a_stopped_pretraining_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = config("dataset.samples=60", f"dataset.cache_dir={tmp_path / 'cache'}", "trainer.ema_decay=0.9")
    pretrain(asked, RunFolder.new(tmp_path / "whole"), "astroclf pretrain")

    def stopped(self: Trainer) -> bool:
        if self.state.step == 3:
            self._save([])
            raise KeyboardInterrupt
        return False

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "_saving_due", stopped)
        with pytest.raises(Interrupted, match=r"resume="):
            pretrain(asked, RunFolder.new(tmp_path / "stopped"), "astroclf pretrain")
    assert not (tmp_path / "stopped" / BACKBONE_FILE).exists()
    pretrain(asked, RunFolder.resumed(str(tmp_path / "stopped")), "astroclf pretrain resume=stopped")

    whole, resumed = (tmp_path / name for name in ("whole", "stopped"))
    assert_equal_states(read_state(whole / BACKBONE_FILE), read_state(resumed / BACKBONE_FILE))
    assert (whole / HISTORY_FILE).read_bytes() == (resumed / HISTORY_FILE).read_bytes()
    assert read_pretraining(whole / BACKBONE_FILE).seen.train.size > 0
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (whole, resumed))
    assert first["pretraining/knn_accuracy_before"] == second["pretraining/knn_accuracy_before"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", r"has no value yet|dataset\.path"),
        ("trainer.batch_size=64", "20 images are too few to learn from in batches of trainer.batch_size=64"),
        ("trainer.batch_size=auto", "trainer.batch_size=auto cannot be"),
        ("augment.cutmix=1", "mix labels"),
        ("views=1", "'views' is 1"),
        ("sigreg_weight=0", "'sigreg_weight' is 0"),
        ("sigreg_wieght=0.1", "Did you mean 'sigreg_weight'"),
        ("backbone.weights=nowhere.safetensors", "where there is no file"),
    ],
)
def test_what_cannot_be_is_said_in_one_paragraph(typed, nights, words, says):
    where = "nights" if words else "dataset=images"
    done = typed(f"astroclf pretrain {where} {shlex.join(SMALL)} {words}")
    assert done.returncode == 1
    assert re.search(says, " ".join(done.stderr.split()))
    assert "Traceback" not in done.stderr
