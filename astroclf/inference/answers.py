"""The columns of an answer: what every table of a model's answers has, wherever it is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
import pandas as pd

from astroclf.evaluation.predictions import PROBABILITY_COLUMN, Predictions

Images = TypeVar("Images")


def answer_columns(predictions: Predictions) -> dict[str, np.ndarray]:
    """Return the columns of N answers by name.

    ``label`` (class name), ``confidence`` (estimated probability that it is right), ``uncertainty`` (estimated
    probability that it is wrong), ``p_<class>`` for each class, summing to 1; where the model gives prediction sets,
    ``prediction_set`` (names of classes, joined by ``|``); and where it knows what its training images are like,
    ``novelty`` and ``unlike_training`` (bool).
    """
    names = np.array(predictions.classes, dtype=object)
    columns: dict[str, np.ndarray] = {
        "label": names[predictions.predicted],
        "confidence": predictions.confidence,
        "uncertainty": predictions.uncertainty,
    }
    columns |= {f"{PROBABILITY_COLUMN}{name}": predictions.probabilities[:, index] for index, name in enumerate(names)}
    if predictions.sets is not None:
        columns["prediction_set"] = predictions.set_names
    if predictions.novelty is not None and predictions.unlike_training is not None:
        columns |= {"novelty": predictions.novelty, "unlike_training": predictions.unlike_training}
    return columns


def answer_table(predictions: Predictions, errors: Sequence[str | None] | None = None) -> pd.DataFrame:
    """Return a row for each answer, with the columns of `answer_columns`.

    Parameters
    ----------
    errors
        What is wrong with each of the images that were handed over, None for those with an answer: each of the others
        becomes a row, too, whose column ``error`` says it.
    """
    columns = answer_columns(predictions)
    if errors is None:
        return pd.DataFrame(columns)
    places = [place for place, error in enumerate(errors) if error is None]
    if len(places) == len(errors):  # as nearly always: a column in its place is made sooner than one put in later
        return pd.DataFrame(columns | {"error": np.full(len(errors), None, dtype=object)})
    answers = pd.DataFrame(columns, index=pd.Index(places)).reindex(range(len(errors)))
    answers["error"] = pd.Series(errors, dtype=object)
    return answers


def table_of_batches(
    batches: Iterable[tuple[Images, Sequence[str | None]]], classify: Callable[[Images], Predictions], *, errors: bool
) -> pd.DataFrame:
    """Classify batch after batch, and return one table of all answers.

    Parameters
    ----------
    batches
        Images as `classify` takes them, with what `answer_table` calls errors.
    errors
        Whether an image with an error becomes a row.
    """
    tables = [answer_table(classify(images), found if errors else None) for images, found in batches]
    return tables[0] if len(tables) == 1 else pd.concat(tables, ignore_index=True)
