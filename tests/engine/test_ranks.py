"""One training in two processes: the same numbers as in one."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch

from astroclf.engine.checkpoint import load_checkpoint
from astroclf.errors import Interrupted
from astroclf.util.ranks import ALONE, Agreement, Launch, launch
from tests.engine.test_trainer import make_trainer
from tests.on_gpu import gpu
from tests.two_ranks import TwoRanks, environment

SMOOTH = {"epochs": 2, "batch_size": 10, "grad_clip_norm": 1.0, "dropout": 0.0}  # 42 images: four batches an epoch


class Smooth(torch.nn.Module):
    """Neither BatchNorm nor dropout, a stage that can be frozen, and a layer that the loss never sees."""

    num_features = 8

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 8, 3, stride=2)
        self.second = torch.nn.Conv2d(8, 8, 3, stride=2)
        self.norm = torch.nn.GroupNorm(2, 8)
        self.unused = torch.nn.Linear(3, 3)

    def stages(self):
        rest = {name.partition(".")[0] for name, _ in self.named_parameters()} - {"first"}
        return [["first"], sorted(rest)]

    def forward(self, images_BCHW):
        return torch.relu(self.norm(self.second(torch.relu(self.first(images_BCHW))))).mean((2, 3))


class Reached(Smooth):
    """The same without the layer that is never used."""

    def __init__(self):
        super().__init__()
        del self.unused


class Synced(Reached):
    """With BatchNorm over the images of all processes, which torch has on GPUs alone."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.SyncBatchNorm(8)


@pytest.fixture(scope="module")
def two_on_a_gpu():
    ranks = TwoRanks()
    yield ranks
    ranks.close()


@pytest.fixture(scope="module")
def two():
    ranks = TwoRanks()
    yield ranks
    ranks.close()


def sgd(groups):
    return torch.optim.SGD(groups, lr=0.1, momentum=0.9)


def climbing(groups):
    return torch.optim.SGD([{**group, "rho": 0.05} for group in groups], lr=0.1, momentum=0.9)


def interrupt_after(trainer, step, history, finished):
    if trainer.state.step >= step:
        raise Interrupted("enough", 130)


def trained(ranks, images, folder, options, resume=None, stop_after=None):
    """The history and the weights of a training, in one of its processes."""
    trainer = make_trainer(images, folder, ranks=ranks, **{"backbone": Smooth, "make_optimizer": sgd, **options})
    if resume is not None:
        trainer.resume(resume, load_checkpoint(resume))
    if stop_after is not None:
        trainer.on_validation = partial(interrupt_after, trainer, stop_after)
    with suppress(Interrupted):
        trainer.fit()
    return trainer.state.history, {name: value.cpu().clone() for name, value in trainer.model.state_dict().items()}


def assert_close(history, other, tolerance=1e-5):
    assert [row.keys() for row in history] == [row.keys() for row in other]
    for row, of_other in zip(history, other, strict=True):
        assert row == pytest.approx(of_other, rel=tolerance, abs=tolerance)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"backbone": Reached},
        {"grad_accum_steps": 3},
        {"batch_size": 5},  # parts of two and three images
        {"make_optimizer": climbing},
        {"ema_decay": 0.9},
        {"finetune": {"freeze": 1, "freeze_epochs": 1}},
        {"finetune": {"freeze": 1, "freeze_epochs": 1}, "backbone": Reached, "grad_accum_steps": 2},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_the_same_as_in_one_process(two, images, tmp_path, options):
    options = {**SMOOTH, **options}
    alone, weights = trained(ALONE, images, tmp_path / "one", options)
    for history, of_rank in two.run(trained, images, tmp_path / "two", options):
        assert_close(history, alone)
        for name, value in weights.items():
            torch.testing.assert_close(of_rank[name], value, rtol=1e-4, atol=1e-6)
    assert load_checkpoint(tmp_path / "two" / "checkpoints" / "last.pt")["train_state"]["step"] == alone[-1]["step"]
    assert (tmp_path / "two" / "steps.csv").read_text().count("\n") == (
        tmp_path / "one" / "steps.csv"
    ).read_text().count("\n")


