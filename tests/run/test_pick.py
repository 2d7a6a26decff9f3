"""`pick`: candidates as people name them, the table, the page, and a command that can be pasted."""

from __future__ import annotations

import csv
import shlex
from functools import partial

import numpy as np
import pytest

from astroclf.config.compose import composed_as
from astroclf.inference.seen import SeenImages
from astroclf.models.network import NetworkSpec, build_network
from astroclf.registry.package import write_package
from astroclf.run import pick as comparison
from astroclf.run.candidates import candidate, check_candidate
from astroclf.settings.config import Config
from tests.data.augment.recipes import recipe_values

SMALL = "dataset=galaxy10_sim dataset.samples=100 dataset.image_size=32 folds=3 views=1 tracking=none"
SMALL_NET = "backbone=resnet18_d4 backbone.weights=null backbone.width_mult=0.1"


@pytest.fixture(scope="module")
def recipe() -> Config:
    return composed_as(Config, "config", ["tracking=none", "experiment=finetune_small"])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Let the network without training be a tiny one, and time a single step."""
    monkeypatch.setattr(comparison, "TIMED_STEPS", 1)
    monkeypatch.setattr(comparison, "untrained", partial(candidate, SMALL_NET))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Return a package of a ResNet-18 that has seen one image, of digest 0…0."""
    backbone = {"_target_": "astroclf.models.resnet18.ResNet18", "stem": "small", "grad_checkpointing": False}
    spec = {
        "backbone": backbone, "head": {}, "classes": ["a", "b"], "image_size": 32,
        "augment": recipe_values(mean=[0.4] * 3, std=[0.2] * 3),
    }  # fmt: skip
    network = build_network(NetworkSpec(backbone, 2, 32))
    seen = SeenImages.of(np.array(["0" * 16]), np.array([], str))
    return write_package(tmp_path_factory.mktemp("known") / "model", spec, network.state_dict(), seen)


def test_the_best_comes_first_in_table_page_and_command_and_the_command_is_one_that_train_takes(typed, tmp_path):
    names = [SMALL_NET, "timm:resnet19"]
    done = typed(f"astroclf pick {SMALL} finetune=none 'candidates=[\"{names[0]}\",{names[1]}]' hydra.run.dir=out")
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out" / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["candidate"] for row in rows[:2]} == {names[0], comparison.BASELINE}
    assert float(rows[0]["accuracy"]) >= float(rows[1]["accuracy"])
    for row in rows[:2]:
        low, value, high = (float(row[name]) for name in ("accuracy_low", "accuracy", "accuracy_high"))
        assert 0 <= low <= value <= high <= 1
        assert float(row["images_per_second"]) > 0 < float(row["epoch_seconds"])
    assert rows[2]["candidate"] == names[1]
    assert "Did you mean resnet18" in rows[2]["error"]
    assert "timm:resnet19 is left out" in done.stdout.replace("\n", " ")
    assert rows[0]["candidate"] in (tmp_path / "out" / "report.html").read_text()
    command = done.stdout.strip().splitlines()[-1].strip()
    assert "backbone=resnet18_d4" in command
    assert not {"folds", "views", "candidates", "hydra.run.dir"} & {w.partition("=")[0] for w in shlex.split(command)}
    shown = typed(f"{command} --cfg job")
    assert shown.returncode == 0, shown.stderr
    assert "width_mult: 0.1" in shown.stdout
    assert "drop_path" not in shown.stdout  # of the recipe's own backbone, which this one does not have


def test_a_network_whose_features_were_computed_is_trained_for_its_time_in_fp32_too(typed):
    """Where no cast to another format lies between, weights must be no tensors of inference mode."""
    done = typed(
        f"astroclf pick {SMALL} finetune=none trainer.device=cpu trainer.precision=fp32 "
        "'candidates=[\"backbone=custom6conv\"]' hydra.run.dir=out"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("candidates=[efficientnet_lite1]", "Did you mean 'efficientnet_lite0'?"),
        ("backbone.drop_path=0.2", "here the networks are named as candidates"),
        ("candidates=[]", "'candidates' names none"),
        ("'candidates=[\"backbone=resnet18 trainer.epochs=3\"]'", "trainer.epochs=3"),
        ("folds=2", "'folds' is 2; it must be at least 3"),
        ("dataset.samples=30", "independent images beside the test split, too few to compare networks"),
    ],
)
def test_a_wrong_word_is_answered_before_any_network_is_built(typed, tmp_path, words, said):
    done = typed(f"astroclf pick {SMALL} {words}")
    assert done.returncode == 1
    assert said in done.stderr.replace("\n", " ")
    assert not list(tmp_path.glob("experiments/picks/**/*.csv"))


def test_each_kind_of_name_becomes_words_that_train_takes(recipe, package, monkeypatch):
    monkeypatch.setattr("astroclf.run.candidates.hub_architecture", {"someone/encoder": "convnext_nano"}.get)
    expected = {
        "timm:resnet18.a1_in1k": ("backbone=timm", "backbone.name=resnet18.a1_in1k", "backbone.weights=imagenet"),
        "hf_hub:someone/encoder": (
            "backbone=timm", "backbone.name=convnext_nano", "backbone.weights=hf_hub:someone/encoder",
        ),
        "efficientnet_lite0": ("backbone=efficientnet_lite0", "backbone.weights=imagenet"),
        str(package): (
            "backbone=resnet18", "backbone.stem=small", f"backbone.weights={package}", "~backbone.drop_path",
        ),
        "backbone=resnet18 backbone.stem=small": ("backbone=resnet18", "backbone.stem=small", "~backbone.drop_path"),
    }  # fmt: skip
    for word, words in expected.items():
        check_candidate(word)
        assert candidate(word, recipe).words == words
    assert candidate(str(package), recipe).seen is not None
    assert candidate("timm:resnet18.a1_in1k", recipe).backbone.drop_path == recipe.backbone.drop_path == 0.1


def test_a_model_that_was_trained_on_these_images_is_left_out_and_where_nothing_is_left_the_reasons_are_the_error(
    package, typed, monkeypatch
):
    monkeypatch.setattr(SeenImages, "among", lambda seen, digests: np.array(["train"] * len(digests)))
    done = typed(f"astroclf pick {SMALL} 'candidates={package}'")
    assert done.returncode == 1
    said = done.stderr.replace("\n", " ")
    assert f"No candidate can be had. {package}: it has seen 80 of these 80 images in training" in said
