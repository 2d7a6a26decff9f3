"""An ensemble is registered as one model by the verb that has the images to judge it on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from astroclf.config.compose import composed_as
from astroclf.errors import AstroclfError, ConfigError, WeightsError
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.seen import SeenImages
from astroclf.registry.decision import recorded
from astroclf.registry.load import load
from astroclf.registry.versions import RegisteredModel
from astroclf.settings.verbs.asking import EvaluateConfig
from astroclf.settings.verbs.records import ExportConfig
from astroclf.use.evaluation.job import evaluate
from astroclf.use.export.job import export
from tests.tiny import with_profile, write_tiny_package
from tests.use.test_evaluation import CLASSES, digests

EACH = 40  # images of a class
NOTHING = SeenImages(np.zeros(0, np.uint64), np.zeros(0, np.uint64))


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three class folders of pictures that differ in brightness; nobody writes into them."""
    folder, rng = tmp_path_factory.mktemp("galaxies"), np.random.default_rng(0)
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir()
        for image in range(EACH):
            pixels = rng.integers(60 * number, 60 * number + 90, (24, 24, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / name / f"{image}.png"), pixels)
    return folder


@pytest.fixture
def members(tmp_path: Path, tiny_backbone) -> list[Path]:
    """Two models of different image sizes that have seen nothing."""
    small = write_tiny_package(tmp_path / "small", NOTHING, image_size=16, calibration={"temperature": [0.5]})
    return [small, write_tiny_package(tmp_path / "large", NOTHING, image_size=24)]


@pytest.fixture
def register(tmp_path: Path, galaxies: Path, database_uri: str, monkeypatch: pytest.MonkeyPatch):
    """Evaluate an ensemble and register it as ``galaxies``."""
    monkeypatch.chdir(tmp_path)

    def run_it(models: list[Path], *overrides: str) -> None:
        words: list[Any] = [f"model=[{','.join(map(str, models))}]", f"dataset.path={galaxies}", "turned_images=0"]
        words += ["trainer.device=cpu", f"tracking.uri={database_uri}", "register=galaxies", *overrides]
        evaluate(composed_as(EvaluateConfig, "evaluate", words), tmp_path / "out", "astroclf evaluate …")

    return run_it


def raw(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 40, 40, 3), dtype=np.uint8)


def test_it_passes_the_gate_and_answers_by_every_name(register, members, tmp_path, database_uri):
    register(members)
    version = RegisteredModel(database_uri, "galaxies").version(1)
    decision, run = recorded(version), version.run_id
    assert decision is not None
    conditions = {each.name: each.passed for each in decision.conditions}
    assert conditions["reproduced"]
    assert not conditions["guessing"], "random weights"
    assert decision.alias == "challenger"
    expected = load(members, device="cpu").classify(raw())
    for name in ("models:/galaxies/1", "models:/galaxies@challenger", run, run[:8], tmp_path / "out"):
        model = load(name, database_uri, device="cpu")
        assert isinstance(model, Ensemble)
        np.testing.assert_array_equal(model.classify(raw()).probabilities, expected.probabilities)


def test_users_of_mlflow_load_it_as_one_model(register, members, database_uri):
    import mlflow

    register(members)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(database_uri)
    try:
        table = mlflow.pyfunc.load_model("models:/galaxies/1").predict(raw(2))
    finally:
        mlflow.set_tracking_uri(before)
    said = load(members, device="cpu").classify(raw(2))
    np.testing.assert_allclose(table["p_Merging"], said.probabilities[:, 0], atol=1e-6)


def test_images_that_one_member_was_trained_on_are_no_test_of_it(register, members, galaxies, tmp_path, database_uri):
    of_one = [f"{CLASSES[0]}/{number}.png" for number in range(EACH)]
    knows = SeenImages.of(digests(galaxies, *of_one), np.array([], str))
    other = write_tiny_package(tmp_path / "other", knows, image_size=24)
    with pytest.raises(AstroclfError, match=rf"not registered: One of the models was trained on {EACH}"):
        register([members[0], other], "split=all")
    register([members[0], other])
    assert "40 that a model has seen in training" in (tmp_path / "out" / "metrics.json").read_text()
    model = load("models:/galaxies/1", database_uri, device="cpu")
    assert [(member.seen.among(digests(galaxies, *of_one)) == "train").sum() for member in model.members] == [0, EACH]


