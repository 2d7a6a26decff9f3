"""The way from gradients to weights: scaled, clipped, and left out whole where anything is not finite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from astroclf.data.augment.on_torch import send
from astroclf.models.precision import Precision
from astroclf.util.logs import log

NAMED_PARAMETERS = 12  # in a warning; the rest are counted


class OptimizerStep:
    """The steps of an optimizer over a model's gradients; one that is not finite changes no weight.

    The norm of the gradient tells on the device whether all of it is finite, and no step waits for the answer: fused
    optimizers take it there. Others run on a GPU in their capturable form, and what they did is taken back there.
    Skipping is sound only for parameters whose optimizer state exists: torch's fused SGD leaves the momentum
    uninitialised where the step that makes it is skipped. So a parameter's first step asks the host whether the
    gradients are finite, and is left out whole where they are not.

    Parameters
    ----------
    model : nn.Module
    optimizer : torch.optim.Optimizer
        Over all parameters of `model` that require a gradient.
    precision : Precision
    grad_clip_norm : float or None
        Largest norm of the gradient; None: it is only measured.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, precision: Precision, grad_clip_norm: float | None
    ) -> None:
        self.model, self.optimizer, self.grad_clip_norm = model, optimizer, grad_clip_norm
        self._scaler = precision.scaler()
        self._parameters: list[torch.Tensor] = [p for p in model.parameters() if p.requires_grad]
        self._begun: set[torch.Tensor] = set()  # have taken a sound step: their optimizer state, if any, exists
        self._fused = bool(getattr(optimizer, "_step_supports_amp_scaling", False))  # torch's name for what it can do
        self._rates: torch.Tensor | None = None
        if precision.device.type == "cuda" and (self._fused or optimizer.defaults.get("capturable")):
            # Of each group: steps that are recorded and replayed find new ones there.
            self._rates = torch.zeros(len(optimizer.param_groups), device=precision.device)
            optimizer._warned_capturable_if_run_uncaptured = True  # it is meant so

    @property
    def is_without_waiting(self) -> bool:
        """Whether steps after the first of all parameters ask the device for nothing, and can be recorded."""
        recordable = self.optimizer.defaults.get("capturable", True)  # fused SGD needs no such form
        return self._rates is not None and self._scaler is None and recordable

    def prepare(self) -> None:
        """Send the learning rates to the device, before each step."""
        if self._rates is not None:
            rates = np.array([group["lr"] for group in self.optimizer.param_groups])
            self._rates.copy_(send(rates, self._rates.device))

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of `loss`, a scalar, to those that are there."""
        (loss if self._scaler is None else self._scaler.scale(loss)).backward()

    def take(self) -> torch.Tensor:
        """Take a step and forget the gradients; return their norm before clipping, not finite where it was left out."""
        if self._scaler is not None:
            self._scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.grad_clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self._parameters, self.grad_clip_norm, norm)
        beginners = {p for p in self._parameters if p.grad is not None} - self._begun
        if not beginners:
            self._step(norm)
        elif torch.isfinite(norm):
            self._begin(beginners)
        if self._scaler is not None:
            self._scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _step(self, norm: torch.Tensor) -> None:
        """Take a step of parameters that have taken one before, unless the norm of the gradient is not finite."""
        optimizer: Any = self.optimizer
        if self._fused:  # told by these names, as GradScaler does
            optimizer.grad_scale, optimizer.found_inf = None, (~torch.isfinite(norm)).float()
            self._apply()
            del optimizer.grad_scale, optimizer.found_inf
        elif optimizer.defaults.get("capturable"):
            self._apply_and_take_back(torch.isfinite(norm))
        elif torch.isfinite(norm):
            self._apply()

    def _apply(self) -> None:
        """Let the optimizer change the weights, at the learning rates that are on the device if there are some."""
        groups = self.optimizer.param_groups
        rates = [group["lr"] for group in groups]
        if self._rates is not None:
            for group, rate in zip(groups, self._rates.unbind(), strict=True):
                group["lr"] = rate
        try:
            with self._as_in_memory():
                self.optimizer.step()
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate

    @contextmanager
    def _as_in_memory(self) -> Iterator[None]:
        """Show a fused optimizer on a CPU weights in channels_last with their axes in the order of memory.

        It changes each number by itself, in whatever order they stand; but what is not contiguous it copies, with its
        gradient and its state, there and back.
        """
        turned = [p for p in self._parameters if self._fused and p.device.type == "cpu" and _channels_are_last(p)]

        def turn(*axes: int) -> None:
            for parameter in turned:
                shape, gradient, state = parameter.shape, parameter.grad, self.optimizer.state.get(parameter, {})
                parameter.grad, parameter.data = None, parameter.data.permute(axes)
                parameter.grad = None if gradient is None else gradient.permute(axes)
                for name, value in state.items():
                    if torch.is_tensor(value) and value.shape == shape:
                        state[name] = value.permute(axes)

        turn(0, 2, 3, 1)
        try:
            yield
        finally:
            turn(0, 3, 1, 2)

    def _apply_and_take_back(self, sound: torch.Tensor) -> None:
        """Take a step, and undo it on the device where the gradients are not `sound`."""
        stepped = [parameter for parameter in self._parameters if parameter.grad is not None]
        states = [self.optimizer.state[parameter] for parameter in stepped]
        changed = [*stepped, *(each for state in states for each in state.values() if torch.is_tensor(each))]
        before = [each.detach().clone() for each in changed]
        self._apply()
        with torch.no_grad():
            for each, earlier in zip(changed, before, strict=True):
                torch.where(sound, each, earlier, out=each)

    def _begin(self, beginners: set[torch.Tensor]) -> None:
        """Take a sound step that is the first of some parameters, those apart from the others.

        Fused SGD makes the momentum of all parameters of a call, or of none.
        """
        if not self._begun:
            self._warn_of_lacking_gradients()
        gradients = {parameter: parameter.grad for parameter in self._parameters if parameter.grad is not None}
        for part in (beginners, gradients.keys() - beginners):
            for parameter, gradient in gradients.items():
                parameter.grad = gradient if parameter in part else None
            if part:
                self._apply()
        self._begun |= beginners

    def _warn_of_lacking_gradients(self) -> None:
        """Name the parameters that the first sound step gives no gradient, or one of nothing but zeros."""
        named = {name: each for name, each in self.model.named_parameters() if each.requires_grad}
        reached = {name: each.grad.any() for name, each in named.items() if each.grad is not None}
        learns = dict(zip(reached, torch.stack([*reached.values()]).tolist(), strict=True))
        lacking = [name for name in named if not learns.get(name)]
        if lacking:
            more = f" and {len(lacking) - NAMED_PARAMETERS} more" if len(lacking) > NAMED_PARAMETERS else ""
            log.warning(
                "%d of the network's %d parameter tensors got no gradient, or one of nothing but zeros, in the first "
                "step: %s%s. What the loss does not depend on never learns; zeros alone may be the chance of one batch "
                "(a layer whose ReLUs are all off).",
                len(lacking), len(named), ", ".join(lacking[:NAMED_PARAMETERS]), more,
            )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the optimizer and, in fp16, the scale of the loss."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self._scaler.state_dict() if self._scaler else None}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take up what `state_dict` gave; what the configuration says of the optimizer and the number format holds."""
        groups = self.optimizer.state_dict()["param_groups"]
        for group, before in zip(groups, saved["optimizer"]["param_groups"], strict=True):
            group["lr"] = before["lr"]  # no option, but where the schedule stood
        self.optimizer.load_state_dict({**saved["optimizer"], "param_groups": groups})
        self._begun = {parameter for parameter, state in self.optimizer.state.items() if state}
        if self._scaler is not None and saved["scaler"] is not None:  # the scale of another format says nothing
            self._scaler.load_state_dict(saved["scaler"])


def _channels_are_last(tensor: torch.Tensor) -> bool:
    """Tell whether a tensor is in channels_last and not, as one of 1x1 filters is, contiguous as well."""
    return tensor.dim() == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
