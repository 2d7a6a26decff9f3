"""The yaml files and the settings classes cannot disagree."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from astroclf.errors import ConfigError
from astroclf.settings.base import ABSENT, ComponentSettings, Settings
from astroclf.settings.components import locate, parameters_of
from astroclf.settings.config import GROUPS, Config, DoctorConfig, FindLrConfig, PickConfig, PretrainConfig
from astroclf.settings.evaluation import PromotionSettings
from astroclf.settings.sweep import SweepSettings
from astroclf.settings.training import LossSettings, OptimizerSettings, TrainerSettings
from astroclf.settings.verbs.asking import EvaluateConfig, ExplainConfig, ExploreConfig, PredictConfig
from astroclf.settings.verbs.data import CheckConfig, PrepareConfig, SimulateConfig, StoresConfig
from astroclf.settings.verbs.records import ExportConfig, PromoteConfig, RunsConfig
from astroclf.settings.yaml_files import config_dir, yaml_values
from tests.settings.defaults import default

VERBS = {
    "config": Config, "find_lr": FindLrConfig, "prepare": PrepareConfig, "check": CheckConfig, "stores": StoresConfig,
    "simulate": SimulateConfig, "promote": PromoteConfig, "predict": PredictConfig, "explain": ExplainConfig,
    "explore": ExploreConfig, "evaluate": EvaluateConfig, "runs": RunsConfig, "export": ExportConfig,
    "pick": PickConfig, "pretrain": PretrainConfig, "doctor": DoctorConfig,
}  # fmt: skip


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml") if not path.stem.startswith("_"))


@pytest.mark.parametrize("group", GROUPS)
def test_every_key_of_a_group_is_declared_and_every_declared_key_is_in_a_yaml(group):
    keys = {choice: set(yaml_values(f"{group}/{choice}")) - {"_target_"} for choice in choices(group)}
    declared = GROUPS[group].declared()
    assert set().union(*keys.values()) == set(declared)
    always = set.intersection(*keys.values())
    assert {name for name, key in declared.items() if not key.optional} <= always


@pytest.mark.parametrize("name", VERBS)
def test_a_verb_has_the_groups_sections_and_keys_of_its_yaml(name):
    values = yaml.safe_load((config_dir() / f"{name}.yaml").read_text())
    entries = values.pop("defaults")
    if "config" in entries:  # it takes all that training does
        values |= yaml.safe_load((config_dir() / "config.yaml").read_text())
        entries += values.pop("defaults")
    groups = {key: choice for entry in entries if isinstance(entry, dict) for key, choice in entry.items()}
    if "kind" in groups:  # its choices bring keys of the verb itself
        values |= yaml_values(f"kind/{groups['kind']}")
    groups = {group for group in groups if not group.startswith("override")} - {"experiment", "sweep"}
    parts: dict[str, set[str]] = {}  # of the groups that training has, such as dataset/_cache
    for entry in entries:
        if isinstance(entry, str) and "/" in entry:
            parts.setdefault(entry.partition("/")[0], set()).update(yaml_values(entry))
    declared = VERBS[name].declared()
    assert groups | set(parts) | set(values) - {"hydra"} == set(declared)
    for section, keys in parts.items():
        assert keys == set(declared[section].type.declared())


CHANGES_NOTHING = (None, False, 0, "", (), [], (0.0, 0.0), (1.0, 1.0))  # off, none, empty, no turn, no zoom


@pytest.mark.parametrize("group", sorted(GROUPS.keys() - {"dataset"}))  # readers are also made by hand, in notebooks
def test_a_number_that_somebody_chose_stands_in_a_yaml_and_not_in_a_constructor_too(group):
    for choice in choices(group):
        values = yaml_values(f"{group}/{choice}")
        if not values["_target_"].startswith("astroclf."):
            continue
        parameters = parameters_of(locate(group, values["_target_"]))
        defaults = {key: p.default for key, p in parameters.items() if p.default is not p.empty and key in values}
        assert {key: value for key, value in defaults.items() if value not in CHANGES_NOTHING} == {}


@pytest.mark.parametrize("section", ["trainer", "head", "evaluation", "promotion", "hydra.sweeper"])
def test_a_section_has_the_keys_of_its_yaml(section):
    if section == "hydra.sweeper":
        values: dict[str, Any] = yaml_values("hydra/sweeper/optuna")
        assert set(values) - {"_target_"} | {"sampler", "pruner"} == set(SweepSettings.declared())
        for part in ("slurm", "ray"):
            assert set(values[part]) == set(SweepSettings.declared()[part].type.declared())
        return
    keys = set(yaml_values("trainer/default") if section == "trainer" else yaml_values("config")[section])
    assert keys == set(Config.declared()[section].type.declared())


def test_no_settings_class_has_a_default_of_its_own():
    def check(settings: type[Settings]) -> None:
        for key in settings.declared().values():
            assert getattr(settings, key.name, ABSENT) is ABSENT, f"{settings.__name__}.{key.name}"
            if isinstance(key.type, type) and issubclass(key.type, Settings):
                check(key.type)

    for settings in (*VERBS.values(), SweepSettings):
        check(settings)


@pytest.mark.parametrize(
    "wrong", [{"min_test_images": 0}, {"interval": 95.0}, {"resamples": 10}, {"max_recall_loss": -0.1}]
)
def test_promotion_that_cannot_be_is_refused_by_its_key(wrong):
    with pytest.raises(ConfigError, match=f"'promotion.{next(iter(wrong))}'"):
        default(PromotionSettings, **wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"epochs": 0}, "'trainer.epochs' is 0; it must be at least 1."),
        ({"patience": 0.0}, "'trainer.patience' is 0.0; it must be above 0."),
        ({"ema_decay": 1.0}, "'trainer.ema_decay' is 1.0; it must be at least 0 and below 1."),
        ({"validate_every": float("nan")}, "'trainer.validate_every' is nan; it must be a finite number above 0."),
        ({"grad_clip_norm": float("inf")}, "'trainer.grad_clip_norm' is inf; it must be a finite number above 0."),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_key(wrong, says):
    with pytest.raises(ConfigError) as raised:
        default(TrainerSettings, **wrong)
    assert str(raised.value) == says


def test_a_key_that_a_choice_has_not_got_is_absent_and_false():
    loss = LossSettings(target="astroclf.losses.cross_entropy.CrossEntropy", beta=0.0, label_smoothing=0.1)
    assert loss.gamma is ABSENT
    assert (loss.gamma or 7.0) == 7.0
    assert loss.to_plain() == {"_target_": loss.target, "beta": 0.0, "label_smoothing": 0.1}


def test_options_of_an_outside_class_stand_beside_the_declared_keys():
    optimizer = OptimizerSettings(target="theirs.Lion", lr=0.1, options={"rank": 4})
    assert optimizer.values() == {"lr": 0.1, "rank": 4}
    assert isinstance(optimizer, ComponentSettings)