@gpu
@pytest.mark.parametrize("backbone", [Smooth, Synced])
def test_the_same_on_a_gpu_as_in_one_process(two_on_a_gpu, images, tmp_path, backbone):
    """The two share the GPU, so that gloo carries what NCCL carries between GPUs."""
    options = {**SMOOTH, "backbone": backbone, "device": "cuda"}
    alone, weights = trained(ALONE, images, tmp_path / "one", options)
    for history, of_rank in two_on_a_gpu.run(trained, images, tmp_path / "two", options):
        assert_close(history, alone, tolerance=1e-3)
        for name, value in weights.items():
            torch.testing.assert_close(of_rank[name], value, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("first", ["one", "two"])
def test_goes_on_in_another_number_of_processes(two, images, tmp_path, first):
    whole, _ = trained(ALONE, images, tmp_path / "whole", SMOOTH)
    begun = images, tmp_path / "run", SMOOTH, None, 4
    if first == "one":
        trained(ALONE, *begun)
    else:
        two.run(trained, *begun)
    last = tmp_path / "run" / "checkpoints" / "last.pt"
    if first == "one":
        (history, _), _ = two.run(trained, images, tmp_path / "run", SMOOTH, last)
    else:
        history, _ = trained(ALONE, images, tmp_path / "run", SMOOTH, last)
    assert_close(history, whole)


def statistics(ranks, images, folder):
    trainer = make_trainer(images, folder, ranks=ranks, batch_size=10, epochs=1)
    trainer.fit()
    return torch.cat([each.flatten() for each in trainer.finite_buffers.buffers])


def test_batch_norm_has_the_mean_of_all(two, images, tmp_path):
    buffers, others = two.run(statistics, images, tmp_path)
    assert torch.equal(buffers, others)
    saved = load_checkpoint(tmp_path / "checkpoints" / "last.pt")
    in_file = [value.flatten() for name, value in saved["model"].items() if "running" in name]
    assert torch.equal(torch.cat(in_file), buffers)
    assert len(saved["rng_of_others"]) == 1


def of_nan(ranks, images, folder):
    """Train where one image, which one process alone gets, leads to a loss that is not finite."""
    trainer = make_trainer(images, folder, ranks=ranks, backbone=Smooth, make_optimizer=sgd, **SMOOTH)
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    batches = [*trainer.train_loader.epoch(0)][:1]
    if ranks.rank == 1:
        batches[0].images_BCHW[0] = math.inf
    trainer.model.train()
    trainer._step(batches)
    same = all(torch.equal(a, b) for a, b in zip(before, trainer.model.parameters(), strict=True))
    return same, trainer.meter.skipped_steps(), trainer.meter.take_means()["train/loss"]


def test_a_loss_that_is_not_finite_in_one_process_changes_nothing_in_any(two, images, tmp_path):
    for same, skipped, mean in two.run(of_nan, images, tmp_path):
        assert same
        assert skipped == 1
        assert math.isnan(mean)


def reductions(ranks, images, folder, every):
    """Count how often gradients go to the other process, after the first step."""
    trainer = make_trainer(
        images, folder, ranks=ranks, backbone=Reached, make_optimizer=sgd, grad_accum_steps=every, **SMOOTH
    )
    trainer.model.train()
    batches = [*trainer.train_loader.epoch(0)]
    trainer._step(batches[:1])
    calls = []

    def hook(state, bucket):
        calls.append(bucket.is_last())
        return torch.distributed.all_reduce(bucket.buffer(), async_op=True).get_future().then(lambda f: f.value()[0])

    trainer.training_step._shared.register_comm_hook(None, hook)
    for first in range(0, len(batches), every):
        trainer._step(batches[first : first + every])
    return sum(calls)


@pytest.mark.parametrize(("every", "steps"), [(1, 4), (2, 2), (4, 1)])
def test_gradients_travel_once_a_step(two, images, tmp_path, every, steps):
    assert two.run(reductions, images, tmp_path, every) == [steps, steps]


def said(ranks):
    agreement = Agreement(ranks)
    first = agreement.on(ranks.rank, 0)
    second = agreement.on(0, 5 * ranks.rank)
    return first, second, agreement.on(7, ranks.rank, at_once=True), ranks.part_of(np.arange(5)).tolist()


def test_what_is_agreed_on_is_the_largest_of_the_call_before(two):
    first, second = two.run(said)
    assert first == ([0, 0], [1, 0], [7, 1], [0, 1, 2])
    assert second == ([0, 0], [1, 0], [7, 1], [3, 4])
    assert Agreement(ALONE).on(3, 0) == [3, 0]


def test_where_this_process_stands_among_others(monkeypatch):
    assert launch() == Launch()
    for name, value in environment(1, 29500).items():
        monkeypatch.setenv(name, value)
    assert launch() == Launch(1, 2, 1, 2, 1)
    assert launch().is_shared
    assert not launch().leads
    assert launch().launcher == "torchrun --nproc-per-node=2"


def test_fewer_validation_images_than_processes(two, images, tmp_path):
    (first, _), (second, _) = two.run(one_validation_image, images, tmp_path)
    assert first == second
    assert first[-1]["val/accuracy"] in (0.0, 1.0)


def one_validation_image(ranks, images, folder):
    trainer = make_trainer(images, folder, ranks=ranks, backbone=Smooth, make_optimizer=sgd, **SMOOTH)
    loader = trainer.validate.loader
    loader.rows = loader.rows[: 1 - ranks.rank]
    trainer.fit()
    return trainer.state.history, None
