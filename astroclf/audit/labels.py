"""Labels that a model doubts: samples that it is sure are something else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from astroclf.audit.findings import Case, Finding, counted, finding
from astroclf.data.catalog import Catalog
from astroclf.data.readers import class_key

CONFIDENT = 0.5  # probability of another class than the label's


def columns_of(classes: Sequence[str], model_classes: Sequence[str]) -> np.ndarray:
    """Where the model has each of the classes, by name in any spelling: (C,) int64, -1 where it has none."""
    column = {class_key(name): index for index, name in enumerate(model_classes)}
    return np.array([column.get(class_key(name), -1) for name in classes], np.int64)


def unknown_to_model(catalog: Catalog, model_classes: Sequence[str]) -> list[Finding]:
    """The classes whose labels the model cannot judge."""
    counts = catalog.class_counts()
    cases = [
        Case(f"{name}: {counted(int(counts[label]), 'image')} not judged", labels=(name,))
        for label, name in enumerate(catalog.classes)
        if columns_of([name], model_classes)[0] < 0
    ]
    return finding("other model", "warning", cases)


def suspicious_labels(
    catalog: Catalog, probabilities_NM: np.ndarray, model_classes: Sequence[str], trained_on: np.ndarray
) -> list[Finding]:
    """Samples that the model is confident are of another class, the widest disagreement first.

    Parameters
    ----------
    catalog
        The samples.
    probabilities_NM
        Of the model's M classes.
    model_classes
        Their names.
    trained_on
        (N,) bool, where the model is known to have been trained on the sample with this label. Such a model has learned
        wrong labels too: that it disagrees all the same says more, and that it agrees says less.
    """
    column = columns_of(catalog.classes, model_classes)[catalog.labels]
    judged = np.flatnonzero(column >= 0)
    label_probability = probabilities_NM[judged, column[judged]]
    guess = probabilities_NM[judged].argmax(axis=1)
    confidence = probabilities_NM[judged, guess]
    doubted = np.flatnonzero((guess != column[judged]) & (confidence >= CONFIDENT))
    order = doubted[np.argsort(label_probability[doubted] - confidence[doubted], kind="stable")]
    cases = []
    for index in order:
        row, label = int(judged[index]), catalog.classes[catalog.labels[judged[index]]]
        said, sure = model_classes[guess[index]], float(confidence[index])
        cases.append(
            Case(
                f"said {said} {sure:.0%}, {label} {label_probability[index]:.0%}"
                + (", though trained on it" if trained_on[row] else ""),
                ids=(str(catalog.ids[row]),),
                rows=(row,),
                labels=(label,),
                values={
                    "predicted": said,
                    "confidence": round(sure, 4),
                    "label_probability": round(float(label_probability[index]), 4),
                    "trained_on": bool(trained_on[row]),
                },
            )
        )
    return finding("suspicious labels", "warning", cases)
