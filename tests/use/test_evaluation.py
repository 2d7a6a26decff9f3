"""One evaluation from settings to files: of the images that a model has not seen, prepared as its own were."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from astroclf.config.compose import composed_as
from astroclf.errors import ConfigError, DataError
from astroclf.evaluation.predictions import Predictions, read_predictions
from astroclf.inference.seen import SeenImages
from astroclf.registry.load import load
from astroclf.registry.package import load_package
from astroclf.settings.verbs.asking import EvaluateConfig
from astroclf.use.evaluation.images import Chosen
from astroclf.use.evaluation.job import evaluate
from astroclf.use.evaluation.result import Evaluation
from astroclf.use.evaluation.words import doubt_sentence
from tests.tiny import with_profile, write_tiny_package

CLASSES = ("Merging", "Round Smooth", "Sb (barred)")
EACH = 6  # images of a class


@pytest.fixture(scope="module")
def galaxies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three class folders of pictures of 40 px; nobody writes into them."""
    folder, rng = tmp_path_factory.mktemp("galaxies"), np.random.default_rng(0)
    for name in CLASSES:
        (folder / name).mkdir()
        for number in range(EACH):
            cv2.imwrite(str(folder / name / f"{number}.png"), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
    return folder


@pytest.fixture
def run(tmp_path: Path, tiny_package: Path, galaxies: Path):
    """Evaluate with these overrides; returns the exit status and what metrics.json says."""

    def run_it(*overrides: str, model: Any = tiny_package, data: Path = galaxies) -> tuple[int, dict[str, Any]]:
        words = [f"model={model}", f"dataset.path={data}", "trainer.device=cpu", "turned_images=3", *overrides]
        status = evaluate(composed_as(EvaluateConfig, "evaluate", words), tmp_path / "out", "evaluate it")
        return status, json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))

    return run_it


def digests(galaxies: Path, *names: str) -> np.ndarray:
    from astroclf.data.decode.images import read_values
    from astroclf.data.decode.original import pixel_digest
    from astroclf.settings.reading import ReadSettings

    return np.array([pixel_digest(read_values(galaxies / name, ReadSettings.with_defaults())) for name in names])


def test_answers_are_those_of_the_model_about_the_files(run, tmp_path, tiny_package, galaxies):
    status, metrics = run()
    assert status == 0
    said = read_predictions(tmp_path / "out" / "predictions.csv")
    predictor = load_package(tiny_package, device="cpu")
    own = predictor.classify(np.stack([predictor.preparation.file(galaxies / name) for name in said.ids.tolist()]))
    np.testing.assert_allclose(said.probabilities, own.probabilities, atol=1e-6)
    assert [said.classes[label] for label in said.truth] == [name.split("/")[0] for name in said.ids.tolist()]
    assert metrics["test/accuracy"] == said.right.mean()
    assert metrics["test/accuracy_low"] < metrics["test/accuracy"] < metrics["test/accuracy_high"]
    assert metrics["test/images"] == 3 * EACH
    assert {"test/top2_accuracy_low", "test/Merging/precision", "test/turned/unsteady"} <= metrics.keys()
    assert "not known" in metrics["run/images"]


def test_images_that_the_model_has_seen_are_left_out_unless_they_are_asked_for(run, tmp_path, tiny_backbone, galaxies):
    seen = SeenImages.of(digests(galaxies, "Merging/0.png", "Merging/1.png"), digests(galaxies, "Sb (barred)/0.png"))
    package = write_tiny_package(tmp_path / "seen", seen=seen)
    status, metrics = run(model=package)
    assert (status, metrics["test/images"]) == (0, 3 * EACH - 3)
    assert metrics["run/images"] == "all images of the data set but 3 that a model has seen in training"
    assert "Merging/0.png" not in read_predictions(tmp_path / "out" / "predictions.csv").ids
    status, metrics = run("split=all", model=package)
    assert (status, metrics["test/images"]) == (1, 3 * EACH)
    assert "trained on 2 and validated on 1 of these 18 images" in metrics["run/notes"][0]


def test_where_all_was_seen_nothing_is_evaluated(run, tmp_path, tiny_backbone, galaxies):
    names = [f"{name}/{number}.png" for name in CLASSES for number in range(EACH)]
    package = write_tiny_package(tmp_path / "seen", seen=SeenImages.of(digests(galaxies, *names), np.array([])))
    with pytest.raises(DataError, match="has seen every one of the 18 images in training"):
        run(model=package)
    assert not (tmp_path / "out").exists()


def test_the_models_own_test_split_is_found_by_its_fingerprints(run, tmp_path, tiny_backbone, galaxies):
    _, whole = run("split=test")
    facts = {
        f"{name}_fingerprint": run(f"split={name}")[1]["run/test_fingerprint"] for name in ("train", "val", "test")
    }
    status, metrics = run(model=write_tiny_package(tmp_path / "own", facts=facts))
    assert (status, metrics["test/images"]) == (0, whole["test/images"])
    assert metrics["run/images"] == "the test split of the data set that the model was trained on"


