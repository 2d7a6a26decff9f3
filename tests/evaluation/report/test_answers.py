from __future__ import annotations

import html

import numpy as np
import pytest

from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report.answers import (
    CELL_SAMPLES,
    MATRIX_SAMPLES,
    Pictures,
    class_section,
    confusion_section,
    figures_section,
    headlines,
    least_sure_section,
    mistakes_section,
    suspects_section,
)
from astroclf.evaluation.report.page import Report, write_report
from astroclf.evaluation.suspects import Suspects


def many(classes: int, images: int) -> Predictions:
    """Answers of which every class is taken for every other."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(classes), images)
    labels = rng.integers(0, classes, images)
    names = tuple(f"{'a very long name of a class ' * 3}{place:03d}" for place in range(classes))
    return Predictions(names, np.array([f"{i}.png" for i in range(images)]), probabilities, np.zeros(images), labels)


@pytest.mark.parametrize(("classes", "images"), [(3, 400), (10, 3000), (100, 5000)])
def test_the_pictures_behind_the_matrix_stay_within_a_limit(classes: int, images: int) -> None:
    predictions = many(classes, images)
    section = confusion_section(predictions, Pictures(np.zeros((images, 4, 4, 1), np.uint8)))
    shown = [len(cell.samples) for row in section.rows for cell in row]
    assert sum(shown) <= MATRIX_SAMPLES
    assert max(shown) <= CELL_SAMPLES
    assert [[cell.count for cell in row] for row in section.rows] == predictions.confusion.tolist()
    assert all(cell.more + len(cell.samples) == cell.count for row in section.rows for cell in row)
    if classes <= 10:
        assert all(cell.samples for row in section.rows for cell in row if cell.count)


def test_a_cell_shows_the_surest_of_its_images_first(predictions: Predictions, images: np.ndarray) -> None:
    section = confusion_section(predictions, Pictures(images))
    assert [sample.id for sample in section.rows[0][0].samples] == ["a.jpg", "b.jpg"]
    assert [sample.id for sample in section.rows[1][1].samples] == ["e.jpg", "f.jpg"]


def test_samples_say_where_on_the_sky_they_are_if_that_is_known(predictions: Predictions) -> None:
    ra, dec = np.full(6, np.nan), np.full(6, np.nan)
    ra[5], dec[5] = 187.70593, 12.39112
    first, second = mistakes_section(predictions, Pictures(None, ra, dec)).samples
    assert (first.id, first.sky) == ("g.jpg", "RA 187.7059° Dec +12.3911°")
    assert "ra=187.70593&dec=12.39112" in first.link
    assert (second.sky, second.link) == ("", "")
    assert mistakes_section(predictions, Pictures()).samples[0].link == ""


def test_a_mistake_is_shown_beside_where_the_model_looked(predictions: Predictions, images: np.ndarray) -> None:
    first, second = mistakes_section(predictions, Pictures(images, heat_maps={5: images[0]})).samples
    assert first.heat_map.startswith("data:image/")
    assert second.heat_map == ""


def test_few_figures_are_at_the_top_and_all_in_a_table_beside_what_they_were_before_calibration() -> None:
    metrics = {"test/accuracy": 0.9, "test/accuracy_low": 0.8, "test/accuracy_high": 0.95, "test/macro_recall": 0.7}
    metrics |= {"test/ece": 0.02, "test/ece_raw": 0.08, "test/coverage": 0.91, "test/unlike_training": 0.015}
    assert [(item.value, item.label) for item in headlines(metrics)] == [
        ("0.900", "accuracy"), ("0.020", "calibration error (ECE)"),
    ]  # fmt: skip
    assert headlines(metrics)[1].beside == ["before calibration 0.080"]
    table = figures_section(metrics)
    cells = [[cell.text for cell in row] for row in table.rows]
    assert cells[0] == ["accuracy", "0.900", "0.800 – 0.950", "–"]
    assert ["macro recall", "0.700", "–", "–"] in cells
    assert ["calibration error (ECE)", "0.020", "–", "0.080"] in cells
    assert [row[:2] for row in cells[-2:]] == [
        ["true class in its prediction set", "0.910"], ["images unlike the training images", "0.015"],
    ]  # fmt: skip
    same = figures_section(metrics | {"test/ece_raw": 0.02})
    assert [column.name for column in same.columns] == ["figure", "value", "95 % interval"]


def test_heat_maps_are_shown_once_beside_the_mistakes(predictions: Predictions, images: np.ndarray) -> None:
    pictures = Pictures(images, heat_maps={5: images[0]})
    one = np.array([5])
    suspects = Suspects(
        one, predictions.truth[one], predictions.predicted[one], np.array([0.1]), np.array([0.9]), np.array([0.5])
    )
    assert suspects_section(predictions, pictures, suspects).samples[0].heat_map == ""


def test_the_least_sure_come_first_whether_right_or_wrong(predictions: Predictions) -> None:
    section = least_sure_section(predictions, Pictures(), count=2)
    assert [(sample.id, sample.wrong) for sample in section.samples] == [("c, d.jpg", True), ("b.jpg", False)]
    assert "1 of them are right all the same" in section.text


def test_the_table_of_classes_sorts_by_numbers(predictions: Predictions) -> None:
    section = class_section(predictions)
    assert [column.numeric for column in section.columns] == [False] + [True] * 7
    nothing = section.rows[2]  # the class without images
    assert (nothing[3].text, nothing[4].text) == ("–", "–")
    assert section.rows[0][4].sort == pytest.approx(0.094, abs=1e-3)


def test_a_hundred_classes_with_long_names_are_one_page(tmp_path) -> None:  # type: ignore[no-untyped-def]
    predictions = many(100, 400)
    sections = [confusion_section(predictions, Pictures()), class_section(predictions)]
    page = write_report(tmp_path / "report.html", Report("many", "", sections=sections)).read_text()
    assert len(page) < 2_000_000
    assert all(name in html.unescape(page) for name in predictions.classes)
