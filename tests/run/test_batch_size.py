"""`trainer.batch_size=auto` in a run: a number from the beginning, and never in a sweep."""

from __future__ import annotations

import pytest
import torch
from omegaconf import OmegaConf

from astroclf.config.compose import composed_as
from astroclf.run import parts
from astroclf.run.build import TrialContext, opened_run
from astroclf.run.folder import RunFolder
from astroclf.run.parts import ProcessCache
from astroclf.settings.config import Config


def opened(folder, cache, batch_size):
    words = [
        "dataset.samples=60", "dataset.image_size=32", "backbone=custom6conv", "tracking=none", "trainer=debug",
        "trainer.max_eval_batches=1", f"trainer.batch_size={batch_size}",
    ]  # fmt: skip
    config = composed_as(Config, "config", words)
    with opened_run(config, RunFolder.new(folder), "astroclf train", cache, TrialContext()) as run:
        return run


def test_auto_is_a_run_of_the_number_that_it_stands_for(tmp_path, monkeypatch):
    monkeypatch.setattr("astroclf.models.custom6conv.WIDTHS", (8,) * 6)
    asked, cache = [], ProcessCache()
    monkeypatch.setattr(parts, "fitting_batch_size", lambda *args, **_: asked.append(args[-1]) or 4)
    automatic = opened(tmp_path / "auto", cache, "auto")
    random = torch.get_rng_state()
    named = opened(tmp_path / "four", cache, 4)
    assert asked == [len(automatic.data.splits.train)]
    assert OmegaConf.load(tmp_path / "auto" / "config.yaml").trainer.batch_size == 4  # a resumed run goes on with it
    assert len(automatic.loaders["train"]) == len(named.loaders["train"])
    assert len(automatic.data.splits.val) == len(named.data.splits.val) == 4
    assert torch.equal(random, torch.get_rng_state())
    for one, two in zip(automatic.network.parameters(), named.network.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_batch_is_a_number_or_auto():
    with pytest.raises(Exception, match=r"'trainer\.batch_size' cannot be 'many'. Give a whole number or auto"):
        composed_as(Config, "config", ["trainer.batch_size=many"])
    with pytest.raises(Exception, match="at least 1"):
        composed_as(Config, "config", ["trainer.batch_size=0"])