def test_images_are_prepared_as_the_models_own_whatever_the_data_set_says(
    run, tmp_path, tiny_backbone, galaxies, caplog
):
    package = write_tiny_package(tmp_path / "cut", reading={"crop": 20})
    caplog.set_level("INFO")
    run("dataset.image_size=64", "dataset.crop=30", model=package)
    assert "Images are prepared as the model's were: " in caplog.text
    assert "dataset.crop=20" in caplog.text
    said = read_predictions(tmp_path / "out" / "predictions.csv")
    predictor = load_package(package, device="cpu")
    own = predictor.classify(np.stack([predictor.preparation.file(galaxies / name) for name in said.ids.tolist()]))
    np.testing.assert_allclose(said.probabilities, own.probabilities, atol=1e-6)


def test_numbers_become_grey_by_the_models_rule_and_of_another_kind_are_a_fault(run, tmp_path, tiny_backbone):
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / "deep" / name).mkdir(parents=True)
        for number in range(2):
            deep = rng.integers(0, 4096, (32, 32), dtype=np.uint16)
            cv2.imwrite(str(tmp_path / "deep" / name / f"{number}.png"), deep)
    tone = {"interval": "limits", "stretch": "linear", "low": 0.0, "high": 20000.0, "reason": "", "used_share": None}
    package = write_tiny_package(tmp_path / "model", tones={"uint16": tone})
    run(model=package, data=tmp_path / "deep")
    said = read_predictions(tmp_path / "out" / "predictions.csv")
    predictor = load_package(package, device="cpu")
    pixels = np.stack([predictor.preparation.file(tmp_path / "deep" / name) for name in said.ids.tolist()])
    assert pixels.max() < 60  # black and white are the model's, and not those of these files
    np.testing.assert_allclose(said.probabilities, predictor.classify(pixels).probabilities, atol=1e-6)
    with pytest.raises(DataError, match="it has no rule by which others become grey"):
        run(model=write_tiny_package(tmp_path / "other", tones={"float": tone}), data=tmp_path / "deep")


def test_pictures_tell_nothing_to_a_model_of_other_numbers(run, tmp_path, tiny_backbone, galaxies):
    package = write_tiny_package(tmp_path / "model", tones={"FITS": {"interval": "zscale", "stretch": "asinh"}})
    with pytest.raises(DataError, match="is an 8-bit picture, and the model learned from FITS files"):
        run(model=package, data=galaxies)
    with pytest.raises(ConfigError, match="dataset=galaxy10_sim holds 8-bit pictures"):
        words = [f"model={package}", "dataset=galaxy10_sim", "dataset.samples=20", "trainer.device=cpu"]
        evaluate(composed_as(EvaluateConfig, "evaluate", words), tmp_path, "")


def test_classes_that_differ_are_brought_to_common_ones(run, tmp_path, galaxies):
    with pytest.raises(ConfigError, match="The data set has the classes `dE`, which .* does not know"):
        run(data=_renamed(tmp_path, galaxies))
    status, metrics = run(
        "class_map={Merging: null, Round Smooth: smooth, Sb \\(barred\\): disk, dE: smooth}",
        data=_renamed(tmp_path, galaxies),
    )
    assert (status, metrics["test/images"]) == (0, 2 * EACH)  # without Merging
    said = read_predictions(tmp_path / "out" / "predictions.csv")
    assert said.classes == ("smooth", "disk")
    assert {name.split("/")[0]: said.classes[label] for name, label in zip(said.ids, said.truth, strict=True)} == {
        "dE": "smooth", "Sb (barred)": "disk",
    }  # fmt: skip


def test_the_report_says_which_classes_were_brought_together_and_which_were_left_out(run, tmp_path, galaxies):
    _, metrics = run(
        "class_map={Merging: null, Round Smooth: smooth, Sb \\(barred\\): disk, dE: smooth}",
        data=_renamed(tmp_path, galaxies),
    )
    assert metrics["run/images"].startswith("all images of the data set, without 6 of classes that class_map leaves")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "without 6 of classes that class_map leaves out (Merging)" in page
    table = page.partition("Classes brought together")[2].partition("</section>")[0]
    rows = [re.findall(r"<td[^>]*>(?:<[^>]+>|\s)*([^<]*?)\s*<", row) for row in table.split("<tr>")[2:]]
    assert rows == [
        ["smooth", "Round Smooth", "dE", "6"],
        ["disk", "Sb (barred)", "Sb (barred)", "6"],
        ["left out", "Merging", "Merging", "–"],
    ]


