"""A trained model with everything that it needs to answer: raw images in, labels and how sure they are out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from astroclf.data.decode.bands import to_channels
from astroclf.data.decode.images import fit_square
from astroclf.errors import DataError
from astroclf.evaluation.forward import predict_proba
from astroclf.evaluation.predictions import Predictions
from astroclf.inference.answers import answer_columns
from astroclf.inference.preparation import Preparation
from astroclf.inference.seen import SeenImages
from astroclf.inference.spec import ModelSpec
from astroclf.models.classifier import Classifier, probabilities

DEFAULT_BATCH_SIZE = 32


class Predictor:
    """Raw images in, a table of labels out.

    Attributes
    ----------
    model : Classifier
        In evaluation mode.
    spec : ModelSpec
        What ``model.json`` says.
    classes : tuple of str
        Class names in label order.
    preparation : Preparation
        From files and arrays to the pixels that the model takes.
    seen : SeenImages or None
        The images that it was trained on, where its package says.
    """

    def __init__(
        self, model: Classifier, spec: ModelSpec, device: torch.device, seen: SeenImages | None = None
    ) -> None:
        self.model = model.eval().to(device)
        self.spec = spec
        self.classes = tuple(spec.classes)
        self.augmentation = spec.augmentation
        self.answering = spec.answering
        self.preparation = Preparation(spec)
        self.device = device
        self.seen = seen

    def predict(self, images: np.ndarray, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify N images.

        Parameters
        ----------
        images : (N, H, W, channels) uint8
            Of any size; the longest side is scaled to the model's image size and the rest padded, as in training. RGB
            serves a model of grey images, too.
        params
            ``batch_size`` (default 32).

        Returns
        -------
        pandas.DataFrame
            N rows: ``label`` (class name), ``confidence`` (its probability), ``uncertainty`` (estimated probability
            that the label is wrong), and ``p_<class>`` for each class, summing to 1.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        said = self.classify(images, max(1, int((params or {}).get("batch_size") or DEFAULT_BATCH_SIZE)))
        return pd.DataFrame(answer_columns(said))

    @torch.inference_mode()
    def classify(self, images: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE) -> Predictions:
        """Classify N images as `predict` does, whose ids are their numbers.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        images_NHWC = self._checked(images)
        said, uncertainty = [torch.zeros(0, len(self.classes))], [torch.zeros(0)]
        for images_BHWC in self._batches(images_NHWC, batch_size):
            images_BCHW = self.augmentation(images_BHWC, None)
            estimate = predict_proba(self.model, images_BCHW, self.spec.activation, tta_views=self.spec.tta_views)
            said.append(estimate.probabilities_BC.cpu())
            uncertainty.append(estimate.uncertainty_B.cpu())
        ids = np.arange(len(images_NHWC)).astype(str)
        own = Predictions(self.classes, ids, torch.cat(said).numpy(), torch.cat(uncertainty).numpy())
        return self.answering(own)

    @torch.inference_mode()
    def views(self, images: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE) -> np.ndarray:
        """Compute the network's own probabilities for each of the eight views of N images, (8, N, C) float32.

        The first view is the image as it is. Their mean is what test-time views give, before calibration.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        parts = [np.zeros((8, 0, len(self.classes)), np.float32)]
        for images_BHWC in self._batches(self._checked(images), batch_size):
            estimate = predict_proba(
                self.model, self.augmentation(images_BHWC, None), self.spec.activation, tta_views=8
            )
            of_views = [probabilities(output.logits_BC, self.spec.activation) for output in estimate.outputs]
            parts.append(torch.stack(of_views).float().cpu().numpy())
        return np.concatenate(parts, axis=1)

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
        for start in range(0, len(images_NHWC), batch_size):
            batch = images_NHWC[start : start + batch_size]
            if batch.shape[3] != self.spec.channels:
                batch = np.stack([to_channels(image, self.spec.channels) for image in batch])
            fitted = np.stack([fit_square(image, self.spec.image_size) for image in batch])
            yield torch.from_numpy(fitted).to(self.device)
