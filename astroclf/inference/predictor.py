"""A trained model with everything that it needs to answer: raw images in, labels and how sure they are out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from astroclf.data.decode.bands import to_channels
from astroclf.data.decode.images import fit_square
from astroclf.errors import DataError
from astroclf.evaluation.forward import Estimate, predict_proba
from astroclf.evaluation.novelty import Novelty
from astroclf.evaluation.predictions import Predictions
from astroclf.inference.answers import table_of_batches
from astroclf.inference.in_memory import images_of
from astroclf.inference.preparation import Preparation
from astroclf.inference.profile import TrainingProfile
from astroclf.inference.seen import SeenImages
from astroclf.inference.spec import ModelSpec
from astroclf.models.classifier import Classifier, probabilities
from astroclf.models.folded import for_inference
from astroclf.models.precision import choose_precision

DEFAULT_BATCH_SIZE = 32


class Predictor:
    """Raw images in, a table of labels out.

    Attributes
    ----------
    model : Classifier
        In evaluation mode, its weights in float32.
    precision : Precision
        The device, and the number format in which it answers.
    spec : ModelSpec
        What ``model.json`` says.
    classes : tuple of str
        Class names in label order.
    preparation : Preparation
        From files and arrays to the pixels that the model takes.
    seen : SeenImages or None
        The images that it was trained on, where its package says.
    profile : TrainingProfile or None
        What they are like, where its package says: by it, answers have a novelty.
    """

    def __init__(
        self,
        model: Classifier,
        spec: ModelSpec,
        device: torch.device,
        seen: SeenImages | None = None,
        precision: str = "auto",
        profile: TrainingProfile | None = None,
    ) -> None:
        self.model = model.eval().to(device)
        self.precision = choose_precision(precision, device)
        self._network = for_inference(self.model, self.precision)
        self.spec = spec
        self.classes = tuple(spec.classes)
        self.augmentation = spec.augmentation
        self.answering = spec.answering
        self.preparation = Preparation(spec)
        self.device = device
        self.seen = seen
        self.profile = profile

    @property
    def members(self) -> tuple[Predictor]:
        """Itself alone: what can be an ensemble is asked for its members whether it is one or not."""
        return (self,)

    @property
    def novelty(self) -> Novelty | None:
        """How it is told what is unlike its training images; None where it does not know them."""
        return None if self.profile is None else self.profile.novelty

    def predict(
        self, given: Any, *, batch_size: int = DEFAULT_BATCH_SIZE, on_error: Literal["raise", "row"] = "raise"
    ) -> pd.DataFrame:
        """Classify one image or many, each prepared as the training's images were.

        Parameters
        ----------
        given
            Paths, globs, folders, bytes of files, arrays, tensors, Pillow images or HDUs, of any sizes, one or many of
            them: see `astroclf.inference.in_memory.images_of`.
        batch_size
            How many go through the network at once.
        on_error
            ``row``: what is no image becomes a row with its ``error``, a column that is empty for all others.

        Returns
        -------
        pandas.DataFrame
            A row for each image, in order, with the columns of `answer_columns`.

        Raises
        ------
        DataError
            One of them is no image, or has numbers for which the model knows no rule.
        """
        batches = self.prepared(given, batch_size, on_error)
        return table_of_batches(batches, partial(self.classify, batch_size=batch_size), errors=on_error == "row")

    def features(self, given: Any, *, batch_size: int = DEFAULT_BATCH_SIZE) -> np.ndarray:
        """Compute what the backbone makes of one image or many, before any head: (N, F) float32.

        Parameters
        ----------
        given
            As of `predict`.

        Raises
        ------
        DataError
            As of `predict`.
        """
        return np.concatenate(
            [self.embed(images, batch_size) for images, _ in self.prepared(given, batch_size, "raise")]
        )

    @torch.inference_mode()
    def embed(self, images_NHWC: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE) -> np.ndarray:
        """Compute what `features` does of images that are prepared, (N, S, S, channels) uint8."""

        def features() -> Iterator[tuple[Tensor, ...]]:
            for images_BHWC in self._batches(images_NHWC, batch_size):
                with self.precision.autocast():
                    features_BF = self._network.features(self.augmentation(images_BHWC, None))
                yield (features_BF,)

        none = np.zeros((0, int(self.model.backbone.num_features)), np.float32)  # type: ignore[arg-type]
        return np.concatenate([none, *(features_BF for (features_BF,) in in_main_memory(features()))])

    def prepared(
        self, given: Any, batch_size: int, on_error: Literal["raise", "row"]
    ) -> Iterator[tuple[np.ndarray, list[str | None]]]:
        """Yield batches as `classify` takes them, with the error of each image; an empty one where there is none.

        Raises
        ------
        DataError
            As of `predict`.
        """
        size, channels = self.spec.image_size, self.spec.channels
        number, images, errors = 0, [np.zeros((0, size, size, channels), np.uint8)], list[str | None]()
        for number, image in enumerate(images_of(given, self.preparation), 1):
            try:
                images.append(image.read(f"image {number - 1}")[None])
                errors.append(None)
            except DataError as error:
                if on_error == "raise":
                    raise
                errors.append(str(error))
            if len(errors) == batch_size:
                yield np.concatenate(images), errors
                images, errors = images[:1], []
        if errors or number == 0:
            yield np.concatenate(images), errors

    def classify(self, images: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE) -> Predictions:
        """Classify N images of raw pixels, which are fitted to the model's size; their ids are their numbers.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        return self.before_and_after(images, batch_size)[1]

    @torch.inference_mode()
    def before_and_after(
        self, images: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE
    ) -> tuple[Predictions, Predictions]:
        """Return what the network itself says of N images, before calibration, and what `classify` makes of it.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        images_NHWC, knows = self._checked(images), self.novelty

        def answers() -> Iterator[tuple[Tensor, ...]]:
            for images_BHWC in self._batches(images_NHWC, batch_size):
                estimate = self._estimate(images_BHWC, self.spec.tta_views)
                features_BF = None if knows is None else estimate.outputs[0].features_BF  # of the image as it is
                given = estimate.probabilities_BC, estimate.uncertainty_B, features_BF
                yield tuple(each for each in given if each is not None)

        said, uncertainty = [np.zeros((0, len(self.classes)), np.float32)], [np.zeros(0, np.float32)]
        novelty = [np.zeros(0, np.float32)]
        for said_BC, uncertainty_B, *features in in_main_memory(answers()):
            said.append(said_BC)
            uncertainty.append(uncertainty_B)
            if knows is not None:
                novelty += [knows(features_BF) for features_BF in features]
        ids = np.arange(len(images_NHWC)).astype(str)
        novelty_N = None if knows is None else np.concatenate(novelty)
        own = Predictions(self.classes, ids, np.concatenate(said), np.concatenate(uncertainty), novelty=novelty_N)
        return own, self.answering(own)

    @torch.inference_mode()
    def views(self, images: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE) -> np.ndarray:
        """Compute the network's own probabilities for each of the eight views of N images, (8, N, C) float32.

        The first view is the image as it is. Their mean is what test-time views give, before calibration.

        Raises
        ------
        DataError
            Another shape or dtype.
        """

        def views() -> Iterator[tuple[Tensor, ...]]:
            for images_BHWC in self._batches(self._checked(images), batch_size):
                outputs = self._estimate(images_BHWC, 8).outputs
                of_views = [probabilities(output.logits_BC, self.spec.activation) for output in outputs]
                yield (torch.stack(of_views).float(),)

        none = np.zeros((8, 0, len(self.classes)), np.float32)
        return np.concatenate([none, *(of_views for (of_views,) in in_main_memory(views()))], axis=1)

    def say(self, images_BCHW: Tensor) -> Tensor:
        """Compute the network's own probabilities of images normalised for it, on its device: (B, C) float32."""
        return predict_proba(
            self._network, images_BCHW, self.spec.activation, precision=self.precision
        ).probabilities_BC

    def _estimate(self, images_BHWC: Tensor, tta_views: int) -> Estimate:
        return predict_proba(
            self._network,
            self.augmentation(images_BHWC, None),
            self.spec.activation,
            tta_views=tta_views,
            precision=self.precision,
        )

    def _checked(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        channels = self.spec.channels
        wanted = (1, 3) if channels == 1 else (channels,)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in wanted or 0 in images.shape[1:]:
            raise DataError(
                f"The model takes raw pixels: uint8 from 0 to 255 in an array (N, height, width, {channels}); "
                f"this one is {images.dtype} of shape {images.shape}. "
                "One image needs a leading axis, images[None]; colors, or bands, come last."
            )
        return images

    def _batches(self, images_NHWC: np.ndarray, batch_size: int) -> Iterator[Tensor]:
        """Yield images on the device; those for a GPU go there while the host does other things."""
        size, channels = self.spec.image_size, self.spec.channels
        for start in range(0, len(images_NHWC), batch_size):
            batch = images_NHWC[start : start + batch_size]
            shape = len(batch), size, size, channels
            sent_BHWC = torch.empty(shape, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
            if batch.shape == shape:
                sent_BHWC.numpy()[:] = batch
            else:
                for place, image in zip(sent_BHWC.numpy(), batch, strict=True):
                    place[:] = fit_square(to_channels(image, channels), size)
            yield sent_BHWC.to(self.device, non_blocking=True)


def in_main_memory(batches: Iterable[tuple[Tensor, ...]]) -> Iterator[tuple[np.ndarray, ...]]:
    """Yield tensors of a device as arrays in main memory, those of a batch when the next one is on its way."""
    waiting: deque[tuple[list[Tensor], torch.cuda.Event | None]] = deque()

    def first() -> tuple[np.ndarray, ...]:
        copies, there = waiting.popleft()
        if there is not None:
            there.synchronize()
        return tuple(copy.numpy() for copy in copies)

    for tensors in batches:
        copies = [tensor.to("cpu", non_blocking=True) for tensor in tensors]
        on_gpu = tensors[0].is_cuda
        waiting.append((copies, torch.cuda.current_stream().record_event() if on_gpu else None))
        if len(waiting) > 1:
            yield first()
    while waiting:
        yield first()
