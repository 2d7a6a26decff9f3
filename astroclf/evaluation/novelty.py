"""How unlike a model's training images an image is: its distance from them among the features of the network.

The distance is Mahalanobis's to the nearest class, with one covariance for all classes (Lee et al. 2018,
arXiv:1807.03888). On real galaxies it finds other objects and other surveys, which neither the highest probability nor
the energy of the logits (arXiv:2010.03759) does: experiments/novelty.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from astroclf.errors import ConfigError
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from sklearn import covariance
else:
    covariance = lazy_import("sklearn.covariance")

MIN_IMAGES = 20  # of training and of validation: a threshold from fewer is one image's
_SMALLEST_SHARE = 1e-6  # of the largest variance: directions that hardly vary would outweigh all others


@dataclass(frozen=True, kw_only=True)
class NoveltyScale:
    """The scale on which it is said: 0 of the median validation image, 1 of what few of them exceed.

    Attributes
    ----------
    middle, limit
        The median of the validation images, and what the configured share of them exceeds.

    Raises
    ------
    ConfigError
        The limit is not above the middle.
    """

    middle: float
    limit: float

    def __post_init__(self) -> None:
        if not self.middle < self.limit < np.inf:
            raise ConfigError("'limit' must be above 'middle'")

    def __call__(self, values_N: np.ndarray) -> np.ndarray:
        """Return values on this scale, (N,) float32."""
        scaled_N: np.ndarray = ((values_N - self.middle) / (self.limit - self.middle)).astype(np.float32)
        return scaled_N


def fit_scale(validation_N: np.ndarray, share: float) -> NoveltyScale | None:
    """Fit the scale on which a share of the validation images is beyond 1; None where they are too few or all alike."""
    if len(validation_N) < MIN_IMAGES:
        return None
    middle, limit = float(np.median(validation_N)), float(np.quantile(validation_N, 1 - share))
    return NoveltyScale(middle=middle, limit=limit) if limit > middle else None


@dataclass(frozen=True, eq=False)
class Novelty:
    """The rule that says of images, by their features, how unlike the training images they are.

    Attributes
    ----------
    center_F
        Mean of the training images' features.
    whitening_FF
        Makes the covariance within classes the identity.
    means_CF
        Of each class that has training images, about the centre and whitened.
    scale
        Of the distances.
    """

    center_F: np.ndarray
    whitening_FF: np.ndarray
    means_CF: np.ndarray
    scale: NoveltyScale

    def distance(self, features_NF: np.ndarray) -> np.ndarray:
        """Compute the Mahalanobis distance to the nearest class, (N,) float64."""
        white_NF = (features_NF.astype(np.float64) - self.center_F) @ self.whitening_FF.astype(np.float64)
        means_CF = self.means_CF.astype(np.float64)
        squares_NC = (white_NF**2).sum(axis=1)[:, None] - 2 * white_NF @ means_CF.T + (means_CF**2).sum(axis=1)[None, :]
        distance_N: np.ndarray = np.sqrt(np.maximum(squares_NC, 0).min(axis=1))
        return distance_N

    def __call__(self, features_NF: np.ndarray) -> np.ndarray:
        """Compute the novelty, (N,) float32: 0 of the median validation image; beyond 1, unlike the training images."""
        return self.scale(self.distance(features_NF))


def fit_novelty(
    training_NF: np.ndarray, labels_N: np.ndarray, validation_NF: np.ndarray, share: float
) -> Novelty | None:
    """Fit the distance on training images, and its limit on validation images, of which `share` exceed it.

    The covariance is shrunk (Ledoit & Wolf 2004, doi:10.1016/S0047-259X(03)00096-4): of a few hundred images it has
    more numbers than there are images to know them by.

    Returns
    -------
    Novelty or None
        None where there are too few images, or where the network makes the same of all of them.
    """
    enough = min(len(training_NF), len(validation_NF)) >= MIN_IMAGES
    if not enough or not (np.isfinite(training_NF).all() and np.isfinite(validation_NF).all()):
        return None
    center_F = training_NF.mean(axis=0, dtype=np.float64)
    centred_NF = training_NF - center_F
    classes, places_N = np.unique(labels_N, return_inverse=True)
    means_CF = np.stack([centred_NF[places_N == place].mean(axis=0) for place in range(len(classes))])
    shared = covariance.LedoitWolf(assume_centered=True).fit(centred_NF - means_CF[places_N])
    variances_F, directions_FF = np.linalg.eigh(shared.covariance_)
    if variances_F[-1] <= 0:
        return None
    scales_F = np.sqrt(np.maximum(variances_F, _SMALLEST_SHARE * variances_F[-1]))
    whitening_FF = (directions_FF / scales_F).astype(np.float32)
    means_CF = (means_CF @ whitening_FF).astype(np.float32)
    unscaled = Novelty(center_F.astype(np.float32), whitening_FF, means_CF, NoveltyScale(middle=0.0, limit=1.0))
    scale = fit_scale(unscaled.distance(validation_NF), share)
    return None if scale is None else replace(unscaled, scale=scale)
