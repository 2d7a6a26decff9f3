"""What a sweep refuses before it begins, and what it begins without."""

from __future__ import annotations

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from astroclf.config.validate import typed_section
from astroclf.errors import ConfigError
from astroclf.settings.sweep import SweepSettings
from astroclf.sweep.coordinator import Coordinator
from tests.sweep.test_samplers import chosen


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("n_trials=0", r"'hydra\.sweeper\.n_trials' is 0; it must be at least 1"),
        ("n_trials=many", r"'hydra\.sweeper\.n_trials' cannot be 'many'\. Give a whole number"),
        ("storage=null", r"'hydra\.sweeper\.storage' cannot be None\. Give text"),
        ("objectives=[val/acuracy]", "cannot have 'val/acuracy'. Did you mean 'val/accuracy'"),
        ("objectives=val/loss", r"Give a list, such as \[val/loss\]"),
        ("objectives=[model/parameters]", "cannot have 'model/parameters'"),
        ("max_failure_rate=2", "between 0 and 1"),
    ],
)
def test_settings_that_no_sweep_can_have(override, said):
    settings = chosen(f"hydra.sweeper.{override}")
    settings.pop("_target_")
    with pytest.raises(ConfigError, match=said):
        typed = typed_section(SweepSettings, settings)
        Coordinator(typed, None, OmegaConf.create({"hydra": {"sweep": {"dir": "sweep"}}}))


def test_the_coordinator_does_not_load_torch():
    """It would hold a second of start-up and memory on the GPU that its workers need."""
    code = "import astroclf.sweep.coordinator, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
