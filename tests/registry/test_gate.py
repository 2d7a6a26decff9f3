"""The gate on real registered models that read their answer from one color of the image."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from astroclf.errors import TrackingError
from astroclf.evaluation.compare import paired_bootstrap, recall_losses
from astroclf.evaluation.predictions import Predictions, write_predictions
from astroclf.models.classifier import Classifier
from astroclf.models.precision import Precision
from astroclf.registry.conditions import better_than_guessing, no_class_pays
from astroclf.registry.decision import Decision, recorded
from astroclf.registry.gate import pass_gate
from astroclf.registry.package import load_package, write_package
from astroclf.registry.register import register
from astroclf.registry.versions import CHALLENGER, CHAMPION, RegisteredModel
from astroclf.settings.evaluation import PromotionSettings
from astroclf.tracking.client import connect
from astroclf.tracking.mlflow import MlflowTracker
from tests.data.augment.recipes import recipe_values
from tests.settings.defaults import default

CLASSES = ("Merging", "Round Smooth", "Edge-on")
LEVELS = np.array([30, 120, 210], np.uint8)  # the grey level that stands for each class
PER_CLASS = 40
LABELS = np.repeat(np.arange(3), PER_CLASS)
CPU = Precision("fp32", torch.device("cpu"))
POLICY = default(PromotionSettings, resamples=1000)


class MeanColor(nn.Module):
    """Features: the mean of each color."""

    def __init__(self, image_size: int = 8, channels: int = 3, weights: str | None = None) -> None:
        super().__init__()
        self.num_features = channels

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return images_BCHW.mean(dim=(2, 3))


def wrong_in(*mistakes: int) -> np.ndarray:
    """Answers with so many mistakes in each class."""
    predictions = LABELS.copy()
    for label, number in enumerate(mistakes):
        mine = np.flatnonzero(label == LABELS)[:number]
        predictions[mine] = (label + 1) % 3
    return predictions


def answered(labels: np.ndarray, predicted: np.ndarray) -> Predictions:
    ids = np.arange(len(labels)).astype(str)
    return Predictions(("class 0", "class 1"), ids, np.eye(2)[predicted], np.zeros(len(labels)), labels)


ANSWERS = {  # by color
    "red": wrong_in(12, 12, 12),  # 70 %
    "green": wrong_in(2, 2, 2),  # 95 %: better, and in each class
    "blue": wrong_in(0, 0, 20),  # 83 %: better, but a class pays for it
}
IMAGES = np.stack([LEVELS[answers] for answers in ANSWERS.values()], axis=1)[:, None, None, :].repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    module = types.ModuleType("astroclf.models.mean_color")
    module.MeanColor = MeanColor  # type: ignore[attr-defined]
    MeanColor.__module__ = module.__name__
    sys.modules[module.__name__] = module
    spec = {
        "backbone": {"_target_": "astroclf.models.mean_color.MeanColor"},
        "classes": list(CLASSES),
        "image_size": 8,
        "augment": recipe_values(mean=[0.0] * 3, std=[1.0] * 3),
    }
    folder = tmp_path_factory.mktemp("packages")
    yield {
        color: write_package(folder / color, spec, nearest_level(channel).state_dict())
        for channel, color in enumerate(ANSWERS)
    }
    del sys.modules[module.__name__]


def nearest_level(channel: int) -> Classifier:
    """Scores that are highest for the level nearest to this color: -(x - level)², less what all have in common."""
    model = Classifier(MeanColor(), 3)
    levels = torch.tensor(LEVELS / 255.0, dtype=torch.float32)
    with torch.no_grad():
        model.scores.weight.zero_()
        model.scores.weight[:, channel] = 60 * levels
        model.scores.bias.copy_(-30 * levels**2)
    return model.eval()


AS_WRITTEN = b"as written"  # the predictions of a run, where they are not damaged


@dataclass
class Registry:
    """One model of a store, to which trained versions are added."""

    uri: str
    name: str
    artifacts: Path
    packages: dict[str, Path]

    def add(self, color: str, fingerprint: str = "f00", kept: bytes | None = AS_WRITTEN) -> tuple[int, Predictions]:
        said = load_package(self.packages[color], device="cpu").classify(IMAGES)
        predictions = replace(said, ids=np.array([f"row-{i}" for i in range(len(LABELS))]), labels=LABELS)
        tracker = MlflowTracker(self.uri, "gate", self.artifacts)
        if kept is not None:
            write_predictions(self.artifacts / "predictions.csv", predictions)
            if kept != AS_WRITTEN:
                (self.artifacts / "predictions.csv").write_bytes(kept)
            tracker.log_artifact(self.artifacts / "predictions.csv")
        tracker.close()
        tags = {"test_fingerprint": fingerprint} if fingerprint else {}
        assert tracker.run_id
        return register(self.uri, self.packages[color], self.name, tracker.run_id, tags=tags), predictions

    def judge(self, number: int, predictions: Predictions, policy: PromotionSettings = POLICY) -> Decision:
        return pass_gate(self.uri, self.name, number, predictions, np.stack(IMAGES).__getitem__, CPU, policy)

    def decide(self, color: str, **options) -> Decision:  # type: ignore[no-untyped-def]
        return self.judge(*self.add(color, **options))

    @property
    def model(self) -> RegisteredModel:
        return RegisteredModel(self.uri, self.name)

    def holders(self) -> tuple[int | None, int | None]:
        return self.model.holder(CHAMPION), self.model.holder(CHALLENGER)


@pytest.fixture
def registry(uri: str, tmp_path: Path, packages: dict[str, Path], request: pytest.FixtureRequest) -> Registry:
    return Registry(uri, request.node.name, tmp_path, packages)


def test_the_colors_answer_as_they_are_meant_to(registry: Registry) -> None:
    for color, answers in ANSWERS.items():
        predictor = load_package(registry.packages[color], device="cpu")
        assert predictor.classify(IMAGES).predicted.tolist() == list(answers)


def test_the_first_version_is_champion_and_a_better_one_takes_its_place(registry: Registry) -> None:
    first = registry.decide("red")
    assert first.alias == CHAMPION
    assert "the first of" in first.reason
    assert [condition.passed for condition in first.conditions] == [True, True, True, None, None, None]
    assert first.reason.endswith(
        "no champion to beat; accuracy 0.700 [0.610, 0.780], where always saying Merging gets 0.333"
    )

    number, predictions = registry.add("green")
    second = registry.judge(number, predictions)
    assert second.alias == CHAMPION
    assert registry.holders() == (2, None)
    assert "accuracy +25.0 points [" in second.sentence
    assert "against version 1" in second.sentence
    assert [condition.passed for condition in second.conditions] == [True] * 6

    before = replace(predictions, probabilities=np.eye(3)[ANSWERS["red"]])
    expected = paired_bootstrap(before, predictions, resamples=1000)
    kept = recorded(registry.model.version(2))
    assert kept is not None
    assert kept.numbers["difference"] == "+0.2500"
    assert kept.numbers["interval"] == f"[{expected.low:+.4f}, {expected.high:+.4f}]"
    assert (kept.numbers["only_this_right"], kept.numbers["only_other_right"]) == ("30", "0")
    assert kept.champion_then == 1
    assert kept.conditions[0].said.startswith("loaded back, 17 test images")


def test_no_better_means_challenger(registry: Registry) -> None:
    registry.decide("green")
    equal = registry.decide("green")
    assert equal.alias == CHALLENGER
    assert "accuracy +0.0 points [+0.0, +0.0] against version 1, and the 95 % interval is not above 0" in equal.reason
    worse = registry.decide("red")
    assert "accuracy -25.0 points" in worse.reason
    assert registry.holders() == (1, 3)


def test_a_class_must_not_pay_for_the_others(registry: Registry) -> None:
    registry.decide("red")
    strict, generous = (replace(POLICY, metric="macro_f1", max_recall_loss=loss) for loss in (0.1, 0.2))
    number, predictions = registry.add("blue")
    found = registry.judge(number, predictions, strict)
    assert found.alias == CHALLENGER
    assert found.reason.startswith("macro F1 +")
    assert "; macro F1 0.8" in found.reason
    assert found.reason.endswith(", but recall lost, in points: Edge-on 20.0 [+5.2, +20.0] of 40 images (10 allowed)")
    number, predictions = registry.add("blue")
    assert registry.judge(number, predictions, generous).alias == CHAMPION, "as much as is allowed"


def test_a_first_version_tested_on_few_images_stays_challenger(registry: Registry) -> None:
    strict = replace(POLICY, min_test_images=len(LABELS) + 1)
    found = registry.judge(*registry.add("green"), strict)
    assert found.alias == CHALLENGER
    assert found.reason.endswith(", but it was tested on 120 images, and promotion.min_test_images is 121")
    assert [condition.passed for condition in found.conditions][:3] == [True, False, True]
    assert "| enough test images | failed | it was tested on 120" in registry.model.version(1).description
    assert registry.holders() == (None, 1)
    exactly = replace(POLICY, min_test_images=len(LABELS))
    assert registry.judge(*registry.add("red"), exactly).alias == CHAMPION


@pytest.mark.parametrize(
    ("metric", "kind", "said"),
    [
        ("accuracy", "blind", "of always saying Merging"),
        ("accuracy", "guesses", "of always saying Merging"),
        ("macro_f1", "guesses", "of guessing each class as often as it occurs"),
    ],
)
def test_a_version_no_better_than_guessing_is_never_champion(
    registry: Registry, metric: str, kind: str, said: str
) -> None:
    number, predictions = registry.add("red")
    answers = np.zeros_like(LABELS) if kind == "blind" else np.random.default_rng(1).permutation(LABELS)
    found = registry.judge(
        number, replace(predictions, probabilities=np.eye(3)[answers]), replace(POLICY, metric=metric)
    )
    assert found.alias == CHALLENGER
    assert f"the 95 % interval is not above the 0.333 {said}" in found.reason
    assert found.conditions[2].passed is False
    assert registry.holders() == (None, 1)


def test_the_first_champion_beats_the_most_common_class_beyond_doubt() -> None:
    """An accuracy of 0.60 where the most common class is 0.50: of 80 images that may be chance, of 800 it is not."""
    for images, passed in ((80, False), (800, True)):
        labels = np.arange(images) % 2
        right = np.arange(images) < 0.6 * images
        predictions = answered(labels, np.where(right, labels, 1 - labels))
        assert better_than_guessing(predictions, POLICY).passed is passed


def test_a_class_of_few_images_does_not_block_and_one_of_many_does() -> None:
    small, large = np.repeat([0, 1], [4, 400]), np.repeat([0, 1], [200, 400])
    for labels, lost, passed in ((small, 1, True), (small, 4, True), (large, 20, True), (large, 30, False)):
        champion = answered(labels, np.where(np.arange(len(labels)) < len(labels) - 100, labels, 0))
        challenger = answered(labels, np.where(np.arange(len(labels)) < lost, 1, labels))
        found = no_class_pays(recall_losses(champion, challenger), 0.1)
        assert found.passed is passed, found.said
    assert "class 0 15.0 [+11.5, +15.0] of 200 images (10 allowed)" in found.said
    few = no_class_pays(
        recall_losses(answered(small, small), answered(small, np.where(np.arange(404) < 1, 1, small))), 0.1
    )
    assert few.said.startswith("too few images to tell from chance: recall lost, in points: class 0 25.0 [")


def test_other_test_images_are_not_compared(registry: Registry) -> None:
    registry.decide("red", fingerprint="aaaa")
    found = registry.decide("green", fingerprint="bbbb")
    assert found.alias == CHALLENGER
    assert "test fingerprint bbbb; version 1: aaaa" in found.reason
    assert "astroclf promote" in found.reason
    assert [condition.passed for condition in found.conditions] == [True, True, True, False, None, None]
    assert "missing" in registry.decide("green", fingerprint="").reason
    assert registry.holders() == (1, 3)


DAMAGE = {
    "lost": None,
    "empty": b"",
    "cut off": b"id,label,prediction,p_Merging,p_Round Smooth,p_Edge-on,uncertainty\nrow-0,Merging,Mer",
    "another file": b"epoch,lr,val/loss\n1.0,0.1,2.0\n",
    "no text": bytes(range(256)),
    "zeros": bytes(4096),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_champion_whose_predictions_are_lost_or_damaged_stays(registry: Registry, damage: str) -> None:
    registry.decide("red", kept=DAMAGE[damage])
    found = registry.decide("green")
    assert found.alias == CHALLENGER
    assert found.reason.partition(", but ")[2].startswith("cannot be compared with version 1: its predictions.csv ")
    assert "`astroclf promote" in found.reason
    assert "tracking=none" not in found.reason
    assert registry.model.version(1).run_id in found.reason or damage != "lost"
    assert "\n" not in found.reason
    assert [condition.passed for condition in found.conditions] == [True, True, True, False, None, None]
    assert registry.holders() == (1, 2)


def test_a_store_that_does_not_answer_leaves_the_decision_for_later(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import artifacts

    registry.decide("red")
    number, predictions = registry.add("green")
    fails: list[Exception] = [ConnectionError("Connection refused")] * 4  # as often as it is tried

    def download(*place: str, original: Callable[..., str] = artifacts.download_artifacts, **options: str) -> str:
        if fails:
            raise fails.pop()
        return original(*place, **options)

    monkeypatch.setattr("astroclf.tracking.client.time.sleep", lambda seconds: None)
    monkeypatch.setattr(artifacts, "download_artifacts", download)
    with pytest.raises(TrackingError, match="Connection refused"):
        registry.judge(number, predictions)
    assert recorded(registry.model.version(number)) is None
    assert registry.judge(number, predictions).alias == CHAMPION


@pytest.mark.parametrize("fault", ["wrong", "not finite"])
def test_a_model_that_does_not_repeat_its_test_is_never_champion(registry: Registry, fault: str) -> None:
    number, predictions = registry.add("red")
    said = predictions.probabilities
    other = replace(predictions, probabilities=said[:, ::-1] if fault == "wrong" else np.full_like(said, np.nan))
    found = registry.judge(number, other)
    assert found.alias == CHALLENGER
    assert "does not repeat the probabilities of its test" in found.reason
    assert registry.holders() == (None, 1)
    assert registry.decide("red").alias == CHAMPION, "there is still no champion to beat"


def test_a_decision_is_made_once(registry: Registry) -> None:
    registry.decide("red")
    number, predictions = registry.add("green")
    made = registry.judge(number, predictions)
    before = registry.model.version(number)
    again = registry.judge(number, predictions)
    assert (again.alias, again.reason, again.numbers) == (made.alias, made.reason, made.numbers)
    assert registry.model.version(number) == before
    assert len(registry.model.moves()) == 2


def test_two_at_once_do_not_both_beat_the_same_champion(registry: Registry) -> None:
    registry.decide("red")
    entries = [registry.add("green"), registry.add("green")]
    decisions: dict[int, Decision] = {}
    start = threading.Barrier(2)

    def judge(number: int, predictions: Predictions) -> None:
        start.wait(30)
        decisions[number] = registry.judge(number, predictions)

    threads = [threading.Thread(target=judge, args=entry) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(found.alias for found in decisions.values()) == [CHALLENGER, CHAMPION]
    (winner,) = (number for number, found in decisions.items() if found.alias == CHAMPION)
    (loser,) = set(decisions) - {winner}
    assert (decisions[winner].compared_with, decisions[loser].compared_with) == (1, winner)
    assert [(move.version, move.previous) for move in registry.model.moves()] == [(1, None), (winner, 1)]


def test_a_champion_that_was_deleted_leaves_its_place_to_be_won(registry: Registry) -> None:
    registry.decide("red")
    registry.decide("green")
    connect(registry.uri).delete_model_version(registry.name, "2")
    assert registry.decide("red").alias == CHALLENGER, "version 1 is left, and no worse"
    assert registry.holders() == (None, 3)
    found = registry.decide("green")
    assert (found.alias, found.champion_then, found.compared_with) == (CHAMPION, None, 1)
