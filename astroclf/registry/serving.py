"""A model behind MLflow's scoring server, and under ``mlflow.pyfunc.load_model``: what both hand over, to answers.

A registered model declares no input schema. MLflow's schemas are one each, and convert before anybody can look: under
one of uint8 a pixel of 0.5 becomes 0, under one of texts no array passes. Without one it takes all four bodies of the
server (``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs``), and what they hold is judged here.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from astroclf.data.decode.tone import kinds_in_words
from astroclf.data.decode.values import EIGHT_BIT, FITS
from astroclf.errors import DataError
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.in_memory import Given
from astroclf.inference.predictor import DEFAULT_BATCH_SIZE, Predictor
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import mlflow
else:
    mlflow = lazy_import("mlflow")

IMAGE_COLUMN = "image"
FOLDER_VARIABLE = "ASTROCLF_SERVE_FOLDER"  # below it, and nowhere else, a request may name files of the server
MAX_PATH = 4096  # characters
REASON = "The model takes raw pixels, uint8 from 0 to 255, as it learned from."

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def in_one_thread(function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
    """Call a function in the one thread of this process in which models are loaded and answer.

    A server calls from several. OpenMP, by which torch computes on all cores, keeps workers for every thread that ever
    asked it; as soon as there are more of them than cores they sleep between any two layers, and a ResNet-18 takes
    twice as long for one image.
    """
    return _thread(os.getpid()).submit(function, *args, **kwargs).result()


@cache
def _thread(process: int) -> ThreadPoolExecutor:  # a fork has none of its parent's threads
    return ThreadPoolExecutor(1, thread_name_prefix=f"astroclf-{process}")


class ServedModel:
    """Answers with a row for each image, whose ``error`` says what is wrong with one that cannot be read."""

    def __init__(self, predictor: Predictor | Ensemble) -> None:
        self.predictor = predictor

    def predict(self, given: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify what came by REST, or from a user of MLflow.

        Parameters
        ----------
        given
            A table with one column (``image``), or a list, whose cells are files, as bytes or in base64; or raw pixels
            from 0 to 255 as nested lists or array. Names of files are read below the folder that the environment
            variable ``ASTROCLF_SERVE_FOLDER`` names.
        params
            ``batch_size`` (default 32).

        Raises
        ------
        MlflowException
            There is no such column, or an array is not of raw pixels: of the server, status 400 with the reason.
        """
        batch_size = max(1, int((params or {}).get("batch_size") or DEFAULT_BATCH_SIZE))
        try:
            images = self._images(given)
            table = in_one_thread(self.predictor.predict, images, batch_size=batch_size, on_error="row")
        except DataError as error:
            raise _refusal(str(error)) from error
        if table["error"].isna().all():
            return table
        return table.astype(object).where(table.notna(), None)  # JSON has no NaN

    def _images(self, given: Any) -> Any:
        if isinstance(given, pd.DataFrame | dict):
            columns = list(given)
            if IMAGE_COLUMN not in columns and len(columns) != 1:
                raise DataError(f"Give the images in a column `{IMAGE_COLUMN}`; this table has {columns}.")
            given = given[IMAGE_COLUMN if IMAGE_COLUMN in columns else columns[0]]
        if isinstance(given, np.ndarray) and given.dtype.kind in "biuf":
            return self._pixels(given)
        cells = given.reshape(-1).tolist() if isinstance(given, np.ndarray) else given
        return [self._cell(cell) for cell in ([cells] if isinstance(cells, str | bytes) else cells)]

    def _cell(self, cell: Any) -> Any:
        """Return the file or the pixels in one cell, or what `images_of` refuses."""
        if isinstance(cell, str):
            return _allowed_file(cell) or _decoded(cell)
        if isinstance(cell, list | np.ndarray):
            try:
                pixels = np.asarray(cell)
                return (
                    self._pixels(pixels)
                    if pixels.dtype.kind in "biuf"
                    else Given.refused(f"{REASON} These are lists of {pixels.dtype}.")
                )
            except (ValueError, DataError) as error:
                return Given.refused(str(error))
        return cell

    def _pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Take whole numbers of JSON, which has no uint8, for raw pixels: only where there can be no doubt."""
        each = [member.preparation.kinds for member in self.predictor.members]
        any_kind, every_kind = frozenset.union(*each), frozenset.intersection(*each)
        if pixels.dtype != np.int64 and (pixels.dtype.kind != "f" or "float" in every_kind):
            return pixels
        if EIGHT_BIT not in every_kind:
            raise DataError(
                f"The model learned from {kinds_in_words(any_kind)}, and these are {pixels.dtype} numbers without a "
                "file that says what they are. Send the files themselves, in base64."
            )
        if pixels.dtype.kind == "f":
            raise DataError(f"{REASON} These are {pixels.dtype}: multiply what is from 0 to 1 by 255, and round it.")
        is_eight_bit = not pixels.size or (pixels.min() >= 0 and pixels.max() <= np.iinfo(np.uint8).max)
        if any_kind - {EIGHT_BIT, FITS} or not is_eight_bit:  # no array holds the numbers of FITS files
            raise DataError(
                f"{REASON} These are whole numbers whose type JSON does not tell, from {pixels.min()} to "
                f"{pixels.max()}. Send the files themselves, in base64."
            )
        return pixels.astype(np.uint8)


@cache
def _refusal_class() -> type[Exception]:
    class Refusal(mlflow.MlflowException):
        """A refusal whose reason stays as it is: the server would write a dump of all that was sent before it."""

        def __setattr__(self, name: str, value: object) -> None:
            if name != "message" or not hasattr(self, name):
                super().__setattr__(name, value)

    return Refusal


def _refusal(reason: str) -> Exception:
    """Return what makes MLflow's server answer with status 400 and the reason alone."""
    refusal: Exception = _refusal_class().invalid_parameter_value(reason)  # type: ignore[attr-defined]
    return refusal


def _allowed_file(text: str) -> Path | None:
    """Return the file that a text names below the folder that the server opens; None where it does not."""
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder or len(text) > MAX_PATH or "\0" in text:
        return None
    root = Path(folder).resolve()
    path = (root / text).resolve()  # links, too, lead nowhere else
    return path if path.is_relative_to(root) and path.is_file() else None


def _decoded(text: str) -> Any:
    content = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(content.split()), validate=True)
    except (binascii.Error, ValueError):
        return Given.refused(
            "a text that is no base64 of a file. Files of the server itself are read only below the folder that its "
            f"environment variable {FOLDER_VARIABLE} names."
        )
