"""A run's parts: what cannot be had is told before anybody waits for a data set to be decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.config.compose import composed_as
from astroclf.errors import ConfigError
from astroclf.run.build import ProcessCache, TrialContext, opened_run
from astroclf.run.folder import RunFolder
from astroclf.settings.config import Config


class Decoded(Exception):
    """The data set was asked for."""


class NothingDecoded(ProcessCache):
    """Fails where a run begins to decode."""

    def data(self, config: Config, once_listed=None):
        raise Decoded


def opens(folder: Path, *overrides: str) -> None:
    config = composed_as(Config, "config", ["tracking=none", "trainer=debug", *overrides])
    with opened_run(config, RunFolder.new(folder), "astroclf train", NothingDecoded(), TrialContext()):
        pass


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ["head.refinement=true"],
            r"layer refinement\.1 .* trainer\.batch_size=2 or more .*head\.refinement=false",
        ),
        (["dataset.image_size=32"], r"layer backbone\.layer4\.0\.bn1 .* larger dataset\.image_size"),
    ],
)
def test_batches_of_one_image_are_refused_where_batchnorm_would_have_one_value(tmp_path, overrides, says):
    with pytest.raises(ConfigError, match=says):
        opens(tmp_path, "trainer.batch_size=1", *overrides)
    for batch_size, others in ((2, overrides), (1, ["dataset.image_size=33"])):
        with pytest.raises(Decoded):
            opens(tmp_path, f"trainer.batch_size={batch_size}", *others)
