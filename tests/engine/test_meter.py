import math

import torch

from astroclf.engine.meter import StepMeter


def filled(values):
    meter = StepMeter(torch.device("cpu"), curve_every=2)
    for step, (loss, norm) in enumerate(values):
        meter.add(step, lr=0.1, sums={"loss": torch.tensor(loss)}, images=4, norm=torch.tensor(norm))
    return meter


def test_means_leave_out_what_is_not_finite_and_begin_anew():
    meter = filled([(4.0, 1.0), (math.nan, 1.0), (8.0, 3.0), (8.0, math.inf)])
    means = meter.take_means()
    assert means == {"train/loss": 12 / 8, "train/grad_norm": 2.0, "train/skipped_steps": 2}
    assert math.isnan(meter.take_means()["train/loss"])


def test_a_streak_ends_with_the_next_good_step():
    assert filled([(math.nan, 1.0)] * 3).streak() == 3
    meter = filled([(math.nan, 1.0)] * 3 + [(1.0, 1.0)])
    assert meter.streak() == 0
    assert meter.skipped_steps() == 3


def test_the_curve_has_every_second_step_and_no_nan():
    points = list(filled([(4.0, 1.0), (4.0, 1.0), (math.nan, 2.0)]).take_curve())
    assert points == [
        (0, {"step/loss": 1.0, "step/grad_norm": 1.0, "step/lr": 0.1}),
        (2, {"step/grad_norm": 2.0, "step/lr": 0.1}),
    ]


def test_state_travels():
    first, second = filled([(4.0, 1.0), (math.nan, 1.0)]), filled([])
    second.load_state_dict(first.state_dict())
    assert second.streak() == 1
    assert second.take_means() == first.take_means()


def test_the_terms_of_the_loss_are_counted_like_the_loss():
    meter = StepMeter(torch.device("cpu"), curve_every=1)
    for loss, term in ((4.0, 3.0), (math.nan, 1.0), (8.0, 5.0)):
        sums = {"loss": torch.tensor(loss), "classification_loss": torch.tensor(term)}
        meter.add(0, lr=0.1, sums=sums, images=4, norm=torch.tensor(1.0))
    resumed = filled([])
    resumed.load_state_dict(meter.state_dict())
    means = meter.take_means()
    assert (means["train/loss"], means["train/classification_loss"]) == (12 / 8, 8 / 8)
    assert resumed.take_means() == means
    assert next(meter.take_curve())[1]["step/classification_loss"] == 3 / 4
