"""Whether answers depend on how an image is turned, and what the mean over its eight views brings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroclf.evaluation.compare import Difference, paired_bootstrap
from astroclf.evaluation.intervals import Interval, share_interval
from astroclf.evaluation.predictions import Predictions

VIEWS = 8  # four turns, each also mirrored


@dataclass(frozen=True)
class Orientation:
    """What the eight symmetries of the square do to the answers about some images.

    Attributes
    ----------
    images : int
    unsteady : int
        Images whose label is not the same in all eight views.
    changed : float
        Share of the seven other views in which the label is not that of the image as it is; mean over the images.
    gain : Difference
        Accuracy of the mean over eight views (challenger) against the image as it is (champion), on the same images.
    """

    images: int
    unsteady: int
    changed: float
    gain: Difference

    @property
    def unsteady_share(self) -> float:
        """Share of the images whose label depends on the view."""
        return self.unsteady / self.images

    @property
    def unsteady_interval(self) -> Interval:
        """The exact interval of that share."""
        return share_interval(self.unsteady, self.images)


def orientation(one_view: Predictions, probabilities_VNC: np.ndarray) -> Orientation:
    """Compare the answers of the eight views with each other and with the labels.

    Parameters
    ----------
    one_view
        Labelled; whatever was predicted in it is replaced.
    probabilities_VNC : (8, N, C) float
        Of each view of its images, the image as it is first.
    """
    labels_VN = probabilities_VNC.argmax(axis=2)
    differs_VN = labels_VN != labels_VN[0]
    as_it_is = _said(one_view, probabilities_VNC[0])
    return Orientation(
        images=len(one_view),
        unsteady=int(differs_VN.any(axis=0).sum()),
        changed=float(differs_VN[1:].mean()),
        gain=paired_bootstrap(as_it_is, _said(one_view, probabilities_VNC.mean(axis=0)), resamples=2000),
    )


def _said(images: Predictions, probabilities_NC: np.ndarray) -> Predictions:
    uncertainty = 1 - probabilities_NC.max(axis=1)
    return Predictions(images.classes, images.ids, probabilities_NC, uncertainty, labels=images.labels)
