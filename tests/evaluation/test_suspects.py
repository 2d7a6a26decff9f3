"""Labels that are probably wrong, as many as thresholds of each class count, the least probable label first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report.answers import Pictures, suspects_section
from astroclf.evaluation.suspects import find_suspects, label_margins, write_suspects

# A model that is sure of class 0 and never sure of class 1.
LABELS = np.array([0, 0, 0, 1, 1, 1, 0])
PROBABILITIES = np.array(
    [
        [0.90, 0.05, 0.05],
        [0.95, 0.03, 0.02],
        [0.40, 0.45, 0.15],  # far surer of class 1 than of that class's own images
        [0.50, 0.45, 0.05],  # more probably class 0, but less surely so than images of class 0 are
        [0.30, 0.40, 0.30],
        [0.97, 0.02, 0.01],
        [0.40, 0.10, 0.50],  # class 2 has no images, so half will do
    ]
)


def planted(images: int = 3000, classes: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers that are mostly right, surer of some classes than of others, and labels of which 10 % are wrong."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, images)
    strength_C = np.linspace(1.5, 6, classes)
    logits_NC = rng.normal(size=(images, classes))
    logits_NC[np.arange(images), truth] += strength_C[truth]
    exp_NC = np.exp(logits_NC)
    wrong = rng.random(images) < 0.1
    labels = np.where(wrong, (truth + rng.integers(1, classes, images)) % classes, truth)
    return exp_NC / exp_NC.sum(axis=1, keepdims=True), labels, wrong


def test_a_class_that_the_model_is_never_sure_of_needs_less_to_be_suggested():
    found = find_suspects(PROBABILITIES, LABELS)
    assert found.rows.tolist() == [5, 6, 2]
    assert found.suggested.tolist() == [0, 2, 1]
    assert found.label_probability.tolist() == [0.02, 0.40, 0.40]
    assert found.suggested_probability.tolist() == [0.97, 0.50, 0.45]


def test_equal_answers_are_as_sure_as_their_mean():
    labels = np.repeat([0, 1], [7, 1])
    assert find_suspects(np.tile([[0.7, 0.3]], (8, 1)), labels).rows.tolist() == [7]


def test_no_images_have_no_suspects():
    assert len(find_suspects(np.zeros((0, 3)), np.zeros(0, int))) == 0


def test_the_least_probable_label_comes_first_even_where_another_is_further_behind():
    labels = np.array([0, 0, 0, 1, 2])
    probabilities = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.05, 0.5, 0.45], [0.5, 0.5, 0.0], [0.1, 0.0, 0.9]])
    assert label_margins(probabilities, labels)[1] < label_margins(probabilities, labels)[2]
    assert find_suspects(probabilities, labels).rows.tolist() == [2, 1]


def test_planted_wrong_labels_are_found_as_cleanlab_finds_them():
    probabilities, labels, wrong = planted()
    found = find_suspects(probabilities, labels)
    theirs = find_label_issues(
        labels, probabilities, filter_by="low_self_confidence", return_indices_ranked_by="self_confidence", n_jobs=1
    )
    assert found.rows.tolist() == theirs.tolist()
    assert wrong[found.rows[: wrong.sum()]].mean() > 0.85
    margins = get_label_quality_scores(labels, probabilities, method="normalized_margin")
    np.testing.assert_allclose(label_margins(probabilities, labels), 2 * margins - 1, atol=1e-9)


def test_the_list_names_image_label_and_suggestion(tmp_path: Path):
    names = np.array([f"{place}.png" for place in "abcdefg"])
    said = Predictions(("spiral", "ring, or not", "star"), names, PROBABILITIES, np.zeros(7), LABELS)
    write_suspects(tmp_path / "suspects.csv", find_suspects(PROBABILITIES, LABELS).of(said))
    assert (tmp_path / "suspects.csv").read_text() == (
        "id,label,suggested_label,label_probability,suggested_probability,class_accuracy\n"
        'f.png,"ring, or not",spiral,0.020000,0.970000,0.333333\n'
        "g.png,spiral,star,0.400000,0.500000,0.500000\n"
        'c.png,spiral,"ring, or not",0.400000,0.450000,0.500000\n'
    )


def test_the_report_shows_the_most_suspicious_labels_first():
    names = np.array([f"{place}.png" for place in "abcdefg"])
    said = Predictions(("spiral", "ring", "star"), names, PROBABILITIES, np.zeros(7), LABELS)
    section = suspects_section(said, Pictures(), find_suspects(PROBABILITIES, LABELS), count=2)
    assert [(sample.id, sample.said, sample.truth) for sample in section.samples] == [
        ("f.png", "spiral 97%", "ring 2%"), ("g.png", "star 50%", "spiral 40%"),
    ]  # fmt: skip
    assert section.text.startswith("2 of 3, the least probable label first")
    assert not suspects_section(said, Pictures(), find_suspects(PROBABILITIES[:2], LABELS[:2])).samples