@pytest.fixture
def pair(galaxies: Path, tmp_path: Path, tiny_backbone) -> list[Path]:
    """Two models that were validated on images 6 to 19 of each class, and know novelty."""

    def named(numbers: range) -> np.ndarray:
        return digests(galaxies, *(f"{name}/{number}.png" for name in CLASSES for number in numbers))

    seen_by_each = [SeenImages.of(named(range(trained)), named(range(trained, 20))) for trained in (4, 6)]
    plain = [write_tiny_package(tmp_path / f"{n}", seen, image_size=24) for n, seen in enumerate(seen_by_each)]
    return [with_profile(each, tmp_path / f"known {n}", seed=n) for n, each in enumerate(plain)]


def test_its_mean_is_calibrated_on_validation_images_that_no_member_was_trained_on(
    register, pair, tmp_path, database_uri
):
    register(pair)
    model = load("models:/galaxies/1", database_uri, device="cpu")
    assert model.answering.conformal is not None
    assert "prediction_set" in model.predict(raw()).columns
    assert load(pair, device="cpu").classify(raw()).sets is None
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["test/images"] == 3 * (EACH - 20)
    assert {"test/coverage", "test/set_size"} <= metrics.keys()


def test_its_novelty_is_on_a_scale_of_the_same_validation_images(register, pair, galaxies, tmp_path, database_uri):
    register(pair)
    files = [galaxies / name / f"{number}.png" for name in CLASSES for number in range(6, 20)]
    novelty = load("models:/galaxies/1", database_uri, device="cpu").predict(files)["novelty"]
    assert abs(novelty.median()) < 0.01
    assert (novelty > 1).sum() == 1, "of 42, one in a hundred"
    assert (load(pair, device="cpu").predict(files)["novelty"] > 1).all(), "the members were trained on noise"


def test_what_is_registered_again_is_fitted_to_the_members_themselves(register, pair, tmp_path, database_uri):
    register(pair)
    first = shutil.move(tmp_path / "out" / "model", tmp_path / "first")
    shutil.rmtree(tmp_path / "out")
    register([first])
    before, after = (load(f"models:/galaxies/{number}", database_uri, device="cpu") for number in (1, 2))
    assert before.answering.novelty is not None
    assert after.answering == before.answering


def test_only_an_ensemble_that_answers_in_its_own_classes_is_registered(register, members):
    with pytest.raises(ConfigError, match="name its models"):
        register(members[:1])
    with pytest.raises(ConfigError, match="leave class_map out"):
        register(members, "class_map={Merging: a, Round Smooth: b}")


def test_it_becomes_a_bundle_and_no_program(register, members, tmp_path, database_uri):
    register(members)

    def exported(output: str) -> str:
        words = ["model=models:/galaxies/1", f"output={tmp_path / output}", f"tracking.uri={database_uri}"]
        return export(composed_as(ExportConfig, "export", words))

    exported("colleague.zip")
    said = load(tmp_path / "colleague.zip", device="cpu").classify(raw())
    np.testing.assert_array_equal(said.probabilities, load(members, device="cpu").classify(raw()).probabilities)
    with pytest.raises(ConfigError, match=r"is an ensemble, which cannot become .*large"):
        exported("network.onnx")


def test_a_member_that_is_missing_or_another_is_told(register, members, tmp_path):
    register(members)
    package = tmp_path / "out" / "model"
    shutil.rmtree(package / "member-2")
    with pytest.raises(WeightsError, match="member-2 is missing"):
        load(package, device="cpu")
    shutil.copytree(members[0], package / "member-2")
    with pytest.raises(WeightsError, match=r"member-2 is not the model that .*model\.json belongs to"):
        load(package, device="cpu")
