"""Classes of a model and of a data set brought to common, coarser ones, such as ten kinds of galaxies to three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from astroclf.data.readers.classes import class_key, match_names
from astroclf.errors import ConfigError
from astroclf.evaluation.predictions import Predictions
from astroclf.util.tables import is_table, read_table

KEY = "class_map"
_LONGEST_MAP = 2**20  # bytes of a file


@dataclass(frozen=True)
class ClassMap:
    """Which common class each class of a model, and of a data set, belongs to.

    Attributes
    ----------
    given : mapping of str to str or None
        From names of either side to names of common classes; None leaves a class out. A name that has no entry is its
        own common class if it is one of them, in any spelling.
    """

    given: Mapping[str, str | None]

    @property
    def classes(self) -> tuple[str, ...]:
        """The common classes, in the order in which they are first named."""
        return tuple(dict.fromkeys(name for name in self.given.values() if name is not None))

    def of(self, names: Sequence[str], whose: str) -> np.ndarray:
        """Find the common class of each name.

        Parameters
        ----------
        names
            Class names of one side.
        whose
            Of which side, for errors.

        Returns
        -------
        (len(names),) int64
            Index into `classes`; -1 where the class is left out.

        Raises
        ------
        ConfigError
            The map does not say what becomes of some of them.
        """
        common: dict[str, str | None] = dict(zip(self.classes, self.classes, strict=True))
        common |= self.given
        meant = match_names(names, list(common), KEY)
        if missing := [name for name in names if name not in meant]:
            them = "them" if len(missing) > 1 else "it"
            raise ConfigError(
                f"{KEY} does not say what becomes of {_listed(missing)} of {whose}. Add {them} with one of the common "
                f"classes ({', '.join(self.classes)}), or with null to leave {them} out."
            )
        place = {name: index for index, name in enumerate(self.classes)}
        return np.array([place.get(common[meant[name]] or "", -1) for name in names], np.int64)

    def members(self, names: Sequence[str], whose: str) -> dict[str | None, list[str]]:
        """Gather the names of one side by their common class, in the order of `classes`; None has those left out.

        Parameters
        ----------
        names, whose
            As of `of`.
        """
        index = self.of(names, whose).tolist()
        places = [*enumerate(self.classes), (-1, None)]
        return {
            common: [name for name, of in zip(names, index, strict=True) if of == place] for place, common in places
        }

    def unused(self, *sides: Sequence[str]) -> list[str]:
        """Return the names that no side has: a map with a misspelt name would do less than it says."""
        known = {class_key(name) for names in sides for name in names}
        return [name for name in self.given if class_key(name) not in known]


def common_classes(class_map: ClassMap | None, models: Mapping[str, Sequence[str]], data: Sequence[str]) -> ClassMap:
    """Return the map that brings models and data to the same classes: the one that was given, if it does.

    Without one, the classes are those of the models, which must all have the same, in any order; the data may lack
    some.

    Parameters
    ----------
    models
        The classes of each model, by its name.
    data
        Those of the data set.

    Raises
    ------
    ConfigError
        A class of either side has no place among the common ones.
    """
    if class_map is None:
        first, *others = models
        class_map = ClassMap({name: name for name in models[first]})
        for other in others:
            if differing := set(models[other]) ^ set(models[first]):
                raise ConfigError(
                    f"{first} and {other} know different classes ({_listed(sorted(differing))} are of one of them "
                    f"alone): {KEY}= brings both to common ones."
                )
        if unknown := [name for name in data if name not in match_names(data, models[first], "dataset.classes")]:
            raise ConfigError(
                f"The data set has the classes {_listed(unknown)}, which {first} does not know; it knows "
                f"{', '.join(models[first])}. Write into a file what belongs together, with a line for each class such "
                f"as `{unknown[0]}: {models[first][0]}` (or `{unknown[0]}: null` to leave it out), and give "
                f"{KEY}=FILE.yaml; classes of both sides can be brought to coarser ones."
            )
        return class_map
    for name, classes in models.items():
        class_map.of(classes, name)
    class_map.of(data, "the data set")
    return class_map


def read_class_map(given: Mapping[str, Any] | str | None) -> ClassMap | None:
    """Return the map that ``class_map=`` gives: itself, or the path of a YAML, JSON or CSV file.

    A CSV file has the columns ``class`` and ``common``; an empty cell of the second leaves the class out.

    Raises
    ------
    ConfigError
        It cannot be read, or holds anything but names.
    """
    if given is None:
        return None
    where = KEY if not isinstance(given, str) else f"{KEY}={given}"
    plain: Any = _read_file(Path(given).expanduser(), where) if isinstance(given, str) else given
    if not isinstance(plain, Mapping) or not plain:
        raise ConfigError(f"{where} must give a common class for each class, such as {{Sa: spiral, Sb: spiral}}.")
    entries: dict[str, str | None] = {}
    for name, common in plain.items():
        if isinstance(common, Mapping | list | tuple) or common == "":
            raise ConfigError(f"{where}: `{name}` has {common!r}; give one name, or null to leave the class out.")
        entries[str(name)] = None if common is None else str(common)
    by_key: dict[str, str] = {}
    for name, common in entries.items():
        other = by_key.setdefault(class_key(name), name)
        if entries[other] != common:
            raise ConfigError(f"{where}: `{other}` and `{name}` are one class, and become two.")
    found = ClassMap(entries)
    if len(found.classes) < 2:
        raise ConfigError(f"{where} leaves {len(found.classes)} class(es); there must be two or more to tell apart.")
    return found


def mapped_predictions(predictions: Predictions, class_map: ClassMap) -> Predictions:
    """Return what a model says in the common classes: the probabilities of their classes added up.

    Classes that are left out lose their probability to the others in proportion: the answer is the one to "which of
    the common classes is it?". The uncertainty is 1 minus the highest probability, for that of a head is about the
    finer label. A common class is in a prediction set if one of its classes is, which keeps the set's coverage.
    """
    index = class_map.of(predictions.classes, "the model")
    belongs_CM = index[:, None] == np.arange(len(class_map.classes))
    sets = None if predictions.sets is None else (predictions.sets.astype(int) @ belongs_CM) > 0
    if (belongs_CM.sum(axis=0) == 1).all() and (index >= 0).all():  # the same classes, in another order
        chosen = None if predictions.chosen is None else index[predictions.chosen]
        return replace(
            predictions,
            classes=class_map.classes,
            probabilities=predictions.probabilities @ belongs_CM,
            labels=None,
            chosen=chosen,
            sets=sets,
        )
    summed = predictions.probabilities.astype(np.float64) @ belongs_CM
    total = summed.sum(axis=1, keepdims=True)
    probabilities = np.where(total > 0, summed / np.where(total > 0, total, 1), 1 / len(class_map.classes))
    return Predictions(
        class_map.classes,
        predictions.ids,
        probabilities,
        uncertainty=1 - probabilities.max(axis=1),
        sets=sets,
        novelty=predictions.novelty,
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _read_file(path: Path, where: str) -> Any:
    def check_header(names: list[str]) -> None:
        if not {"class", "common"} <= set(names):
            raise ConfigError(f"{where} must have the columns class and common; it has {', '.join(names) or 'none'}.")

    if path.is_file() and is_table(path):
        return {cells["class"]: cells["common"] or None for cells, _ in read_table(path, check_header, where)}
    try:
        if path.stat().st_size > _LONGEST_MAP:
            raise ConfigError(f"{where} is too large for a map of class names.")
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{where} cannot be read as a map of class names ({reason[:200]}).") from error
