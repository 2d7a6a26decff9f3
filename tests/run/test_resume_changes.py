"""Every key that may change in a resumed run, and what is seen of the change."""

from __future__ import annotations

import math
import os
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from astroclf.config.compose import composed_as
from astroclf.config.resume import changeable, resumed_config
from astroclf.engine.checkpoint import load_checkpoint
from astroclf.errors import CheckpointError, ConfigError, Interrupted, TrainingError
from astroclf.evaluation.history import read_history
from astroclf.run import finish, preview, registration
from astroclf.run.build import ProcessCache, Run, TrialContext, opened_run
from astroclf.run.folder import RunFolder
from astroclf.settings.config import Config
from astroclf.tracking.client import connect
from tests.on_gpu import gpu

BATCHES = 4  # of an epoch
EPOCHS = 3  # of which the stopped run has done one
SMALL = (
    "dataset=folder", "dataset.image_size=32", "dataset.near_duplicates=false", "dataset.val_fraction=0.15",
    "dataset.test_fraction=0.15", "backbone=custom6conv", "augment=none", "head.uncertainty=false",
    "optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.lr=1e-3",
    "optimizer.weight_decay=0", "scheduler=constant", "trainer.device=cpu", "trainer.precision=fp32",
    "trainer.batch_size=8", f"trainer.epochs={EPOCHS}",
)  # fmt: skip


def stop_after_a_validation(history, finished):
    raise Interrupted("stopped", 1)


def start(folder: Path, *overrides: str) -> Path:
    """Leave the folder of a run that was stopped after its first epoch."""
    images, rng = folder / "images", np.random.default_rng(0)
    for kind in range(3):
        (images / f"kind{kind}").mkdir(parents=True)
        for number in range(16):
            picture = rng.integers(0, 60, (32, 32, 3), dtype=np.uint8) + 60 * kind
            cv2.imwrite(str(images / f"kind{kind}" / f"{number}.png"), picture)
    words = [*SMALL, f"dataset.path={images}", f"dataset.cache_dir={folder / 'cache'}", *overrides]
    config = composed_as(Config, "config", words)
    context = TrialContext(on_validation=stop_after_a_validation)
    run_folder = RunFolder.new(folder / "run")
    with opened_run(config, run_folder, "astroclf train", ProcessCache(), context) as run, pytest.raises(Interrupted):
        run.trainer.fit()
    assert run.trainer.state.step == BATCHES
    return folder / "run"


@pytest.fixture(scope="module", autouse=True)
def narrow_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("astroclf.models.custom6conv.WIDTHS", (8,) * 6)
        yield


@pytest.fixture(scope="module")
def stopped(tmp_path_factory) -> Path:
    return start(tmp_path_factory.mktemp("stopped"), "tracking=none")


@pytest.fixture(scope="module")
def cache() -> ProcessCache:
    return ProcessCache()


@pytest.fixture
def resumed(stopped, tmp_path, cache):
    """Opens a copy of the stopped run, with a change."""

    @contextmanager
    def open_run(*changes: str, of: Path = stopped):
        folder = tmp_path / "run"
        shutil.copytree(of, folder, copy_function=os.link)  # its files are replaced, never changed
        config = resumed_config(Config, folder, str(folder), changes)
        with opened_run(config, RunFolder.resumed(str(folder)), "astroclf train", cache, TrialContext()) as run:
            yield run

    return open_run


def epochs(run: Run) -> list[float]:
    run.trainer.fit()
    return [row["epoch"] for row in run.trainer.state.history]


def lowest(run: Run) -> int:
    run.trainer.fit()
    return len(list(run.trainer.checkpoints.folder.glob("step-*")))


def moved(run: Run) -> float:
    """How far the weights go in the rest of the run."""
    before = run.network.scores.weight.detach().clone()
    run.trainer.fit()
    return float((run.network.scores.weight.detach() - before).abs().max())


def shrinks(run: Run) -> bool:
    """A deep layer's gradient is small beside so strong a decay."""
    layer = run.network.backbone
    before = sum(p.detach().square().sum() for p in layer.parameters() if p.ndim > 1)
    run.trainer.fit()
    after = sum(p.detach().square().sum() for p in layer.parameters() if p.ndim > 1)
    return bool(after < 0.99 * before)


def stops_early(run: Run) -> bool:
    run.trainer.early_stopping.best_loss = -math.inf
    return run.trainer.fit().stopped_early


def saves_often(run: Run) -> bool:
    states, save = [], run.trainer.checkpoints.save
    run.trainer.checkpoints.save = lambda state, names: states.append(save(state, names))
    run.trainer.fit()
    return len(states) > EPOCHS - 1


def gives_up(run: Run) -> bool:
    forward = run.network.backbone.forward
    run.network.backbone.forward = lambda x: forward(x * math.nan if run.network.training else x)
    try:
        run.trainer.fit()
    except TrainingError:
        return True
    return False


def keeps_every(run: Run) -> list[str]:
    run.trainer.fit()
    return sorted(path.name for path in run.trainer.checkpoints.folder.glob("epoch-*"))


