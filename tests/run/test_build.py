"""A run's parts: what cannot be had is told before anybody waits for a data set to be decoded."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from astroclf.config.compose import composed_as
from astroclf.errors import ConfigError, WeightsError
from astroclf.models.network import NetworkSpec, build_network
from astroclf.models.precision import choose_precision
from astroclf.registry.package import write_package
from astroclf.registry.weights import sha256
from astroclf.run import parts
from astroclf.run.build import ProcessCache, TrialContext, opened_run
from astroclf.run.folder import RunFolder
from astroclf.settings.config import Config
from tests.data.augment.recipes import recipe_values


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


@pytest.mark.parametrize(("finetune", "precision"), [("probe_then_all", "fp32"), ("frozen", "bf16")])
def test_depthwise_networks_train_in_fp32_on_a_cpu_unless_they_are_frozen(tmp_path, monkeypatch, finetune, precision):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"amx_bf16": True})
    chosen = []
    monkeypatch.setattr(parts, "choose_precision", lambda *given: chosen.append(choose_precision(*given)) or chosen[-1])
    words = ("backbone=efficientnet_lite0", "backbone.weights=imagenet", f"finetune={finetune}", "trainer.device=cpu")
    with pytest.raises(Decoded):
        opens(tmp_path, *words, "trainer.precision=auto", "dataset.image_size=32")
    assert [each.name for each in chosen] == [precision]


SMALL = (
    "dataset.samples=60", "dataset.image_size=16", "backbone=custom6conv", "trainer.device=cpu",
    "trainer.num_workers=1",
)  # fmt: skip


def custom6conv_package(folder: Path) -> Path:
    """A package of the network that `SMALL` trains, with other classes and random weights."""
    spec: dict[str, Any] = {
        "backbone": {"_target_": "astroclf.models.custom6conv.Custom6Conv"},
        "classes": ["a", "b"],
        "image_size": 16,
        "augment": recipe_values(),
    }
    network = build_network(NetworkSpec(spec["backbone"], num_classes=2, image_size=16, channels=3))
    return write_package(folder, spec, network.state_dict())


def test_a_training_begins_with_the_backbone_of_a_model_and_goes_on_without_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = custom6conv_package(tmp_path / "galaxy10" / "model")
    wanted = torch.load(package / "weights.pt", weights_only=True)
    shutil.make_archive("galaxy10", "zip", tmp_path / "galaxy10")
    config = composed_as(Config, "config", ["tracking=none", *SMALL, "backbone.weights=./galaxy10.zip"])
    folder, cache = RunFolder.new(tmp_path / "run"), ProcessCache()
    with opened_run(config, folder, "astroclf train", cache, TrialContext()) as run:
        begun = run.network.state_dict()
        assert all(torch.equal(begun[name], value) for name, value in wanted.items() if name.startswith("backbone."))
        facts = run.trainer.description["spec"]["facts"]
        assert facts["initial_weights"] == str(tmp_path / "galaxy10.zip")
        assert facts["initial_weights_sha256"] == sha256(package / "weights.pt")
        assert run.trainer.description["spec"]["backbone"]["weights"] is None
        run.trainer.checkpoints.save(run.trainer.state_dict(), [])
    (tmp_path / "galaxy10.zip").unlink()
    resumed = RunFolder.resumed(str(tmp_path / "run"))
    with opened_run(config, resumed, "astroclf train", cache, TrialContext()) as run:
        assert run.trainer.description["spec"]["facts"] == facts


def test_weights_of_another_network_are_refused_by_the_name_of_their_model(tmp_path, tiny_package):
    opening = ("backbone=custom6conv", "dataset.image_size=32")
    with pytest.raises(WeightsError, match=rf"weights in {tiny_package} do not fit Custom6Conv: it lacks") as told:
        opens(tmp_path, *opening, f"backbone.weights={tiny_package}")
    assert "weights.pt" not in str(told.value)
    with pytest.raises(WeightsError, match="there is no file. Did you mean .*/model[?]"):
        opens(tmp_path, *opening, f"backbone.weights={tiny_package.parent}/{tiny_package.name}1")


def test_a_gpu_evaluates_more_images_at_once_than_it_trains_on():
    assert parts.evaluated_at_once(8, torch.device("cuda")) == 32
    assert parts.evaluated_at_once(8, torch.device("cpu")) == 8
