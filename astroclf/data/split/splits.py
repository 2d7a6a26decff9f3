"""Splits: the rows of a decoded data set that are trained on, validated on and tested on, by its settings.

Links between samples (copies, neighbours on the sky) become groups that never straddle splits; copies whose labels
contradict each other are resolved; what the data set itself says of splits is honoured and checked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import SPLIT_SPELLINGS, SPLITS, Catalog
from astroclf.data.split.assign import (
    Splits,
    assign_folds,
    refuse_few,
    split_fingerprint,
    split_rows,
    take_label_fraction,
)
from astroclf.data.split.field_bands import joining_hint
from astroclf.data.split.groups import group_rows, resolve_label_conflicts
from astroclf.data.split.links import Links, find_links
from astroclf.data.split.sky_cells import cell_degrees, sky_cells
from astroclf.errors import ConfigError, DataError
from astroclf.settings.dataset import DatasetSettings, SplitSettings
from astroclf.util.tables import read_table


@dataclass(frozen=True)
class SplitResult:
    """A data set, divided into training, validation and test rows.

    Attributes
    ----------
    catalog
        The samples, with labels as the policy for contradicting copies left them.
    splits
        Rows of each split.
    groups
        (N,) int64: rows with the same number are in one split.
    conflicting
        (N,) bool: rows with a copy that has another label.
    remarks
        What is worth a line in the log.
    """

    catalog: Catalog
    splits: Splits
    groups: np.ndarray
    conflicting: np.ndarray
    remarks: tuple[str, ...]


def split_image_cache(cache: ImageCache, dataset: DatasetSettings) -> SplitResult:
    """Split a decoded data set as its settings say.

    Raises
    ------
    AstroclfError
        See `check_classes` and `make_splits`; or a split is empty.
    """
    check_classes(cache.catalog, dataset.name)
    links = find_links(cache, near=dataset.near_duplicates, sky_arcsec=dataset.sky_arcsec)
    result = make_splits(cache.catalog, cache.digests, links, dataset, {skipped.id for skipped in cache.skipped})
    sizes = {name: len(getattr(result.splits, name)) for name in SPLITS}
    if not all(sizes.values()):
        raise DataError(
            f"The data set {dataset.name} gives {sizes['train']} training, {sizes['val']} validation and "
            f"{sizes['test']} test images; each needs at least one. Set dataset.val_fraction and "
            "dataset.test_fraction above 0, or add images."
        )
    return result


def split_for_pretraining(cache: ImageCache, dataset: DatasetSettings) -> SplitResult:
    """Split images that are learned from without labels: as a training would, without a test where there are no labels.

    Raises
    ------
    AstroclfError
        As `split_image_cache`; or there are too few images to hold any out.
    """
    if len(cache.catalog.classes) > 1:
        return split_image_cache(cache, dataset)
    links = find_links(cache, near=dataset.near_duplicates, sky_arcsec=dataset.sky_arcsec)
    untested = replace(dataset, test_fraction=0.0, fold=None)
    result = make_splits(cache.catalog, cache.digests, links, untested, {skipped.id for skipped in cache.skipped})
    if not len(result.splits.train) or not len(result.splits.val):
        raise DataError(
            f"The data set {dataset.name} gives {len(result.splits.train)} images to learn from and "
            f"{len(result.splits.val)} to measure by; each needs at least one. Set dataset.val_fraction above 0, or "
            "add images."
        )
    return result


def check_classes(catalog: Catalog, name: str) -> None:
    """Refuse a data set of one class: there would be nothing to tell apart.

    Raises
    ------
    DataError
        There are not two classes.
    """
    if len(catalog.classes) < 2:
        raise DataError(
            f"The data set {name} has only one class, `{catalog.classes[0]}`; a classifier tells two or more apart. "
            "Add images of another, in a folder or with a label of its own, or look whether the right folder is meant."
        )


def make_splits(
    catalog: Catalog,
    digests: np.ndarray,
    links: Links,
    settings: SplitSettings,
    unreadable: Collection[str] = (),
) -> SplitResult:
    """Divide a data set into training, validation and test rows.

    Parameters
    ----------
    catalog, digests
        The samples of an `ImageCache`.
    links
        See `find_links`.
    settings
        See `SplitSettings`.
    unreadable
        Ids of samples that the catalog lacks because their images cannot be read; a split file may name them.

    Raises
    ------
    DataError
        Too few samples, given splits that contradict each other, or a split file that does not fit the data set.
    ConfigError
        Settings that the data set contradicts.
    """
    if settings.split_file is not None:
        catalog = replace(catalog, split=read_split_file(Path(settings.split_file), catalog, unreadable))
    given = catalog.split is not None and (catalog.split != "").any()
    if settings.fold is not None and given:
        raise ConfigError(
            f"dataset.fold={settings.fold} cannot be used: the data set gives its samples splits of its own. Leave out "
            "the fold, or take its splits away: the column split of its table, the folders train and test."
        )
    cells = None
    if settings.split_by == "sky":
        if given:
            raise ConfigError(
                "dataset.split_by=sky cannot be used: the data set gives its samples splits of its own. Take them away "
                "(the column split of its table, the folders train and test, dataset.split_file), or set "
                "dataset.split_by=samples."
            )
        cells = sky_cells(catalog, settings.sky_nside)
    labels, conflicting, usable = resolve_label_conflicts(
        catalog.labels, links.copies(len(catalog)), settings.label_conflicts
    )
    catalog = replace(catalog, labels=labels)
    groups, divided = group_rows(catalog, links, cells)
    kept = np.flatnonzero(usable)
    among_kept = _assign(catalog.take(kept), groups[kept], np.asarray(digests)[kept], settings)
    splits = replace(among_kept, **{name: kept[getattr(among_kept, name)] for name in SPLITS})
    remarks = _remarks(catalog, links, conflicting, usable, divided, groups, splits, settings)
    if cells is not None:
        remarks = (*remarks, _of_cells(cells, groups, splits, settings.sky_nside))
    if links.fields:
        text = f"{len(links.fields)} field(s) have a file for each band, each a sample. {joining_hint(links.fields)}"
        remarks += (text,)
    return SplitResult(catalog, splits, groups, conflicting, remarks)


def _assign(catalog: Catalog, groups: np.ndarray, digests: np.ndarray, settings: SplitSettings) -> Splits:
    """Split rows by fractions or folds, and leave out of training what `label_fraction` leaves out."""
    val, test, seed = settings.val_fraction, settings.test_fraction, settings.split_seed
    fold = settings.fold_numbers()
    if fold is None:
        splits = split_rows(catalog, groups, digests, val=val, test=test, seed=seed)
    else:
        number, count = fold
        refuse_few(catalog, groups, count)
        in_fold = assign_folds(catalog, groups, digests, count, seed) == number - 1
        tested, rest = np.flatnonzero(in_fold), np.flatnonzero(~in_fold)
        inside = split_rows(catalog.take(rest), groups[rest], digests[rest], val=val, test=0.0, seed=seed)
        prints = {**inside.fingerprints, "test": split_fingerprint(catalog.labels[tested], digests[tested])}
        splits = Splits(rest[inside.train], rest[inside.val], tested, prints)
    if settings.label_fraction < 1:
        train = take_label_fraction(catalog, digests, splits.train, settings.label_fraction, seed)
        prints = {**splits.fingerprints, "train": split_fingerprint(catalog.labels[train], digests[train])}
        splits = replace(splits, train=train, fingerprints=prints)
    return splits


def read_split_file(path: Path, catalog: Catalog, unreadable: Collection[str] = ()) -> np.ndarray:
    """Read the split of each sample of the catalog, (N,) str; empty where the file leaves it to us.

    Parameters
    ----------
    unreadable
        Ids that the catalog lacks because their images cannot be read; the file may name them.

    Raises
    ------
    DataError
        No table with the columns id and split, an id that the data set has not, one that is listed twice, or a split
        of another name.
    """
    called = f"dataset.split_file={path}"

    def check_header(names: list[str]) -> None:
        if not {"id", "split"} <= set(names):
            named = ", ".join(names) or "nothing"
            raise DataError(f"{called} must have the columns id and split; it has {named}.")

    splits = np.full(len(catalog), "", dtype="<U5")
    row_of = {str(name): row for row, name in enumerate(catalog.ids)}
    seen: dict[str, int] = {}
    for cells, line in read_table(path, check_header, called):
        name, split = (cells["id"] or "").strip(), (cells["split"] or "").strip().lower()
        where = f"{path}, line {line}"
        if name not in row_of and name not in unreadable:
            raise DataError(
                f"{where}: the data set has no sample `{name}`; ids are as in predictions.csv, such as "
                f"`{catalog.ids[0]}`."
            )
        if name in seen:
            raise DataError(f"{where}: `{name}` is listed already in line {seen[name]}.")
        if split not in SPLIT_SPELLINGS:
            raise DataError(f"{where}: the split `{split}` is none of train, val, test.")
        seen[name] = line
        if name in row_of:
            splits[row_of[name]] = SPLIT_SPELLINGS[split]
    if not seen:
        raise DataError(f"{called} lists no samples.")
    return splits


def _overgrown(groups: np.ndarray, splits: Splits) -> int:
    """Return how many samples the largest group has, where these are more than the test split holds; else 0."""
    largest = int(np.bincount(groups).max(initial=0))
    return largest if largest > max(len(splits.test), 10) else 0


def _of_cells(cells: np.ndarray, groups: np.ndarray, splits: Splits, nside: int) -> str:
    """Return the remark on a split by patches of sky."""
    parts = ", ".join(f"{len(np.unique(cells[getattr(splits, name)]))} to {name}" for name in SPLITS)
    count, degrees = len(np.unique(cells)), cell_degrees(nside)
    text = f"Split by {count} patches of sky, {degrees:.1f}° wide (dataset.sky_nside={nside}): {parts}."
    if largest := _overgrown(groups, splits):
        text += (
            f" One holds {largest} samples, more than the test split: dataset.sky_nside={2 * nside} makes them smaller."
        )
    return text


def _cut_from_train(catalog: Catalog) -> Iterator[str]:
    """Name the splits that the data set leaves out though it gives every sample one."""
    if catalog.split is not None and (catalog.split != "").all():
        missing = [name for name in ("val", "test") if not (catalog.split == name).any()]
        if missing and (catalog.split == "train").any():
            yield f"The data set gives no {' and no '.join(missing)} images: they are cut from those given as train."


def _remarks(
    catalog: Catalog,
    links: Links,
    conflicting: np.ndarray,
    usable: np.ndarray,
    divided: int,
    groups: np.ndarray,
    splits: Splits,
    settings: SplitSettings,
) -> tuple[str, ...]:
    remarks = list(_cut_from_train(catalog))
    counts = {
        "exact copies": links.exact,
        "near copies": links.near,
        "neighbours on the sky": links.sky,
        "bands of one field": links.bands,
    }
    found = [f"{len(pairs.rows)} {name}" for name, pairs in counts.items() if len(pairs.rows)]
    if found:
        text = f"Kept together in one split: pairs of {', '.join(found)}"
        if conflicting.any():
            text += f"; {np.count_nonzero(conflicting)} samples have a copy with another label"
            text += f" (dataset.label_conflicts={settings.label_conflicts}: {np.count_nonzero(~usable)} left out)"
        remarks.append(f"{text}.")
    if divided:
        remarks.append(
            f"{divided} group(s) of near copies, bands of one field or neighbours on the sky are divided by the splits "
            "that the data set gives: these were kept. `astroclf check` lists them."
        )
    largest = _overgrown(groups, splits)
    if largest and settings.split_by != "sky":
        remarks.append(
            f"{largest} samples are linked into one group, more than the test split holds: dataset.sky_arcsec may be "
            "wide enough to join a whole field, or the near copies are a sequence of frames."
        )
    return tuple(remarks)