def learning_rate(run: Run) -> float:
    run.trainer.fit()
    return run.trainer.state.history[-1]["lr"]


# The change, what is looked at, and what is seen there without the change and with it.
EFFECTS: dict[str, tuple[str, Callable[[Run], object], object, object]] = {
    "dataset.cache_compression": ("jpegxl", lambda run: run.config.dataset.cache_compression, "none", "jpegxl"),
    "dataset.cache_dir": ("{tmp}/other", lambda run: "other" in run.data.cache.path.parts, False, True),
    "dataset.keep_images_on": ("disk", lambda run: run.loaders["train"].pixels.keep_images_on, "memory", "disk"),
    "dataset.path": ("{tmp}/moved", lambda run: Path(run.config.dataset.path).name, "images", "moved"),
    "optimizer.lr": ("0.002", learning_rate, 1e-3, 2e-3),
    "optimizer.weight_decay": ("10", shrinks, False, True),
    "trainer.compile": ("true", lambda run: run.network._compiled_call_impl is not None, False, True),
    "trainer.conv_autotune": ("false", lambda run: run.trainer.settings.conv_autotune, True, False),  # of bf16
    "trainer.cuda_graph": ("false", lambda run: run.trainer.settings.cuda_graph, True, False),  # of a GPU
    "trainer.deterministic": ("false", lambda run: torch.backends.cudnn.benchmark, False, True),
    "trainer.device": ("cuda", lambda run: next(run.network.parameters()).device.type, "cpu", "cuda"),
    "trainer.epochs": ("2", epochs, [1, 2, 3], [1, 2]),
    "trainer.grad_clip_norm": ("1e-9", lambda run: moved(run) > 1e-8, True, False),
    "trainer.keep_every": ("2", keeps_every, [], ["epoch-0002.pt"]),
    "trainer.keep_lowest_loss": ("2", lowest, 1, 2),
    "trainer.max_nonfinite_steps": ("1", gives_up, False, True),
    "trainer.max_steps": ("6", lambda run: run.trainer.fit().steps, 12, 6),
    "trainer.num_workers": ("3", lambda run: run.loaders["train"].num_workers == 3, False, True),
    "trainer.patience": ("0.5", stops_early, False, True),
    "trainer.precision": ("bf16", lambda run: run.trainer.precision.name, "fp32", "bf16"),
    "trainer.sync_batchnorm": ("true", lambda run: run.trainer.settings.sync_batchnorm, False, True),  # of GPUs
    "trainer.save_every_minutes": ("1e-9", saves_often, False, True),
    "trainer.validate_every": ("0.5", epochs, [1, 2, 3], [1, 1.5, 2, 2.5, 3]),
    "trainer.validate_every_steps": ("3", epochs, [1, 2, 3], [1, 1.5, 2.25, 3]),
}
RECORDED: dict[str, tuple[str, Callable[[Run], object], object]] = {
    "tracking.uri": ("sqlite:///{tmp}/moved.db", lambda run: Path(run.tracker.uri).name, "moved.db"),
    "tracking.system_metrics": ("true", lambda run: run.tracker._monitor is not None, True),
    "tracking.system_metrics_seconds": ("0.5", lambda run: run.tracker._monitor.sampling_interval, 0.5),
    "tracking.tensorboard": ("true", lambda run: bool(list((run.folder.path / "tensorboard").glob("events*"))), True),
}
AT_THE_END = {
    "evaluation.tta_views": 8,
    "evaluation.calibration": "vector",
    "evaluation.coverage": 0.5,
    "evaluation.novel_share": 0.1,
    "promotion.metric": "macro_f1",
    "promotion.interval": 0.5,
    "promotion.resamples": 2000,
    "promotion.max_recall_loss": 0.5,
    "promotion.min_test_images": 3,
    "tracking.model_name": "another",
}
REGISTER = "tracking.register"


@pytest.fixture(autouse=True)
def benchmark_as_before():
    before = torch.backends.cudnn.benchmark
    yield
    torch.backends.cudnn.benchmark = before


MARKS = {"trainer.compile": [pytest.mark.slow], "trainer.device": [gpu]}  # the one imports the compiler


@pytest.mark.parametrize("key", [pytest.param(key, marks=MARKS.get(key, [])) for key in EFFECTS])
def test_a_change_on_the_way_has_its_effect(resumed, stopped, tmp_path, key):
    value, look, without, with_it = EFFECTS[key]
    if key == "dataset.path":
        shutil.copytree(stopped.parent / "images", tmp_path / "moved")
    with resumed(f"{key}={value.format(tmp=tmp_path)}") as run:
        assert look(run) == with_it
    assert without != with_it


def test_a_gpu_that_is_not_there_is_refused(resumed):
    with pytest.raises(ConfigError, match="trainer.device=cuda, but"), resumed("trainer.device=cuda"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("key", EFFECTS)
def test_without_the_change_there_is_no_such_effect(resumed, key):
    _, look, without, _ = EFFECTS[key]
    with resumed() as run:
        assert look(run) == without


def test_every_key_that_may_change_is_shown_to_have_an_effect():
    assert {*EFFECTS, *RECORDED, *AT_THE_END, REGISTER} == set(changeable())


def test_the_table_of_the_docs_names_the_keys_that_may_change():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    section = text.partition("### What may change on the way")[2].partition("\n## ")[0]
    named = re.findall(r"`([a-z_]+\.[a-z_]+)`", " ".join(re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)))
    assert sorted(named) == changeable()


