"""Which trainings compile their networks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from astroclf.models import compiling
from astroclf.models.compiling import PAYS_FROM, compile_network
from tests.on_gpu import gpu

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., bool]]:
    """Tell whether a network would be compiled where small functions can be, as on a GPU that is not here."""
    as_before = torch._dynamo.config.patch(suppress_errors=False)
    monkeypatch.setattr(compiling, "check_compiler", lambda device: None)

    def ask(*how: object, **more: bool) -> bool:
        asked: list[bool] = []
        network = nn.Identity()
        network.compile = lambda: asked.append(True)  # type: ignore[method-assign, assignment]
        told = compile_network(network, *how, **more)  # type: ignore[arg-type]
        assert told is bool(asked)
        return told

    with as_before:
        yield ask


def test_long_trainings_on_one_gpu_are_compiled_by_themselves(compiled: Callable[..., bool]) -> None:
    assert compiled("auto", CUDA, PAYS_FROM)
    assert not compiled("auto", CUDA, PAYS_FROM - 1)
    assert not compiled("auto", CUDA, PAYS_FROM, alone=False)
    assert not compiled("auto", CPU, PAYS_FROM)


@pytest.mark.parametrize("asked", [True, False])
def test_what_is_asked_for_is_done_wherever_it_is(compiled: Callable[..., bool], asked: bool) -> None:
    for device in (CPU, CUDA):
        for pixels in (1, PAYS_FROM):
            assert compiled(asked, device, pixels, alone=False) is asked


def test_a_compiler_that_does_not_work_is_named_and_the_network_trains_as_it_is(
    compiled: Callable[..., bool], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def without_gcc(device: object) -> None:
        raise RuntimeError("Failed to find\nC compiler")

    monkeypatch.setattr(compiling, "check_compiler", without_gcc)
    with caplog.at_level(logging.INFO, "astroclf"):
        assert not compiled("auto", CUDA, PAYS_FROM)
    assert "does not work here: RuntimeError: Failed to find C compiler" in caplog.text
    assert compiled(True, CUDA, PAYS_FROM)  # whoever asks is told by the compiler itself


@gpu
def test_a_gpu_compiles_a_small_function() -> None:
    compiling.check_compiler(CUDA)


def test_a_network_that_cannot_be_compiled_trains_all_the_same_where_nobody_asked_for_it(
    compiled: Callable[..., bool],
) -> None:
    compiled("auto", CUDA, PAYS_FROM)
    assert torch._dynamo.config.suppress_errors
    compiled(True, CUDA, PAYS_FROM)
    assert not torch._dynamo.config.suppress_errors
