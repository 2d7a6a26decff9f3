"""What a sweep refuses before it begins, and what it begins without."""

from __future__ import annotations

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from astroclf.errors import ConfigError
from astroclf.settings.sweep import SweepSettings
from astroclf.sweep.coordinator import Coordinator
from tests.sweep.test_samplers import chosen


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("n_trials=0", r"hydra\.sweeper\.n_trials=0"),
        ("storage=null", r"hydra\.sweeper\.storage"),
        ("objectives=[val/acuracy]", "cannot have 'val/acuracy'. Did you mean 'val/accuracy'"),
        ("objectives=val/loss", r"must be a list: \[val/loss\]"),
        ("objectives=[model/parameters]", "cannot have 'model/parameters'"),
        ("max_failure_rate=2", "between 0 and 1"),
    ],
)
def test_settings_that_no_sweep_can_have(override, said):
    settings = chosen(f"hydra.sweeper.{override}")
    settings.pop("_target_")
    with pytest.raises(ConfigError, match=said):
        Coordinator(SweepSettings(**settings), None, OmegaConf.create({"hydra": {"sweep": {"dir": "sweep"}}}))


def test_the_coordinator_does_not_load_torch():
    """It would hold a second of start-up and memory on the GPU that its workers need."""
    code = "import astroclf.sweep.coordinator, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
