from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest
import torch

from astroclf.util.programs import Programs


def shifted(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    return (tensors[0] + tensors[1]).clamp_(0)


def test_each_kind_of_tensors_has_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    whole = torch.compile

    def compiled(traced: torch.fx.GraphModule, **options: object) -> object:
        made.append(traced)
        return whole(traced, backend="eager", **options)

    monkeypatch.setattr(torch, "compile", compiled)
    programs = Programs("The sum")
    for size, dtype in ((3, torch.float32), (3, torch.float32), (5, torch.float32), (3, torch.float64)):
        given = [torch.randn(size, dtype=dtype), torch.ones(1, dtype=dtype)]
        assert torch.equal(programs("sum", given, shifted), shifted(given))
    assert len(made) == len(programs) == 3
    programs("another", given, lambda tensors: tensors[0])
    assert len(programs) == 4


def test_what_cannot_be_compiled_is_computed_as_it_is_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="no such backend"))
    programs, given = Programs("The sum"), [torch.randn(3), torch.ones(1)]
    for _ in range(2):
        assert torch.equal(programs("sum", given, shifted), shifted(given))
    assert caplog.text.count("The sum cannot be compiled, and is computed step by step: InvalidBackend") == 1
