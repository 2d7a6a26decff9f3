"""The optimizer of a training, in the form that its torch has on the device."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import nn

from astroclf.run.parts import has_fused_form, new_optimizer
from astroclf.settings.training import OptimizerSettings

CPU = torch.device("cpu")


def settings(name: str, **options: Any) -> OptimizerSettings:
    return OptimizerSettings(target=f"torch.optim.{name}", lr=0.1, **options)


@pytest.mark.parametrize(
    ("name", "fused"), [("AdamW", True), ("SGD", True), ("Adagrad", True), ("RAdam", False), ("LBFGS", False)]
)
def test_a_fused_form_is_asked_for_where_there_is_one(name: str, fused: bool) -> None:
    assert has_fused_form(settings(name), CPU) is fused


def test_a_fused_form_that_refuses_the_device_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of supported devices")

    monkeypatch.setattr(sys.modules["torch.optim.adagrad"], "_device_dtype_check_for_fused", refuse)
    network = nn.Linear(2, 1)
    before = network.weight.detach().clone()
    optimizer = new_optimizer(settings("Adagrad"), network)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(network.weight, before)
