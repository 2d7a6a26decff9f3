"""What is recorded of what is done again and again, decided by what is heard of waits; `engine` has tests on a GPU."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from astroclf.util import replay
from astroclf.util.replay import EAGER_CALLS, WAITS, Replay

GIVEN = [torch.ones(2)]


class Recorded:
    """Stands for a recording on a GPU."""

    def __init__(self, function: Callable[[Sequence[torch.Tensor]], Any], given: Sequence[torch.Tensor], pool: Any):
        self.output = function(given)

    def replay(self, given: Sequence[torch.Tensor]) -> Any:
        return self.output


@pytest.fixture
def mode(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Torch's mode, 1 where it warns of waits, without a GPU."""
    mode = [0]
    monkeypatch.setattr("torch.cuda.graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr("torch.cuda.get_sync_debug_mode", lambda: mode[0])
    monkeypatch.setattr("torch.cuda.set_sync_debug_mode", lambda to: mode.__setitem__(0, to))
    monkeypatch.setattr(replay, "_Recording", Recorded)
    return mode


def test_what_waits_for_the_device_is_not_recorded_and_the_place_is_said(
    mode: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    def waiting(given: Sequence[torch.Tensor]) -> torch.Tensor:
        if mode[0] == 1:
            warnings.warn(WAITS, stacklevel=1)
        return given[0] + 1

    steps = Replay("The step")
    with caplog.at_level("WARNING", logger="astroclf"):
        answers = [steps("kind", GIVEN, waiting) for _ in range(EAGER_CALLS + 2)]
    assert all(torch.equal(answer, GIVEN[0] + 1) for answer in answers)
    assert len(steps) == mode[0] == 0
    (said,) = caplog.messages
    assert said.startswith("The step cannot be replayed")
    assert "test_replay.py:" in said


def test_what_does_not_wait_is_recorded_and_its_warnings_are_heard(
    mode: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    def warning(given: Sequence[torch.Tensor]) -> torch.Tensor:
        warnings.warn(f"mode {mode[0]}", stacklevel=1)
        return given[0] + 1

    steps = Replay("The step")
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for _ in range(EAGER_CALLS + 2):
            steps("kind", GIVEN, warning)
    assert len(steps) == 1
    assert [str(said.message) for said in heard] == ["mode 0"] * (EAGER_CALLS - 1) + ["mode 1", "mode 0"]
    assert not caplog.messages
