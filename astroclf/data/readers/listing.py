"""What a folder or a table says of its samples, and the catalog that this makes with the classes that are wanted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from astroclf.data.catalog import Catalog, LeftOut
from astroclf.data.readers.accounts import EXCLUDED, left_out
from astroclf.data.readers.classes import choose_classes, class_key, is_number, label_key, look_alikes, match_names
from astroclf.errors import DataError
from astroclf.util.logs import log
from astroclf.util.text import did_you_mean

UNLABELLED = "unlabelled"  # the one class of samples that are read without labels
FOLDER = "folder"  # where a label comes from that is the name of a folder


@dataclass
class Listing:
    """The samples of a folder as it names them: one entry a sample in every list that is not empty.

    Attributes
    ----------
    where
        What to call the sample in an error: file and line, or `FOLDER`.
    votes
        The fraction of votes for each class, by its name.
    left_out
        What lies in the folder and is no sample.
    empty
        Class folders in which there is no image, and in words what there is.
    """

    ids: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    split: list[str] = field(default_factory=list)
    group: list[str] = field(default_factory=list)
    ra_deg: list[float] = field(default_factory=list)
    dec_deg: list[float] = field(default_factory=list)
    votes: list[Mapping[str, float]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    empty: dict[str, str] = field(default_factory=dict)

    def columns(self) -> dict[str, np.ndarray]:
        """Return the optional columns that say anything, as arrays for a `Catalog`."""
        texts = {"split": self.split, "group": self.group}
        columns = {name: np.array(values) for name, values in texts.items() if any(values)}
        if not all(math.isnan(value) for value in self.ra_deg):
            columns |= {"ra_deg": np.array(self.ra_deg), "dec_deg": np.array(self.dec_deg)}
        return columns


def to_catalog(
    root: Path, listing: Listing, wanted: Sequence[str] | None, excluded: Sequence[str]
) -> tuple[Catalog, list[LeftOut]]:
    """Turn names of classes into numbers; samples of excluded classes are left out.

    Parameters
    ----------
    wanted
        The classes in label order, as typed; None: those that are there, sorted.
    excluded
        Classes to leave out, as typed.

    Raises
    ------
    DataError
        A class that is wanted and not there, or there and not wanted; a class folder without images.
    """
    present = _present(listing)
    if wanted is None:
        known = [*present.values(), *(name for name in listing.empty if label_key(name) not in present)]
        found = choose_classes(known, None, excluded, str(root))
        _refuse_empty(root, [name for name in found if label_key(name) not in present], listing.empty)
        names = {label_key(name): name for name in found}
        _tell_look_alikes(root, found)
        dropped = present.keys() - names.keys()
    else:
        names, dropped = _as_typed(root, listing, present, wanted, excluded)
    keys = [label_key(name) for name in listing.labels]
    voted = dict.fromkeys(name for votes in listing.votes for name in votes)
    if unwon := [name for name in voted if label_key(name) not in {*names, *dropped}]:
        log.info("%s: no sample has most votes for %s: no class, and its votes do not count.", root, ", ".join(unwon))
    for row, key in enumerate(keys):
        if key not in names and key not in dropped:
            label, place = listing.labels[row], listing.where[row]
            hint = did_you_mean(label, names.values(), class_key)
            raise DataError(
                f"{root / label if place == FOLDER else place}: `{label}` is none of the classes "
                f"{', '.join(wanted or ())}{hint} Rename it, leave it out with dataset.exclude_classes=['{label}'], or "
                "take the classes as they are with dataset.classes=found."
            )
    number = {key: index for index, key in enumerate(names)}
    catalog = Catalog(
        ids=np.array(listing.ids),
        labels=np.array([number.get(key, -1) for key in keys], np.int64),
        classes=tuple(names.values()),
        votes=_votes(listing.votes, number) if listing.votes else None,
        **listing.columns(),
    )
    unwanted = catalog.ids[catalog.labels < 0].tolist()
    return catalog.take(np.flatnonzero(catalog.labels >= 0)), left_out(unwanted, EXCLUDED)


def _votes(samples: Sequence[Mapping[str, float]], number: Mapping[str, int]) -> np.ndarray:
    """Return the share of each class in a sample's votes, (N, C) float32; those for other classes do not count."""
    counted = np.zeros((len(samples), len(number)))
    for row, votes in enumerate(samples):
        for name, vote in votes.items():
            if (key := label_key(name)) in number:
                counted[row, number[key]] += vote
    sums = counted.sum(axis=1, keepdims=True)
    return np.divide(counted, sums, out=counted, where=sums > 0).astype(np.float32)  # no vote: of an excluded class


