"""The names that a verb understands, and the ones that a wrong one was meant for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from astroclf.cli.adapter import HydraSession
from astroclf.cli.vocabulary import Vocabulary, commented_keys, meant
from astroclf.settings.config import Config
from astroclf.settings.verbs.data import PrepareConfig
from astroclf.settings.yaml_files import config_dir

KEYS = [
    "dataset", "loss", "seed", "monitor", "dataset.name", "dataset.path", "dataset.seed", "head.dropout",
    "backbone.dropout", "optimizer.lr", "trainer.num_workers", "trainer.epochs", "trainer.precision",
    "trainer.compile", "tracking.model_name", "loss.gamma",
]  # fmt: skip


@pytest.fixture
def train() -> Iterator[Vocabulary]:
    with HydraSession.begin("train", "config", [config_dir()]) as session:
        yield Vocabulary(session, Config)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("lr", ["optimizer.lr"]),
        ("path", ["dataset.path"]),
        ("name", ["dataset.name"]),
        ("dropout", ["head.dropout", "backbone.dropout"]),
        ("Epochs", ["trainer.epochs"]),
        ("workers", ["trainer.num_workers"]),
        ("num-workers", ["trainer.num_workers"]),
        ("dataset.pth", ["dataset.path"]),
        ("trainer.precisoin", ["trainer.precision"]),
        ("trainer.lr", ["optimizer.lr"]),
        ("datset", ["dataset"]),
        ("loss.gama", ["loss.gamma"]),
        ("monitr", ["monitor"]),
        ("xyzzy", []),
    ],
)
def test_a_wrong_key_finds_the_few_that_it_was_meant_for(name, found):
    assert meant(name, KEYS) == found


def test_never_more_than_a_handful_is_named():
    assert len(meant("size", [f"section{number}.size" for number in range(50)])) == 4


def test_groups_and_choices_are_those_of_the_verb(train):
    assert train.groups["dataset"] == "galaxy10_sim"
    assert train.groups["experiment"] is None
    assert train.choices("dataset") == [
        "arrays", "astro8", "astro8_sim", "folder", "galaxy10", "galaxy10_sdss", "galaxy10_sim", "image_arrays",
        "images", "radio",
    ]  # fmt: skip


def test_a_verb_has_no_groups_of_another():
    with HydraSession.begin("prepare", "prepare", [config_dir()]) as session:
        assert list(Vocabulary(session, PrepareConfig).groups) == ["dataset"]


def test_keys_are_found_with_the_choices_that_have_them(train):
    assert train.choices_with("loss.gamma") == ["cb_focal", "focal"]
    assert train.choices_with("dataset.samples") == ["galaxy10_sim"]
    assert train.choices_with("dataset.cache_dir") == train.choices("dataset")
    assert train.choices_with("seed") == []


def test_keys_of_a_composition_are_those_that_people_set(train):
    keys = train.keys(train.session.compose([]))
    assert {"optimizer.lr", "dataset.samples", "hydra.run.dir", "hydra.sweeper.n_trials"} <= keys
    assert not {key for key in keys if key.endswith("_target_") or key.startswith("hydra.runtime")}


def test_texts_are_the_keys_that_take_any_text(train):
    assert {"dataset.path", "dataset.split_file", "backbone.weights", "resume", "tracking.uri"} <= train.texts
    assert not {"dataset.classes", "trainer.device", "trainer.epochs", "seed"} & train.texts


def test_comments_stand_beside_their_keys():
    text = 'a: 1  # first\nb:  # section\n  c: "# no comment" # third\n  d: [1, 2]\ndefaults:\n  - _base\n'
    assert commented_keys(text) == {"a": "first", "b": "section", "b.c": "third", "b.d": ""}
