"""What the verbs beside training take, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.config.compose import composed_as
from astroclf.errors import ConfigError
from astroclf.settings.verbs.asking import EvaluateConfig, PredictConfig
from astroclf.settings.verbs.data import CheckConfig, SimulateConfig, StoresConfig
from astroclf.settings.verbs.records import PromoteConfig


@pytest.mark.parametrize(("kind", "samples", "image_size"), [("galaxy10", 2400, 64), ("astro8", 150, 128)])
def test_each_kind_of_simulated_data_has_its_own_defaults(kind, samples, image_size):
    config = composed_as(SimulateConfig, "simulate", [f"kind={kind}", "output=here"])
    assert (config.kind, config.samples, config.image_size) == (kind, samples, image_size)


def test_what_is_written_must_be_said():
    with pytest.raises(ConfigError, match="'output' has no value yet. Give it on the command line: output=..."):
        composed_as(SimulateConfig, "simulate", [])


def test_keys_that_verbs_share_have_one_name(own_cache: Path):
    assert composed_as(StoresConfig, "stores", []).dataset.cache_dir == str(own_cache)
    check = composed_as(CheckConfig, "check", ["trainer.device=cpu", "tracking.uri=sqlite:///x.db"])
    promote = composed_as(PromoteConfig, "promote", ["tracking.uri=sqlite:///x.db"])
    assert check.tracking.uri == promote.tracking.uri == f"sqlite:///{Path('x.db').absolute()}"
    assert (check.trainer.device, check.trainer.num_workers) == ("cpu", None)


@pytest.mark.parametrize(("age", "seconds"), [("12h", 43_200), ("30d", 2_592_000), ("2w", 1_209_600), (None, None)])
def test_ages_are_seconds(age, seconds):
    config = composed_as(StoresConfig, "stores", [f"unused_for={age or 'null'}"])
    assert config.unused_seconds() == seconds
    assert config.removes() is (age is not None)


def test_one_name_or_a_list_of_names_is_removed():
    assert composed_as(StoresConfig, "stores", ["remove=a-0123"]).names == ["a-0123"]
    assert composed_as(StoresConfig, "stores", ["remove=[a-01,b-23]"]).names == ["a-01", "b-23"]


@pytest.mark.parametrize(
    ("settings", "verb", "words"),
    [(PredictConfig, "predict", ["inputs=x.png"]), (EvaluateConfig, "evaluate", ["dataset.path=x"])],
)
def test_one_model_or_several_are_asked_and_none_is_refused(settings, verb, words):
    assert composed_as(settings, verb, ["model=models:/m/3", *words]).names == ["models:/m/3"]
    assert composed_as(settings, verb, ["model=[models:/m/3,models:/n/1]", *words]).names == [
        "models:/m/3",
        "models:/n/1",
    ]
    with pytest.raises(ConfigError, match="'model' names none: give one, such as models:/galaxy10@champion"):
        composed_as(settings, verb, ["model=[]", *words])
