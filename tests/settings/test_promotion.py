from __future__ import annotations

from dataclasses import asdict

import pytest
from omegaconf import OmegaConf

from astroclf.config.compose import config_dir
from astroclf.errors import ConfigError
from astroclf.settings.promotion import PromotionPolicy


def test_the_yaml_and_the_defaults_say_the_same() -> None:
    assert OmegaConf.load(config_dir() / "config.yaml").promotion == asdict(PromotionPolicy())


@pytest.mark.parametrize("wrong", [{"interval": 95.0}, {"resamples": 10}, {"max_recall_loss": -0.1}])
def test_what_cannot_be_is_refused_by_its_key(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"'promotion.{next(iter(wrong))}'"):
        PromotionPolicy(**wrong)  # type: ignore[arg-type]