def _present(listing: Listing) -> dict[str, str]:
    """Return the classes that have samples, sorted, by their keys; say which spellings are one number."""
    spellings: dict[str, set[str]] = {}
    for name in listing.labels:
        spellings.setdefault(label_key(name), set()).add(name)
    present: dict[str, str] = {}
    numeric = all(is_number(key) for key in spellings)
    for key, names in sorted(spellings.items(), key=lambda item: float(item[0]) if numeric else min(item[1])):
        present[key] = key if len(names) > 1 else next(iter(names))
        if len(names) > 1:
            log.info("One class, `%s`: the labels %s are the same.", key, ", ".join(f"`{n}`" for n in sorted(names)))
    return present


def _as_typed(
    root: Path, listing: Listing, present: dict[str, str], wanted: Sequence[str], excluded: Sequence[str]
) -> tuple[dict[str, str], set[str]]:
    """Return the classes by their keys, called as they were typed, and the keys of the excluded."""
    known = [*present.values(), *(name for name in listing.empty if label_key(name) not in present)]
    meant = match_names(wanted, known, "dataset.classes")
    every = [*wanted, *(name for name in known if name not in meant.values())]
    out = match_names(excluded, every, "dataset.exclude_classes")
    for name in excluded:
        if name not in out:
            raise DataError(
                f"dataset.exclude_classes names `{name}`, which is neither in dataset.classes nor in {root} "
                f"({', '.join(known)}){did_you_mean(name, every, class_key)}"
            )
    gone = set(out.values())
    kept = [name for name in wanted if name not in gone]
    if not kept:
        raise DataError("dataset.exclude_classes leaves none of dataset.classes: at least one must stay.")
    missing = [name for name in kept if label_key(meant.get(name, name)) not in present]
    if missing:
        holds = [f"{meant[name]}/ holds {listing.empty[meant[name]]}" for name in missing if name in meant]
        raise DataError(
            f"{root} has no images of the class{'es' if len(missing) > 1 else ''} {', '.join(missing)}; it has "
            f"{', '.join(present.values())}{''.join(f' ({text})' for text in holds)}. Use dataset.classes=found to "
            "train on the classes that are there."
        )
    for name in kept:
        if label_key(meant[name]) != label_key(name):
            log.info("The class `%s` of dataset.classes is `%s` in the data set.", name, meant[name])
    return {label_key(meant[name]): name for name in kept}, {label_key(meant.get(name, name)) for name in gone}


def _refuse_empty(root: Path, names: list[str], holds: dict[str, str]) -> None:
    if names:
        texts = ", ".join(f"{name}/ (holds {holds[name]})" for name in names)
        one = len(names) == 1
        raise DataError(
            f"{root}: no image can be read from the class folder{'' if one else 's'} {texts}. Add images in a format "
            f"that is read, or leave {'it' if one else 'them'} out with dataset.exclude_classes=[{','.join(names)}]."
        )


def _tell_look_alikes(root: Path, names: Sequence[str]) -> None:
    for alike in look_alikes(names):
        log.warning(
            "%s: %s are different classes here, though their names look alike. If they are one, give them one name; if "
            "not, dataset.classes with the names as they are written says so.",
            root, " and ".join(f"`{name}`" for name in alike),
        )  # fmt: skip
