"""What turning the images does to the answers."""

from __future__ import annotations

import numpy as np

from astroclf.evaluation.orientation import orientation


def test_labels_that_change_with_the_view_are_counted(predictions):
    views = np.stack([predictions.probabilities] * 8)
    steady = orientation(predictions, views)
    assert (steady.unsteady, steady.changed, steady.gain.difference) == (0, 0.0, 0.0)
    views[3, 0] = [0.1, 0.8, 0.1]  # one view of the first image
    found = orientation(predictions, views)
    assert found.unsteady_share == 1 / 6
    assert found.changed == 1 / 42
    assert found.unsteady_interval.low < 1 / 6 < found.unsteady_interval.high


def test_the_mean_of_eight_views_is_compared_with_the_image_as_it_is(predictions):
    right = np.eye(3)[predictions.truth]
    views = np.stack([predictions.probabilities, *[right] * 7])
    found = orientation(predictions, views)
    assert found.gain.champion == 4 / 6
    assert found.gain.challenger == 1
    assert found.gain.only_challenger == 2
