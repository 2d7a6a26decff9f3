"""Several models that answer as one: the mean of their calibrated probabilities (deep ensembles, arXiv:1612.01474)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import tee
from typing import Any, Literal

import numpy as np
import pandas as pd

from astroclf.errors import ConfigError
from astroclf.evaluation.answering import Answering
from astroclf.evaluation.predictions import Predictions
from astroclf.inference.answers import table_of_batches
from astroclf.inference.ensemble_spec import EnsembleSpec
from astroclf.inference.predictor import DEFAULT_BATCH_SIZE, Predictor
from astroclf.inference.preparation import Preparation
from astroclf.models.precision import Precision

ForMembers = np.ndarray | Sequence[np.ndarray]  # images that all members get, or those that each of them gets

NO_EMBEDDING = "An ensemble has no embedding: each of its models has its own. Ask one of them."


class Ensemble:
    """Some models of the same classes, asked as one: it has the methods of `Predictor`.

    Each member prepares images by its own rules, so that members may differ in image size, cut-out and network. Their
    probabilities are calibrated each by its own calibration before the mean is taken. The mean tends to be less sure
    than it is right (arXiv:2007.08792): one that is registered as one model is calibrated again, where there are images
    for it. The confidence is the highest of the mean probabilities, the uncertainty 1 - confidence: the members'
    own are about labels that may be others. Their prediction sets hold for their own probabilities alone, so an
    ensemble has those that were fitted for it, or none. The novelty is the mean of the members', where all know it,
    and likewise scaled anew.

    Attributes
    ----------
    members : tuple of Predictor
    classes : tuple of str
        In the label order of the first member.
    spec : EnsembleSpec or None
        Of one that was packaged as one model.
    answering : Answering
        What is done to the mean before anybody sees it.

    Raises
    ------
    ConfigError
        The members know different classes.
    """

    def __init__(
        self, members: Sequence[Predictor], spec: EnsembleSpec | None = None, answering: Answering | None = None
    ) -> None:
        self.members = tuple(members)
        self.spec = spec
        self.answering = answering or (spec.answering if spec is not None else Answering())
        self.classes = self.members[0].classes
        for number, member in enumerate(self.members[1:], 2):
            if set(member.classes) != set(self.classes):
                others = sorted(set(member.classes) ^ set(self.classes))
                raise ConfigError(
                    f"Models of an ensemble know the same classes; the first and the {number}. of these do not: only "
                    f"one of them has {', '.join(others)}. Compare them with against=… and a class_map instead."
                )

    @property
    def precision(self) -> Precision:
        """The device, and the number format in which the members answer."""
        return self.members[0].precision

    @property
    def names(self) -> tuple[str, ...]:
        """What its members were called when it was packaged; none where it was not."""
        return tuple(self.spec.facts.get("members", ())) if self.spec is not None else ()

    @property
    def preparation(self) -> Preparation:
        """The way from files to pixels, where all members go the same one; otherwise it is a ConfigError."""
        first, *others = (member.preparation for member in self.members)
        for name in ("image_size", "channels", "reading", "tones"):
            if any(getattr(other, name) != getattr(first, name) for other in others):
                raise ConfigError(
                    f"The models of this ensemble prepare images differently (their {name.replace('_', ' ')} differs), "
                    "and files are prepared once here. Ask each of them by itself, or from Python: "
                    "astroclf.load([…]).predict(…) prepares them for each."
                )
        return first

    def predict(
        self, given: Any, *, batch_size: int = DEFAULT_BATCH_SIZE, on_error: Literal["raise", "row"] = "raise"
    ) -> pd.DataFrame:
        """Classify one image or many, as `Predictor.predict` does; each member prepares them for itself.

        Raises
        ------
        DataError
            One of them is no image, or has numbers for which a member knows no rule.
        """
        batches = self._prepared(given, batch_size, on_error)
        return table_of_batches(batches, partial(self.classify, batch_size=batch_size), errors=on_error == "row")

    def features(self, given: Any, *, batch_size: int = DEFAULT_BATCH_SIZE) -> np.ndarray:
        """Refuse, by a ConfigError: each member has an embedding of its own, and these have nothing in common."""
        raise ConfigError(NO_EMBEDDING)

    def embed(self, images_NHWC: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE) -> np.ndarray:
        """Refuse likewise."""
        raise ConfigError(NO_EMBEDDING)

    def classify(self, images: ForMembers, batch_size: int = DEFAULT_BATCH_SIZE) -> Predictions:
        """Classify N images of raw pixels, whose ids are their numbers.

        Parameters
        ----------
        images
            (N, H, W, channels) uint8, which each member fits to its size; or such an array for each member, of the
            same N images as its own rules prepare them.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        return self.before_and_after(images, batch_size)[1]

    def before_and_after(
        self, images: ForMembers, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> tuple[Predictions, Predictions]:
        """Return the mean of what the members' networks say, before calibration, and what `classify` says."""
        said = [member.before_and_after(own, batch_size) for member, own in self._shared_out(images)]
        before, after = zip(*said, strict=True)
        return self._mean(before), self.answering(self._mean(after))

    def _mean(self, said: Sequence[Predictions]) -> Predictions:
        orders = map(self._order, self.members)
        mean_NC = np.mean([each.probabilities[:, order] for each, order in zip(said, orders, strict=True)], axis=0)
        novelties = [each.novelty for each in said if each.novelty is not None]
        novelty_N = np.mean(novelties, axis=0) if len(novelties) == len(said) else None
        return Predictions(self.classes, said[0].ids, mean_NC, 1 - mean_NC.max(axis=1), novelty=novelty_N)

    def views(self, images: ForMembers, batch_size: int = DEFAULT_BATCH_SIZE) -> np.ndarray:
        """Compute the mean over members for each of the eight views of N images, as `Predictor.views` does."""
        views = [member.views(own, batch_size)[..., self._order(member)] for member, own in self._shared_out(images)]
        return np.asarray(np.mean(views, axis=0))

    def _order(self, member: Predictor) -> list[int]:
        """Return where a member has each of the classes."""
        return [member.classes.index(name) for name in self.classes]

    def _shared_out(self, images: ForMembers) -> Iterator[tuple[Predictor, np.ndarray]]:
        for_each = [images] * len(self.members) if isinstance(images, np.ndarray) else images
        yield from zip(self.members, for_each, strict=True)

    def _prepared(
        self, given: Any, batch_size: int, on_error: Literal["raise", "row"]
    ) -> Iterator[tuple[list[np.ndarray], list[str | None]]]:
        """Yield batches as each member takes them: of the images that all can read, with the error of each other."""
        count = len(self.members)
        for_each = tee(given, count) if isinstance(given, Iterator) else [given] * count
        batches = (
            member.prepared(own, batch_size, on_error) for member, own in zip(self.members, for_each, strict=True)
        )
        for parts in zip(*batches, strict=True):
            errors = [next(filter(None, of_one), None) for of_one in zip(*(own for _, own in parts), strict=True)]
            fine = np.array([error is None for error in errors], bool)
            images = []
            for images_NHWC, own in parts:
                read = np.array([error is None for error in own], bool)
                images.append(images_NHWC[fine[read]])
            yield images, errors