def test_a_run_that_is_ended_where_it_stands_is_validated_there_once(resumed):
    with resumed(f"trainer.max_steps={BATCHES}") as run:
        assert epochs(run) == [1]
        assert run.trainer.state.finished


def test_fewer_checkpoints_of_lowest_loss_are_kept_at_once(resumed):
    with resumed("trainer.keep_lowest_loss=0") as run:
        assert not list(run.trainer.checkpoints.folder.glob("step-*"))


def test_an_end_before_where_the_run_stands_is_refused(resumed):
    says = "cannot end at step 3, as trainer.max_steps=3 has it: it has taken 4 steps.* give trainer.max_steps=4"
    with pytest.raises(CheckpointError, match=says), resumed(f"trainer.max_steps={BATCHES - 1}"):
        pass


def test_an_older_checkpoint_that_is_made_the_end_leaves_a_history_that_ends_there(stopped, tmp_path, cache):
    folder = tmp_path / "run"
    shutil.copytree(stopped, folder, copy_function=os.link)
    older = folder / "checkpoints" / "older.pt"
    os.link(folder / "checkpoints" / "last.pt", older)
    for resume, changes in ((folder, ()), (older, (f"trainer.max_steps={BATCHES}",))):
        config = resumed_config(Config, folder, str(resume), changes)
        with opened_run(config, RunFolder.resumed(str(resume)), "astroclf train", cache, TrialContext()) as run:
            run.trainer.fit()
    assert read_history(folder / "history.csv")["epoch"].tolist() == [1]
    assert load_checkpoint(folder / "checkpoints" / "last.pt")["train_state"]["step"] == BATCHES


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A stopped run whose record is in MLflow, without system metrics."""
    folder = tmp_path_factory.mktemp("recorded")
    store = f"tracking.uri=sqlite:///{folder / 'mlflow.db'}"
    return start(folder, store, f"tracking.artifact_root={folder / 'artifacts'}", "tracking.system_metrics=false")


@pytest.mark.slow
@pytest.mark.parametrize("key", RECORDED)
def test_a_change_of_the_record_has_its_effect(resumed, recorded, tmp_path, key):
    value, look, seen = RECORDED[key]
    shutil.copy(recorded.parent / "mlflow.db", tmp_path / "moved.db")
    measured = ["tracking.system_metrics=true"] if key.endswith("_seconds") else []
    with resumed(f"{key}={value.format(tmp=tmp_path)}", *measured, of=recorded) as run:
        assert look(run) == seen


@pytest.mark.slow
def test_changes_of_what_is_done_at_the_end_have_their_effect(resumed, recorded, monkeypatch):
    """Test, registration and gate are called as they are, and watched."""
    seen: dict[str, object] = {}

    def watch(module, name, look):
        called = getattr(module, name)

        def watched(*args, **kwargs):
            seen.update(look(*args, **kwargs))
            return called(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    watch(finish, "evaluate", lambda *a, **k: {"evaluation.tta_views": k["tta_views"]})
    watch(
        finish,
        "fit_answering",
        lambda _said, method, coverage, **k: {
            f"evaluation.{name}": value for name, value in (("calibration", method), ("coverage", coverage))
        },
    )
    watch(registration, "fit_novelty", lambda *a, **k: {"evaluation.novel_share": a[-1]})
    watch(registration, "register", lambda uri, package, name, *a, **k: {"tracking.model_name": name})
    watch(
        registration, "pass_gate", lambda *a, **k: {f"promotion.{name}": value for name, value in vars(a[-1]).items()}
    )
    with resumed(*(f"{key}={value}" for key, value in AT_THE_END.items()), of=recorded) as run:
        preview.write_summary(run)
        finish.finish(run, run.trainer.fit())
        assert {key: seen[key] for key in AT_THE_END} == AT_THE_END
        assert run.folder.metrics()["run/model"] == "models:/another/1"


@pytest.mark.slow
def test_a_change_that_is_refused_leaves_no_trace_in_the_record(resumed, recorded):
    run_id = load_checkpoint(recorded / "checkpoints" / "last.pt")["tracker"]["run_id"]
    client = connect(f"sqlite:///{recorded.parent / 'mlflow.db'}")
    before = client.get_run(run_id).to_dictionary()
    with pytest.raises(CheckpointError, match="cannot end"), resumed("trainer.max_steps=1", of=recorded):
        pass
    assert client.get_run(run_id).to_dictionary() == before


@pytest.mark.slow
def test_registration_can_be_switched_off_on_the_way(resumed, recorded):
    with resumed(f"{REGISTER}=false", of=recorded) as run:
        preview.write_summary(run)
        finish.finish(run, run.trainer.fit())
        assert "run/model" not in run.folder.metrics()
