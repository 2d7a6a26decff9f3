"""A Ray cluster as the place of a sweep's workers: what is said where there is none; `tests/clusters` runs one."""

from __future__ import annotations

import pytest

from astroclf.config.validate import typed_section
from astroclf.errors import ConfigError
from astroclf.settings.sweep import RaySettings
from astroclf.sweep import ray_cluster
from tests.sweep.test_samplers import chosen


def settings(*changes: str) -> RaySettings:
    return typed_section(RaySettings, chosen(*(f"hydra.sweeper.ray.{change}" for change in changes))["ray"])


def test_a_missing_ray_is_said_with_its_remedy(monkeypatch):
    monkeypatch.setattr(ray_cluster.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'astroclf\[ray\]'"):
        ray_cluster.connect(settings())


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_does_not_answer_is_said_with_both_remedies(monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(ConfigError, match=r"address=auto.*ray start --head.*hydra\.sweeper\.ray\.address=local"):
        ray_cluster.connect(settings())


@pytest.mark.parametrize(("change", "key"), [("gpus=-1", "gpus"), ("cpus=0", "cpus"), ("mem_gb=0", "mem_gb")])
def test_an_actor_that_cannot_be_is_refused(change, key):
    with pytest.raises(ConfigError, match=rf"hydra\.sweeper\.ray\.{key}"):
        settings(change)
