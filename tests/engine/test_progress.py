"""How long a training takes is told once, by steps that were measured."""

from __future__ import annotations

import logging

import pytest

from astroclf.engine import progress
from astroclf.engine.progress import ExpectedTime, TrainProgress
from tests.engine.test_trainer import make_trainer


def told(expected: ExpectedTime, steps: range, pace: float, started: float = 0.0) -> list[tuple[int, str]]:
    """What is said after each of these steps."""
    said = [(step, expected.told(step, started + pace * number)) for number, step in enumerate(steps, start=1)]
    return [(step, text) for step, text in said if text]


def test_it_is_told_once_when_ten_seconds_are_measured():
    ((step, text),) = told(ExpectedTime(1200, 10, validation_share=0.5), range(1, 1200), pace=2.0)
    assert step == 3 + 5  # the first three are not counted, and five take ten seconds
    assert text.startswith("An epoch takes about 30 s: 119 epochs are left, until about ")


def test_the_first_steps_do_not_count():
    expected = ExpectedTime(1000, 10)
    assert expected.told(1, 300.0) is None
    ((_, text),) = told(expected, range(2, 1000), pace=1.0, started=300.0)
    assert "about 10 s: " in text


def test_a_resumed_training_is_measured_by_its_own_steps():
    ((step, text),) = told(ExpectedTime(1200, 10), range(601, 1200), pace=2.0)
    assert step == 608
    assert "An epoch takes about 20 s: 59.2 epochs are left" in text


def test_of_short_trainings_nothing_is_said():
    assert told(ExpectedTime(60, 10), range(1, 60), pace=1.9) == []


def test_a_validation_counts_as_no_training_while_it_goes_on_either(monkeypatch):
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with TrainProgress(total_steps=10, epochs=1) as shown:
        now += 2.0
        for _ in range(2):
            with shown.aside():
                now += 5.0
                assert shown.seconds == pytest.approx(2.0)
        now += 1.0
        assert shown.seconds == pytest.approx(3.0)
        assert shown.aside_seconds == pytest.approx(10.0)


def test_where_more_of_the_network_begins_to_train_it_is_told_again():
    expected = ExpectedTime(1000, 10, other_pace_from=100)
    first = told(expected, range(1, 100), pace=1.0)
    second = told(expected, range(100, 1000), pace=3.0, started=100.0)
    assert [text.endswith("as more of the network will train.") for _, text in first + second] == [True, False]
    assert "about 30 s" in second[0][1]


def test_the_log_of_a_training_has_it(images, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(progress, "MEASURED_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LONG", 0.0)
    with caplog.at_level(logging.INFO, logger="astroclf"):
        make_trainer(images, tmp_path).fit()
    assert len([line for line in caplog.messages if line.startswith("An epoch takes about ")]) == 1


@pytest.mark.parametrize(("every", "share"), [(1.0, 18 / 126), (0.5, 2 * 18 / 126)])
def test_a_validation_image_counts_for_a_third(images, tmp_path, every, share):
    assert make_trainer(images, tmp_path, validate_every=every)._expected_time().validation_share == pytest.approx(
        share
    )
