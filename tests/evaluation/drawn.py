"""Predictions drawn at random of a network whose real calibration is known."""

from __future__ import annotations

import numpy as np
from scipy import special

from astroclf.evaluation.predictions import Predictions

CLASSES = ("a", "b", "c", "d", "e")


def drawn(images: int, seed: int = 0, temperature: float = 1.0, spread: float = 2.0) -> Predictions:
    """Draw images whose labels follow softmax(logits); the network says softmax(temperature * logits).

    Thus `temperature` is the one that calibrates it: above 1 the network is too sure.
    """
    rng = np.random.default_rng(seed)
    logits_NC = rng.normal(0, spread, (images, len(CLASSES)))
    truth_NC = special.softmax(logits_NC, axis=1)
    labels_N = (truth_NC.cumsum(axis=1) < rng.random((images, 1))).sum(axis=1).clip(max=len(CLASSES) - 1)
    said_NC = special.softmax(temperature * logits_NC, axis=1).astype(np.float32)
    ids = np.arange(images).astype(str)
    return Predictions(CLASSES, ids, said_NC, 1 - said_NC.max(axis=1), labels=labels_N)
