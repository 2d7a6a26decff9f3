"""One optimizer step over a few batches: forward, loss, gradients, new weights; the training loop is made of these."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from astroclf.data.loader import Batch
from astroclf.engine.ema import ModelEMA
from astroclf.engine.optimizer_step import OptimizerStep
from astroclf.engine.sharpness import Ascent
from astroclf.models.convolutions import Convolutions
from astroclf.models.precision import Precision
from astroclf.settings.training import TrainerSettings
from astroclf.util.heap import keep_freed_memory
from astroclf.util.ranks import ALONE, Ranks
from astroclf.util.replay import Replay


class BatchLoss(Protocol):
    """What a training minimises: `Criterion` of a classification, `SelfSupervision` of a pretraining."""

    def sums(self, output: Any, batch: Batch) -> dict[str, torch.Tensor]:
        """Sum what is measured over the images of a batch: at least the ``loss``, which has gradients.

        Parameters
        ----------
        output
            What the model says of the batch.
        """
        ...


class Taken(NamedTuple):
    """What a step came to, still on the device.

    Attributes
    ----------
    sums : dict of str to Tensor
        Over the step's images in this process: of the ``loss``, of its terms, and of ``mean_uncertainty``.
    images : int
        Of all processes.
    norm : Tensor
        Of the gradient before clipping; not finite where the step was left out.
    own : int
        The images of this process.
    """

    sums: dict[str, torch.Tensor]
    images: int
    norm: torch.Tensor
    own: int

    @property
    def loss(self) -> torch.Tensor:
        """The mean loss of the step's images in this process."""
        return self.sums["loss"] / self.own


class TrainingStep:
    """The steps of one model, with all that takes part in one.

    Parameters
    ----------
    model : nn.Module
        Already on `precision.device`, in training mode when a step is taken. Returns what `criterion` takes.
    criterion : BatchLoss
    optimizer : torch.optim.Optimizer
        Where its groups have a ``rho``, the gradients are taken that far up the loss: see `sharpness`.
    precision : Precision
    settings : TrainerSettings
        Of which the limit of the gradient norm, the decay of the average, and whether to replay steps are used.
    convolutions : Convolutions, optional
        How they are computed, where torch is not to decide that alone.
    ranks : Ranks
        The processes that share the training: each adds the gradients of its part of a batch.

    Attributes
    ----------
    optimizer_step : OptimizerStep
    ema : ModelEMA or None
        The moving average of the weights, where there is to be one.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: BatchLoss,
        optimizer: torch.optim.Optimizer,
        precision: Precision,
        settings: TrainerSettings,
        convolutions: Convolutions | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.criterion, self.precision, self.convolutions = model, criterion, precision, convolutions
        self.ranks = ranks
        self._shared: nn.Module | None = None  # the model as DDP has it, for the parameters that learn at the moment
        self._shared_of: tuple[bool, ...] = ()
        self.optimizer_step = OptimizerStep(model, optimizer, precision, settings.grad_clip_norm)
        self.ema = ModelEMA(model, settings.ema_decay) if settings.ema_decay else None
        rho = optimizer.param_groups[0].get("rho")
        self._ascent = Ascent(model, rho) if rho else None
        self._parameters = list(model.parameters())
        if precision.device.type == "cpu":
            keep_freed_memory()
        self._replay: Replay | None = None
        if settings.cuda_graph and self._can_be_replayed():
            self._replay = Replay("The steps of this network", model.zero_grad)

    def take(self, batches: Sequence[Batch]) -> Taken:
        """Take one optimizer step over all images of `batches`, a forward pass for each, or two."""
        self.optimizer_step.prepare()
        sums, norm = self._launched(batches) if self._replay is None else self._replayed(self._replay, batches)
        if self.ema is not None:
            self.ema.update()
        return Taken(sums, _images(batches), norm, own=sum(len(batch.labels_B) for batch in batches))

    def _can_be_replayed(self) -> bool:
        """Tell if nothing in a step decides by the values on a GPU, or draws the same random numbers again."""
        device, draws_again = self.precision.device, self._ascent is not None
        alone = not self.ranks.is_shared
        return device.type == "cuda" and self.optimizer_step.is_without_waiting and alone and not draws_again

    def _replayed(self, replay: Replay, batches: Sequence[Batch]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        tensors = [list(batch.on_device()) for batch in batches]
        kind = tuple(map(len, tensors)), tuple(batch.partners is None for batch in batches), self._learning()

        def step(given: Sequence[torch.Tensor]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
            each = iter(given)
            return self._launched([batch.with_tensors(each) for batch in batches])

        return replay(kind, [*chain.from_iterable(tensors)], step)

    def _launched(self, batches: Sequence[Batch]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Take the step kernel by kernel; return the sums of what was measured and the norm of the gradient."""
        images = _images(batches)
        with self._random_numbers_again():
            sums = self._add_gradients(batches, images)
        if self._ascent is not None:
            with self._ascent.up():
                self._add_gradients(batches, images)
        return sums, self.optimizer_step.take()

    def _random_numbers_again(self) -> AbstractContextManager[None]:
        """Let a second pass drop the same features that the one inside did: it is the same function, elsewhere."""
        device = self.precision.device
        if self._ascent is None:
            return nullcontext()
        return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])

    def _add_gradients(self, batches: Sequence[Batch], images: int) -> dict[str, torch.Tensor]:
        """Add the gradients of the mean loss of all images; return the sums of what was measured."""
        sums: dict[str, torch.Tensor] = {}
        shared = self._in_step() if self.ranks.is_shared else None
        for batch in batches:
            last = batch is batches[-1]  # with its gradients, those of all go to the other processes
            with nullcontext() if shared is None or last else shared.no_sync():  # type: ignore[operator]
                with self.precision.autocast(), self.convolutions or nullcontext():
                    output = (shared or self.model)(batch.images_BCHW)
                of_batch = self.criterion.sums(output, batch)
                loss = of_batch["loss"]
                loss = loss * torch.where(torch.isfinite(loss), 1.0, math.nan)  # one of inf may have finite gradients
                self.optimizer_step.backward(loss / (images / self.ranks.count))  # the mean of all processes is taken
            sums = {name: sums.get(name, 0) + value.detach() for name, value in of_batch.items()}
        if self.ranks.is_shared and shared is None:
            unreached = self.ranks.add_gradients([each for each in self._parameters if each.requires_grad])
            self._shared = self.ranks.in_step(self.model, some_unreached=unreached)
        return sums

    def _in_step(self) -> nn.Module | None:
        """Return the model that shares its gradients; None in the first step of what learns now, which tells it how."""
        if (learning := self._learning()) != self._shared_of:
            self._shared_of, self._shared = learning, None
        return self._shared

    def _learning(self) -> tuple[bool, ...]:
        """Return for each parameter whether it learns at the moment."""
        return tuple(parameter.requires_grad for parameter in self._parameters)


def _images(batches: Sequence[Batch]) -> int:
    return sum(batch.images for batch in batches)