def test_a_common_class_that_the_model_cannot_say_is_told(run, tmp_path, galaxies):
    status, metrics = run(
        "class_map={Merging: a, Round Smooth: a, Sb \\(barred\\): b, dE: c}", data=_renamed(tmp_path, galaxies)
    )
    assert status == 1
    assert metrics["run/notes"][0].endswith("becomes c: it cannot be right about these 6 images.")
    assert metrics["test/c/recall"] == 0


def test_a_model_with_prediction_sets_and_calibration_is_evaluated_to_the_report(run, tmp_path, tiny_backbone):
    sets = {"coverage": 0.9, "thresholds": [0.5] * 3, "ranks": [2] * 3}
    for name, calibration in (("uncalibrated", {}), ("calibrated", {"temperature": [2.0]})):
        package = write_tiny_package(tmp_path / name, conformal=sets, calibration=calibration)
        status, metrics = run(model=package)
        assert status == 0
        assert metrics["test/set_size"] > 0
        page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
        assert "classes in a prediction set, on average" in page
        assert (">before calibration<" in page) == (name == "calibrated")


def _renamed(tmp_path: Path, galaxies: Path) -> Path:
    folder = tmp_path / "renamed"
    if not folder.exists():
        folder.mkdir()
        for name in CLASSES:
            (folder / name.replace("Round Smooth", "dE")).symlink_to(galaxies / name)
    return folder


def test_models_are_compared_on_the_same_images_whatever_their_order_of_classes(run, tmp_path, tiny_backbone):
    other = write_tiny_package(tmp_path / "other", classes=list(reversed(CLASSES)))
    _, metrics = run(f"against=[{other}]")
    assert metrics[f"against/{other}/images"] == 3 * EACH
    right = read_predictions(tmp_path / "out" / "predictions.csv").right.mean()
    assert metrics[f"against/{other}/accuracy_difference"] == pytest.approx(
        right - metrics[f"against/{other}/accuracy_of_the_other"]
    )
    assert 0 <= metrics[f"against/{other}/mcnemar_p"] <= 1


def test_an_ensemble_is_the_mean_of_models_that_see_the_images_each_in_its_own_way(
    run, tmp_path, tiny_backbone, tiny_package, galaxies
):
    cut = write_tiny_package(tmp_path / "cut", image_size=48, reading={"crop": 20}, classes=list(reversed(CLASSES)))
    status, metrics = run(f"against=[{cut}]", model=f"[{tiny_package},{cut}]")
    assert (status, metrics["run/model"]) == (0, f"{tiny_package} + {cut}")
    said = read_predictions(tmp_path / "out" / "predictions.csv")
    files = [galaxies / name for name in said.ids.tolist()]
    table = load([tiny_package, cut], device="cpu").predict(files)
    np.testing.assert_allclose(said.probabilities[:, 0], table["p_Merging"], atol=1e-6)
    assert f"against/{cut}/accuracy_difference" in metrics
    assert metrics["test/turned/images"] == 3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (0, ""),
        (1, "1 of 40 answers is wrong: too few to tell which measure of doubt finds the mistakes."),
        (37, "3 of 40 answers are right: too few to tell which measure of doubt finds the mistakes."),
    ],
)
def test_of_a_handful_of_mistakes_no_measure_of_doubt_is_praised(wrong, said):
    rng, labels = np.random.default_rng(0), np.arange(40) % 3
    answered = np.where(np.arange(40) < wrong, (labels + 1) % 3, labels)
    probabilities = 0.7 * np.eye(3)[answered] + 0.1
    answers = Predictions(CLASSES, np.arange(40).astype(str), probabilities, rng.uniform(size=40), labels)
    chosen = Chosen(np.arange(40), "all", "", "")
    evaluation = Evaluation.of("m", "d", answers, answers, chosen, turned=None, comparisons=[], common=[], shift=None,
                               notes=[])  # fmt: skip
    assert doubt_sentence(evaluation) == said
    assert not [name for name in evaluation.metrics() if "doubt" in name]


def test_the_images_are_held_beside_those_that_the_model_was_trained_on(run, tiny_package, tmp_path, capsys) -> None:
    _, metrics = run("turned_images=0", model=with_profile(tiny_package, tmp_path / "known"))
    assert metrics["shift/noise/ks"] == 1  # uniform noise beside that of a spread of 20
    assert metrics["shift/statistics_auroc"] > 0.9
    assert metrics["test/unlike_training"] == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "Beside the training images, the " in said
    assert "18 of 18 images are unlike anything that the model was trained on." in said
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Beside the training images" in page
    assert (tmp_path / "out" / "plots" / "shift.png").is_file()
    assert "novelty" in (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0]


def test_a_model_that_does_not_know_its_training_images_is_evaluated_without(run) -> None:
    assert not [name for name in run("turned_images=0")[1] if "shift" in name or "unlike" in name]
