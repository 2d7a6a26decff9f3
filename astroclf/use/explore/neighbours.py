"""Who is like whom: neighbours in the space of embeddings, a map of it, and what is worth a label there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from sklearn import decomposition, manifold
else:
    decomposition = lazy_import("sklearn.decomposition")
    manifold = lazy_import("sklearn.manifold")

CHUNK = 1024  # rows of the matrix of similarities that are in memory at once
PCA_COMPONENTS = 50  # before t-SNE, as its authors did (van der Maaten & Hinton 2008)
PERPLEXITY = 30.0
FEW = 4  # images of which t-SNE can make no map


def directions(features_NF: np.ndarray) -> np.ndarray:
    """Scale embeddings to length 1, so that their products are cosines; (N, F) float32."""
    lengths_N1 = np.linalg.norm(features_NF, axis=1, keepdims=True)
    return (features_NF / np.maximum(lengths_N1, 1e-12)).astype(np.float32)


def nearest_images(directions_NF: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the nearest others of each image by cosine, exactly.

    Returns
    -------
    rows : (N, K) int64
        Nearest first; K is `count`, or all others where there are fewer.
    cosines : (N, K) float32
    """
    total = len(directions_NF)
    count = min(count, total - 1)
    rows, cosines = np.zeros((total, count), np.int64), np.zeros((total, count), np.float32)
    for start in range(0, total, CHUNK):
        own = np.arange(start, min(start + CHUNK, total))
        cosines_BN = directions_NF[own] @ directions_NF.T
        cosines_BN[np.arange(len(own)), own] = -np.inf
        rows[own] = np.argsort(-cosines_BN, axis=1, kind="stable")[:, :count]
        cosines[own] = np.take_along_axis(cosines_BN, rows[own], axis=1)
    return rows, cosines


def neighbours_accuracy(rows_NK: np.ndarray, cosines_NK: np.ndarray, labels_N: np.ndarray) -> float:
    """Return the share of labelled images whose label is that of most of their labelled neighbours, weighed by cosine.

    NaN where no image has a label. An image with no labelled neighbour counts as wrong.
    """
    names, codes_N = np.unique(labels_N, return_inverse=True)
    votes_NC = np.zeros((len(labels_N), len(names)))
    np.add.at(votes_NC, (np.arange(len(labels_N))[:, None], codes_N[rows_NK]), np.maximum(cosines_NK, 1e-9))
    votes_NC[:, names == ""] = 0
    right_N = (votes_NC.argmax(axis=1) == codes_N) & (votes_NC.max(axis=1) > 0)
    known_N = labels_N != ""
    return float(right_N[known_N].mean()) if known_N.any() else float("nan")


def map_of(features_NF: np.ndarray, seed: int) -> np.ndarray:
    """Lay embeddings out in the plane, near ones near: PCA, then t-SNE (van der Maaten & Hinton 2008, JMLR 9:2579).

    Returns
    -------
    (N, 2) float32
        From 0 to 1 along the longer side.
    """
    total = len(features_NF)
    if total < FEW or not np.ptp(features_NF, axis=0).any():
        places_N2 = np.stack([np.arange(total), np.zeros(total)], axis=1)
    else:
        components = min(PCA_COMPONENTS, *features_NF.shape)
        reduced = decomposition.PCA(components, random_state=seed, svd_solver="full").fit_transform(features_NF)
        perplexity = min(PERPLEXITY, (total - 1) / 3)
        # Two columns at least: t-SNE starts from the first two.
        reduced = np.pad(reduced, ((0, 0), (0, max(0, 2 - components))))
        places_N2 = manifold.TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    places_N2 = places_N2 - places_N2.min(axis=0)
    return (places_N2 / max(float(places_N2.max()), 1e-12)).astype(np.float32)


def to_label_next(
    directions_NF: np.ndarray, uncertainty_N: np.ndarray, is_labelled_N: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Choose images that are uncertain and unlike each other, one after the other.

    Each is the one whose uncertainty, times its distance (1 - cosine) to the nearest image that has a label or is
    chosen already, is greatest. This is the greedy k-center of core-sets (Sener & Savarese 2018, arXiv:1708.00489),
    weighted by doubt for the reason that BADGE does so (Ash et al. 2020, arXiv:1906.03671): the first alone takes
    outliers of which the model is sure, doubt alone takes the same hard case again and again.

    Parameters
    ----------
    is_labelled_N
        None of these is chosen, unless all images have a label: then all are looked at as if none had.

    Returns
    -------
    rows, worth
        (K,) each; worth is the product, and descends.
    """
    if is_labelled_N.all():
        is_labelled_N = np.zeros_like(is_labelled_N)
    distance_N = np.ones(len(directions_NF), np.float32)
    labelled_MF = directions_NF[is_labelled_N]
    for start in range(0, len(labelled_MF), CHUNK):
        cosines_NB = directions_NF @ labelled_MF[start : start + CHUNK].T
        distance_N = np.minimum(distance_N, 1 - cosines_NB.max(axis=1))
    free_N = ~is_labelled_N
    rows, worth = [], []
    for _ in range(min(count, int(free_N.sum()))):
        worth_N = np.where(free_N, np.maximum(distance_N, 0) * uncertainty_N, -1.0)
        row = int(worth_N.argmax())
        rows.append(row)
        worth.append(float(worth_N[row]))
        free_N[row] = False
        distance_N = np.minimum(distance_N, 1 - directions_NF @ directions_NF[row])
    return np.array(rows, np.int64), np.array(worth)
