"""What is wrong with the classes and labels of a data set: their names, their balance, and what a model doubts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroclf.audit.findings import Case, Finding, counted, finding
from astroclf.data.catalog import Catalog
from astroclf.data.readers.classes import class_key, look_alikes, match_names
from astroclf.evaluation.intervals import share_interval
from astroclf.evaluation.suspects import Suspect, find_suspects
from astroclf.util.text import did_you_mean

SEVERE_IMBALANCE = 100.0  # largest class over smallest; the long-tailed benchmarks of Cui et al. 2019 go from 10 to 200
_SUSPECT_VALUES = (
    "predicted",
    "label_probability",
    "confidence",
    "class_accuracy",
)  # of a case, in the order of a suspect
FEW_TEST_IMAGES = 10  # of a class: one of them is a tenth of its accuracy


def class_findings(wanted: Sequence[str], excluded: Sequence[str], found: Catalog) -> list[Finding]:
    """Find classes asked for that have no files, and classes with files that nobody asked for."""
    dropped = match_names(excluded, [*wanted, *found.classes], "dataset.exclude_classes").values()
    meant = match_names(wanted, found.classes, "dataset.classes")
    names = [name for name in wanted if name not in dropped and meant.get(name) not in dropped]
    missing = [Case(f"{name}: no images", labels=(name,)) for name in names if name not in meant]
    unknown = [
        Case(f"{name}: {counted(count, 'image')}{did_you_mean(name, names, class_key).rstrip('.')}", labels=(name,))
        for name, count in zip(found.classes, found.class_counts().tolist(), strict=True)
        if name not in meant.values() and name not in dropped
    ]
    return finding("classes missing", "error", missing) + finding("classes unknown", "error", unknown)


def like_classes(catalog: Catalog) -> list[Finding]:
    """Find classes whose names look alike, for somebody may have meant one."""
    counts = dict(zip(catalog.classes, catalog.class_counts().tolist(), strict=True))
    cases = [
        Case(" and ".join(f"`{name}` ({counted(counts[name], 'image')})" for name in alike), labels=alike)
        for alike in look_alikes(catalog.classes)
    ]
    return finding("like classes", "warning", cases)


def balance(catalog: Catalog, test_rows: np.ndarray | None) -> list[Finding]:
    """Find a severe imbalance, and classes of which the test split has few images."""
    counts = catalog.class_counts()
    present = np.flatnonzero(counts)
    large, small = (int(present[place]) for place in (counts[present].argmax(), counts[present].argmin()))
    found: list[Finding] = []
    if counts[large] > SEVERE_IMBALANCE * counts[small]:
        names = (catalog.classes[large], catalog.classes[small])
        text = f"{names[0]} has {counted(int(counts[large]), 'image')}, {names[1]} {counts[small]:,}"
        found += finding("imbalance", "warning", [Case(text, labels=names)])
    if test_rows is not None:
        tests = zip(catalog.classes, catalog.class_counts(test_rows).tolist(), strict=True)
        few = [Case(f"{name}: {n}", labels=(name,), values={"images": n}) for name, n in tests if n < FEW_TEST_IMAGES]
        found += finding("few tests", "note", few)
    return found


def columns_of(classes: Sequence[str], model_classes: Sequence[str]) -> np.ndarray:
    """Find the columns of a model that stand for the classes, by name in any spelling.

    Returns
    -------
    (C,) int64
        -1 where the model has no such class.
    """
    known = list(model_classes)
    meant = match_names(classes, known, "dataset.classes")
    return np.array([known.index(meant[name]) if name in meant else -1 for name in classes], np.int64)


def unknown_to_model(catalog: Catalog, model_classes: Sequence[str]) -> list[Finding]:
    """Find the classes whose labels a model cannot judge, since it does not know them."""
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
    """Find samples whose label is probably wrong by what a model says, the most suspicious first.

    Parameters
    ----------
    catalog
        The samples.
    probabilities_NM
        Of the model's M classes; NaN where a sample cannot be judged.
    model_classes
        Their names.
    trained_on
        (N,) bool, where the model is known to have been trained on the sample with this label. Such a model has learned
        wrong labels too: that it disagrees all the same says more, and that it agrees says less.
    """
    column = columns_of(catalog.classes, model_classes)[catalog.labels]
    judged = np.flatnonzero((column >= 0) & np.isfinite(probabilities_NM).all(axis=1))
    found = find_suspects(probabilities_NM[judged], column[judged])
    cases = []
    figures = zip(
        found.label_probability.tolist(),
        found.suggested_probability.tolist(),
        found.class_accuracy.tolist(),
        strict=True,
    )
    for index, suggested, (own, sure, accuracy) in zip(found.rows, found.suggested, figures, strict=True):
        row, said = int(judged[index]), model_classes[suggested]
        label = catalog.classes[catalog.labels[row]]
        cases.append(
            Case(
                f"said {said} {sure:.0%}, {label} {own:.0%}"
                + (", though trained on it" if trained_on[row] else "")
                + f"; {accuracy:.0%} of {label} are recognised",
                ids=(str(catalog.ids[row]),),
                rows=(row,),
                labels=(label,),
                values={
                    "predicted": said,
                    "confidence": round(sure, 4),
                    "label_probability": round(own, 4),
                    "class_accuracy": round(accuracy, 4),
                    "trained_on": bool(trained_on[row]),
                },
            )
        )
    return finding("suspicious labels", "warning", cases)


def few_for_folds(catalog: Catalog, apart: Sequence[int] | np.ndarray, folds: int) -> list[Finding]:
    """Find the classes with fewer independent samples than folds: `apart` has how many each class has."""
    cases = [
        Case(
            f"{name}: {counted(int(images), 'independent image')} for {folds} folds"
            + ("; its label cannot be judged" if images == 1 else ""),
            labels=(name,),
            values={"independent": int(images)},
        )
        for name, images in zip(catalog.classes, apart, strict=True)
        if 0 < images < folds
    ]
    return finding("few for folds", "note", cases)


@dataclass(frozen=True)
class Agreement:
    """How often networks agree with the labels of samples that they have not seen: that far their doubts count.

    Attributes
    ----------
    images
        That were judged.
    agreed
        Of these, those whose label is what the networks say.
    largest
        Of these, those of the largest class.
    """

    images: int
    agreed: int
    largest: int

    @classmethod
    def of(cls, catalog: Catalog, probabilities_NC: np.ndarray) -> Agreement:
        """Count where the networks agree; samples that cannot be judged have NaN."""
        judged = np.flatnonzero(np.isfinite(probabilities_NC).all(axis=1))
        agreed = probabilities_NC[judged].argmax(axis=1) == catalog.labels[judged]
        return cls(len(judged), int(agreed.sum()), int(catalog.class_counts(judged).max()))

    @property
    def beats_guessing(self) -> bool:
        """Whether the networks agree beyond doubt more often than always saying the largest class would."""
        return share_interval(self.agreed, self.images).low > self.largest / max(self.images, 1)

    @property
    def sentence(self) -> str:
        """Say it in words."""
        low, high = share_interval(self.agreed, self.images)
        said = (
            f"The networks agree with the label of {self.agreed / max(self.images, 1):.0%} of the "
            f"{counted(self.images, 'image')} that they judged ({low:.0%} to {high:.0%}, a 95% interval); always "
            f"saying the largest class would agree with {self.largest / max(self.images, 1):.0%}."
        )
        return said if self.beats_guessing else f"{said} That is no better than guessing: their doubts mean nothing."


def suspects_of(findings: Sequence[Finding]) -> list[Suspect]:
    """Return the suspicious labels among findings, as rows of a table."""
    return [
        Suspect(case.ids[0], case.labels[0], *(case.values[name] for name in _SUSPECT_VALUES))
        for found in findings
        if found.kind == "suspicious labels"
        for case in found.cases
    ]
