"""Sections that verbs beside training take: of the groups that training has, the few keys that they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from astroclf.settings.base import PATH, STORE, Settings, at_least


@dataclass(frozen=True, kw_only=True)
class CacheSettings(Settings):
    """Where decoded images are kept: ``conf/dataset/_cache.yaml``."""

    section = "dataset"

    cache_dir: Annotated[str, PATH]


@dataclass(frozen=True, kw_only=True)
class StoreSettings(Settings):
    """Where runs and models are recorded: ``conf/tracking/_store.yaml``."""

    section = "tracking"

    uri: Annotated[str, STORE]


@dataclass(frozen=True, kw_only=True)
class ThreadSettings(Settings):
    """How many threads decode or make images: ``conf/trainer/_threads.yaml``."""

    section = "trainer"

    num_workers: Annotated[int | None, at_least(1)]


@dataclass(frozen=True, kw_only=True)
class MachineSettings(ThreadSettings):
    """Threads, and where and how exactly a network is computed: ``conf/trainer/_device.yaml``."""

    device: Literal["auto", "cuda", "cpu"]
    precision: Literal["auto", "bf16", "fp16", "fp32"]
