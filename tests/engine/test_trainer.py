"""The loop on a few dozen 32-px images: it learns, resumes to the bit, survives what goes wrong."""

from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from astroclf.data.augment.recipe import Augmentation
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.engine.checkpoint import load_checkpoint
from astroclf.engine.freezing import Freezing
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.engine.schedule import Constant, OneCycle
from astroclf.engine.state import planned_steps
from astroclf.engine.trainer import Trainer
from astroclf.errors import CheckpointError, Interrupted, TrainingError
from astroclf.evaluation.forward import Validation
from astroclf.evaluation.history import read_history
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.classifier import Classifier
from astroclf.models.convolutions import MATRIX, OWN, Convolutions
from astroclf.models.precision import choose_precision
from astroclf.settings.training import FinetuneSettings, TrainerSettings
from astroclf.settings.yaml_files import yaml_values
from astroclf.tracking.none import NullTracker
from astroclf.util.ranks import ALONE
from tests.data.augment.recipes import recipe
from tests.on_gpu import gpu, waiting_is_an_error
from tests.settings.defaults import default

CLASSES = ("dark", "bright", "striped")


class TinyBackbone(torch.nn.Module):
    """Convolution, BatchNorm and dropout: everything whose state must survive a resume."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, stride=2),
            torch.nn.BatchNorm2d(8),
            torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(1),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.2),
        )

    def forward(self, images_BCHW):
        return self.layers(images_BCHW)


def make_trainer(
    images,
    folder: Path,
    *,
    device="cpu",
    precision="fp32",
    make_optimizer=None,
    tracker=None,
    targets=None,
    mixed=None,
    finetune=None,
    keep_images_on="device",
    convolutions=None,
    backbone=TinyBackbone,
    ranks=ALONE,
    batch_size=8,
    dropout=0.3,
    **settings,
) -> Trainer:
    pictures, labels = images
    settings = default(
        TrainerSettings,
        **{"epochs": 4, "batch_size": batch_size, "precision": precision, "save_every_minutes": None} | settings,
    )
    device = torch.device(device)
    torch.manual_seed(0)
    model = Classifier(backbone(), 3, uncertainty=True, dropout=dropout).to(device)
    pixels = PixelBuffer(pictures, keep_images_on, device)
    augmentation = recipe(dihedral=True, brightness=0.1, **mixed or {})
    rows = np.arange(60)
    loaders = [
        BatchLoader(
            pixels,
            labels,
            part,
            batch_size=batch_size,
            augmentation=augmentation,
            seed=3,
            train=train,
            targets=targets,
            ranks=ranks,
        )
        for part, train in ((rows[:42], True), (rows[42:], False))
    ]
    make_optimizer = make_optimizer or (lambda groups: torch.optim.AdamW(groups, lr=3e-3, fused=True))
    finetune = finetune and FinetuneSettings(**yaml_values("finetune/none") | finetune)
    groups = parameter_groups(model, 0.01, head_lr=finetune.head_lr if finetune else 1.0)
    criterion = Criterion(CrossEntropy([14, 14, 14])).to(device)
    precision = choose_precision(precision, device)
    return Trainer(
        model,
        criterion,
        loaders[0],
        Validation(criterion, loaders[1].part(ranks), precision, CLASSES, ranks),
        make_optimizer(groups),
        OneCycle(peak_lr=3e-3, total_steps=planned_steps(settings, len(loaders[0]))),
        precision,
        settings,
        folder,
        tracker or NullTracker(),
        resume_hint="resume me",
        freezing=finetune and Freezing(model, finetune, len(loaders[0])),
        convolutions=convolutions,
        validation_images=len(loaders[1].rows),
        ranks=ranks,
    )


def assert_equal_states(first, second, path="state"):
    """Equal to the last bit, whatever the nesting, but for how long it took."""
    assert type(first) is type(second), path
    if isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first.keys() - {"seconds"}:
            assert_equal_states(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), path
        for index, pair in enumerate(zip(first, second, strict=True)):
            assert_equal_states(*pair, f"{path}/{index}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    else:
        assert repr(first) == repr(second), path  # NaN equals NaN


def test_learns_and_writes_what_the_contract_names(images, tmp_path):
    trainer = make_trainer(images, tmp_path, epochs=12, keep_lowest_loss=2, keep_every=4)
    result = trainer.fit()
    assert result.best["val/accuracy"] > 0.9
    assert result.steps == 12 * 5
    assert result.skipped_steps == 0
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert {"last.pt", "best.pt", "epoch-0004.pt", "epoch-0008.pt", "epoch-0012.pt"} <= names
    assert sum(name.startswith("step-") for name in names) == 2
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert len(lines) == 1 + 12
    assert lines[0].startswith("step,epoch,lr,train/loss")


def test_training_and_validation_go_by_soft_labels_where_there_are_some(images, tmp_path):
    other_class = np.eye(3, dtype=np.float32)[(images[1] + 1) % 3]
    histories = []
    for name, targets in (("hard", None), ("soft", other_class)):
        trainer = make_trainer(images, tmp_path / name, epochs=8, targets=targets)
        trainer.fit()
        histories.append(trainer.state.history)
    hard, soft = (history[-1] for history in histories)
    assert hard["val/accuracy"] > 0.6
    assert soft["val/accuracy"] < 0.1  # it learnt what the soft labels say
    for name in ("train/classification_loss", "val/classification_loss"):
        assert soft[name] < 0.95 * histories[0][0][name]  # and is measured by them


def test_both_terms_of_the_loss_are_recorded_and_add_up(images, tmp_path):
    class Recorder(NullTracker):
        points: list = []  # noqa: RUF012

        def log_metrics(self, metrics, step):
            self.points.append(metrics)

    trainer = make_trainer(images, tmp_path, epochs=1, tracker=Recorder())
    result = trainer.fit()
    (row,) = trainer.state.history
    assert row.keys() <= read_history(tmp_path / "history.csv").keys()
    curve = [point for point in Recorder.points if "step/lr" in point]
    assert len(curve) == result.steps
    weight = trainer.criterion.uncertainty_weight
    for prefix, figures in (("train", row), ("val", row), *(("step", point) for point in curve)):
        total = figures[f"{prefix}/classification_loss"] + weight * figures[f"{prefix}/uncertainty_loss"]
        assert figures[f"{prefix}/loss"] == pytest.approx(total, rel=1e-5)


def test_the_mean_uncertainty_over_the_training_images_is_that_of_the_head(images, tmp_path):
    trainer = make_trainer(images, tmp_path, epochs=2, make_optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0))
    trainer.schedule = Constant(0.0, 10)
    head = trainer.model.uncertainty.layers[-1]
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.constant_(head.bias, math.log(0.2 / 0.8))
    trainer.fit()
    for row in trainer.state.history:
        assert row["train/mean_uncertainty"] == pytest.approx(0.2)
        assert row["val/mean_uncertainty"] == pytest.approx(0.2)


def test_without_the_uncertainty_head_the_loss_has_no_terms(images, tmp_path):
    trainer = make_trainer(images, tmp_path, epochs=1)
    trainer.model.uncertainty = None
    trainer.fit()
    row = trainer.state.history[0]
    assert not [name for name in row if name.endswith(("classification_loss", "uncertainty_loss"))]
    assert "train/mean_uncertainty" not in row


def sharpness_aware(groups):
    return torch.optim.AdamW([{**group, "rho": 0.05} for group in groups], lr=3e-3, fused=True)


@pytest.mark.parametrize("stop_after", [1, 7, 11])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"ema_decay": 0.9, "grad_accum_steps": 2, "validate_every": 0.5},
        {"precision": "bf16", "validate_every_steps": 3, "keep_lowest_loss": 3},
        {"mixed": {"mixup": 0.2, "cutmix": 1.0}, "make_optimizer": sharpness_aware, "grad_accum_steps": 2},
        {"ema_decay": 0.9, "finetune": {"freeze": "all", "freeze_epochs": 1.6, "head_lr": 3.0}},
    ],
    ids=["plain", "ema-grad_accum_steps", "bf16-steps", "mixed-sam", "ema-probe_then_all"],
)
def test_a_stopped_and_resumed_run_equals_one_never_stopped(images, tmp_path, monkeypatch, settings, stop_after):
    stop_and_resume(images, tmp_path, monkeypatch, settings, stop_after)


def test_a_resumed_run_keeps_its_choice_of_convolutions(images, tmp_path):
    """The second start would choose otherwise, as on a machine that is busy."""

    def start(folder: str, way: str) -> Trainer:
        convolutions = Convolutions()
        convolutions._timed = lambda key, ways: way
        return make_trainer(images, tmp_path / folder, precision="bf16", convolutions=convolutions)

    whole = start("whole", MATRIX)
    whole.fit()
    stopped = start("stopped", MATRIX)
    stopped.on_validation = stop_at_once
    with pytest.raises(Interrupted):
        stopped.fit()
    resumed = start("stopped", OWN)
    resumed.resume(resumed.checkpoints.last, load_checkpoint(resumed.checkpoints.last))
    assert set(resumed.training_step.convolutions.choices.values()) == {MATRIX}
    resumed.fit()
    assert_equal_states(whole.state_dict(), resumed.state_dict())
    other = start("other", OWN)
    other.fit()
    with pytest.raises(AssertionError):
        assert_equal_states(whole.state_dict()["model"], other.state_dict()["model"])


def stop_at_once(history, finished):
    raise Interrupted("stopped", 1)


def on_gpu(groups):
    return torch.optim.AdamW(groups, lr=3e-3, fused=True, capturable=True)


def sharpness_aware_on_gpu(groups):
    return on_gpu([{**group, "rho": 0.05} for group in groups])


GPU_RUNS = {
    "ema-mixed": {"ema_decay": 0.9, "mixed": {"mixup": 0.2, "cutmix": 1.0}, "validate_every_steps": 3},
    "grad_accum_steps": {"ema_decay": 0.9, "grad_accum_steps": 2, "epochs": 8},
    "sam": {"make_optimizer": sharpness_aware_on_gpu, "ema_decay": 0.9},
    "fp16": {"precision": "fp16"},
    "probe_then_all": {"finetune": {"freeze": "all", "freeze_epochs": 1.6, "head_lr": 3.0}},
    "memory": {"keep_images_on": "memory"},
}


@gpu
@pytest.mark.parametrize("settings", GPU_RUNS.values(), ids=GPU_RUNS)
def test_a_run_on_a_gpu_is_resumed_to_the_bit_and_the_same_replayed_or_launched(
    images, tmp_path, monkeypatch, deterministic, settings
):
    """Where it goes on, steps are launched that were replayed before."""
    settings = {"device": "cuda", "precision": "bf16", "make_optimizer": on_gpu} | settings
    whole = stop_and_resume(images, tmp_path, monkeypatch, settings, stop_after=9)
    launched = make_trainer(images, tmp_path / "launched", **settings, cuda_graph=False)
    launched.fit()
    assert_equal_states(launched.state_dict(), whole.state_dict())
    assert (tmp_path / "launched" / "steps.csv").read_bytes() == (tmp_path / "whole" / "steps.csv").read_bytes()


def stop_and_resume(images, tmp_path, monkeypatch, settings, stop_after):
    """Train in one go, and stopped and resumed: the same to the bit; return the first."""
    whole = make_trainer(images, tmp_path / "whole", **settings)
    whole.fit()

    stopped = make_trainer(images, tmp_path / "parts", **settings)
    step = Trainer._step

    def step_then_signal(self, group):
        loss = step(self, group)
        if self is stopped and self.state.step == stop_after:
            signal.raise_signal(signal.SIGTERM)
        return loss

    monkeypatch.setattr(Trainer, "_step", step_then_signal)
    with pytest.raises(Interrupted, match="resume me") as caught:
        stopped.fit()
    assert caught.value.exit_code == 128 + signal.SIGTERM

    torch.manual_seed(99)  # another process would not have the same random state
    resumed = make_trainer(images, tmp_path / "parts", **settings)
    saved = load_checkpoint(tmp_path / "parts" / "checkpoints" / "last.pt")
    resumed.load_state_dict(saved)
    fitted = resumed.fit()
    before = saved["seconds"]
    assert before["training"] > 0
    assert fitted.earlier_seconds == pytest.approx(sum(before.values()))
    assert all(fitted.seconds[name] > seconds for name, seconds in before.items())
    assert_equal_states(resumed.state_dict(), whole.state_dict())
    for name in ("history.csv", "steps.csv"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert len(read_history(tmp_path / "whole" / "steps.csv")["step/lr"]) == whole.state.step
    return whole


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda groups: torch.optim.AdamW(groups, lr=1e-3, fused=True),
        lambda groups: torch.optim.SGD(groups, lr=1e-2, momentum=0.9, fused=True),
        lambda groups: torch.optim.RAdam(groups, lr=1e-3),
    ],
    ids=["adamw", "sgd", "radam"],
)
@pytest.mark.parametrize("spoil", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_no_weight_and_is_counted(images, tmp_path, spoil, make_optimizer):
    trainer = make_trainer(images, tmp_path, make_optimizer=make_optimizer)
    batches = iter(trainer.train_loader.epoch(0))
    trainer.model.train()
    trainer._step([next(batches)])
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    batch = next(batches)
    if spoil == "loss":
        trainer._step([batch._replace(images_BCHW=batch.images_BCHW * torch.nan)])
    else:
        hook = trainer.model.scores.weight.register_hook(lambda gradient: gradient * torch.inf)
        trainer._step([batch])
        hook.remove()
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    assert trainer.meter.skipped_steps() == trainer.meter.streak() == 1
    trainer._step([next(batches)])
    assert trainer.meter.skipped_steps() == 1
    assert trainer.meter.streak() == 0
    assert not all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_spoilt_forward_pass_leaves_no_nan_in_the_statistics(images, tmp_path):
    trainer = make_trainer(images, tmp_path, epochs=2)
    spoilt = iter([True])
    forward = trainer.model.backbone.forward
    trainer.model.backbone.forward = lambda x: forward(x * torch.nan if next(spoilt, False) else x)
    result = trainer.fit()
    assert result.skipped_steps == 1
    assert all(torch.isfinite(buffer).all() for buffer in trainer.model.buffers())
    assert np.isfinite(result.best["val/loss"])


def test_a_run_that_stays_non_finite_stops_and_keeps_its_last_good_checkpoint(images, tmp_path):
    trainer = make_trainer(images, tmp_path, epochs=6, max_nonfinite_steps=3)
    count = iter(range(10_000))
    forward = trainer.model.backbone.forward
    trainer.model.backbone.forward = lambda x: forward(
        x * torch.nan if trainer.model.training and next(count) > 5 else x
    )
    with pytest.raises(TrainingError, match="optimizer.lr"):
        trainer.fit()
    kept = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    assert kept["train_state"]["step"] == 5
    assert all(torch.isfinite(value).all() for value in kept["model"].values())


def test_a_gradient_whose_norm_overflows_changes_no_weight(images, tmp_path):
    trainer = make_trainer(images, tmp_path)
    batch = next(iter(trainer.train_loader.epoch(0)))
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    hook = trainer.model.scores.weight.register_hook(lambda gradient: torch.full_like(gradient, 1e25))
    trainer._step([batch])
    hook.remove()
    assert trainer.meter.streak() == 1
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))


def test_a_run_without_a_finite_validation_has_no_model(images, tmp_path):
    trainer = make_trainer(images, tmp_path, epochs=1)
    forward = trainer.model.backbone.forward
    trainer.model.backbone.forward = lambda x: forward(x) if trainer.model.training else forward(x) * torch.nan
    with pytest.raises(TrainingError, match="no model to keep"):
        trainer.fit()
    assert not (tmp_path / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda state: state["fingerprints"].update(test="other"), "test split now holds other images"),
        (lambda state: state.update(batches_per_epoch=7), "had 7 batches"),
        (lambda state: state["model"].popitem(), "another network"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(images, tmp_path, spoil, says):
    trainer = make_trainer(images, tmp_path)
    trainer.fingerprints = {"test": "abc"}
    trainer._save([])
    state = load_checkpoint(trainer.checkpoints.last)
    spoil(state)
    with pytest.raises(CheckpointError, match=says):
        trainer.load_state_dict(state)


def test_early_stopping_ends_the_run(images, tmp_path):
    trainer = make_trainer(
        images, tmp_path, epochs=50, patience=2, make_optimizer=lambda groups: torch.optim.SGD(groups, lr=0.0)
    )
    trainer.schedule = OneCycle(peak_lr=0.0, total_steps=250, warmup_fraction=0.3)
    result = trainer.fit()
    assert result.stopped_early
    assert result.steps < 250


def test_no_steps_still_leave_a_validated_checkpoint(images, tmp_path):
    result = make_trainer(images, tmp_path, max_steps=0).fit()
    assert result.steps == 0
    assert (tmp_path / "checkpoints" / "best.pt").is_file()


@gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_learns_on_a_gpu_in_every_format(images, tmp_path, precision):
    result = make_trainer(images, tmp_path, device="cuda", precision=precision, epochs=12, make_optimizer=on_gpu).fit()
    assert result.best["val/accuracy"] > 0.9


@gpu
@pytest.mark.parametrize("keep_images_on", ["device", "memory"])
@pytest.mark.parametrize("augment", ["dihedral", "survey", "mixed", "galaxy10"])
def test_no_step_of_an_epoch_on_a_gpu_waits_for_the_device(images, tmp_path, keep_images_on, augment):
    trainer = make_trainer(
        images, tmp_path, device="cuda", precision="bf16", make_optimizer=on_gpu, keep_images_on=keep_images_on,
        ema_decay=0.9,
    )  # fmt: skip
    values = yaml_values(f"augment/{'dihedral' if augment == 'mixed' else augment}")
    del values["_target_"]
    mixed = {"mixup": 0.2, "cutmix": 1.0} if augment == "mixed" else {}
    trainer.train_loader.augmentation = Augmentation(**values | mixed)
    trainer.model.train()

    def epoch(number):
        for batch in trainer.train_loader.epoch(number):
            trainer._step([batch])

    for number in range(3):  # steps are recorded, tables sent
        epoch(number)
    with waiting_is_an_error():
        epoch(3)
    assert trainer.meter.skipped_steps() == 0


@gpu
@pytest.mark.slow
def test_a_compiled_run_on_a_gpu_goes_as_an_eager_one_and_is_compiled_in_its_first_epoch_alone(images, tmp_path):
    def run(name, compiled):
        trainer = make_trainer(
            images, tmp_path / name, device="cuda", precision="bf16", make_optimizer=on_gpu, epochs=6, ema_decay=0.9
        )
        if compiled:
            trainer.model.compile()
        trainer.on_validation = lambda history, _: torch.compiler.set_stance(
            "fail_on_recompile" if compiled and len(history) >= 2 else "default"
        )
        try:
            trainer.fit()
        finally:
            torch.compiler.set_stance("default")
        return trainer.state.history

    for eager, compiled in zip(run("eager", False), run("compiled", True), strict=True):
        assert compiled["train/loss"] == pytest.approx(eager["train/loss"], rel=0.05)
        assert compiled["val/loss"] == pytest.approx(eager["val/loss"], rel=0.05)
