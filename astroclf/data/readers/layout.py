"""How the folders of a data set are laid out: one a class, or one a split with one a class below."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from astroclf.data.catalog import SPLIT_SPELLINGS
from astroclf.data.readers.accounts import (
    BESIDE,
    BROKEN_LINK,
    CLOSED,
    LINKED_TWICE,
    LOOP,
    NO_PATTERN,
    first_names,
    left_out,
    suffixes_in,
    warn_of,
)
from astroclf.data.readers.band_files import BandFiles
from astroclf.data.readers.classes import match_names
from astroclf.data.readers.listing import FOLDER, UNLABELLED, Listing
from astroclf.data.readers.walk import Tree
from astroclf.errors import DataError
from astroclf.util.logs import log

LINKS = (BROKEN_LINK, LINKED_TWICE, LOOP)  # why nothing is read of what a link leads to
SPLIT_FOLDERS = {name: split for name, split in SPLIT_SPELLINGS.items() if name}


@dataclass(frozen=True)
class ClassPlace:
    """A folder with the images of one class, of one split if the folders above say so."""

    folder: str
    label: str
    split: str = ""


def list_folders(root: Path, tree: Tree, wanted: Sequence[str] | None, bands: BandFiles | None) -> Listing:
    """List the images in class folders; the label is the name of the folder.

    Parameters
    ----------
    wanted
        The classes that are asked for, as typed: folders of such names are classes, whatever else they may be.
    bands
        The name patterns of samples whose bands are files of their own.

    Raises
    ------
    DataError
        No class folders, folders that may be splits or classes, or a file name that no table could hold.
    """
    images = tree.images
    _check_names(root, images)
    places = _places(root, tree, images, wanted)
    depth = places[0].folder.count("/") if places else 0
    in_folder: dict[str, list[str]] = {place.folder: [] for place in places}
    strays: list[str] = []
    for image in images:
        parts = image.split("/", depth + 1)
        folder = "/".join(parts[:-1])
        if len(parts) == depth + 2 and folder in in_folder:
            in_folder[folder].append(parts[-1])
        else:
            strays.append(image)
    listing, unused = Listing(), list[str]()
    for place in places:
        inside = in_folder[place.folder]
        if bands is not None:
            inside, others = bands.group(inside)
            unused += [f"{place.folder}/{name}" for name in others]
        listing.ids += [f"{place.folder}/{name}" for name in inside]
        listing.labels += [place.label] * len(inside)
        listing.split += [place.split] * len(inside)
        listing.where += [FOLDER] * len(inside)
    _tell_unused(root, unused, any_used=bool(listing.ids))
    if strays and listing.ids:
        warn_of(root, strays, BESIDE)
    listing.left_out = [*left_out(strays, BESIDE), *left_out(unused, NO_PATTERN)]
    full = set(listing.labels)
    closed = {item.name for item in tree.left_out if item.reason == CLOSED}
    for place in places:
        if place.label not in full:
            is_closed = f"{place.folder}/" in closed
            listing.empty[place.label] = "what may not be seen" if is_closed else suffixes_in(tree.below(place.folder))
    for item in tree.left_out:
        folder, _, name = item.name.rpartition("/")
        is_class = item.reason in LINKS and item.name.count("/") == depth and not Path(name).suffix
        if is_class and name not in full and (not depth or folder.casefold() in SPLIT_FOLDERS):
            listing.empty[name] = f"only a link, {item.reason}"
    if not listing.ids:
        raise DataError(_no_images(root, tree, strays))
    return listing


def are_class_folders(tree: Tree) -> bool:
    """Tell if folders can say classes: all images lie in folders, of which there are two or more."""
    tops = {image.partition("/")[0] if "/" in image else "" for image in tree.images}
    return "" not in tops and len(tops) > 1


def list_all(root: Path, tree: Tree, bands: BandFiles | None) -> Listing:
    """List all images of a folder, at any depth, as samples without labels.

    Raises
    ------
    DataError
        There is none, or a file name that no table could hold.
    """
    names, unused = (tree.images, []) if bands is None else bands.group(tree.images)
    _check_names(root, tree.images)
    _tell_unused(root, unused, any_used=bool(names))
    if not names:
        holds = f" (but {suffixes_in(tree.files)})" if tree.files else ""
        raise DataError(f"{root} holds no images{holds}: give a folder of FITS files or pictures, at any depth.")
    return Listing(
        ids=list(names),
        labels=[UNLABELLED] * len(names),
        where=[FOLDER] * len(names),
        left_out=left_out(unused, NO_PATTERN),
    )


def _places(root: Path, tree: Tree, images: Sequence[str], wanted: Sequence[str] | None) -> list[ClassPlace]:
    tops = [folder for folder in tree.folders if "/" not in folder]
    classes = [ClassPlace(folder, folder) for folder in tops]
    full = list(dict.fromkeys(image.partition("/")[0] for image in images if "/" in image))
    splits = [folder for folder in full if folder.casefold() in SPLIT_FOLDERS]
    if not splits or (wanted and match_names(wanted, full, "dataset.classes")):
        return classes
    named = first_names([f"{folder}/" for folder in splits])
    deep = {image.partition("/")[0] for image in images if image.count("/") > 1}
    if len(splits) < len(full):
        others = first_names([f"{folder}/" for folder in full if folder not in splits])
        if len(deep.intersection(splits)) > 1 and wanted is None:
            raise DataError(
                f"{root}: {named} may be splits, with one folder a class in them, but {others} beside them would be "
                "none. Move out what is no split, or name the classes with dataset.classes."
            )
        if wanted is None:
            log.warning("%s: %s taken for a class like the other folders, and for no split.", root, _is_are(splits))
        return classes
    if not deep:
        raise DataError(
            f"{root}: {named} may be splits, but there is no class folder in {_it(splits)}: put one folder a class "
            "there, list the images in a table, or, if these are the classes, say "
            f"dataset.classes=[{','.join(splits)}]."
        )
    log.info("%s: the folders %s are the splits; the classes are the folders in them.", root, named)
    split_of = {folder: SPLIT_FOLDERS[folder.casefold()] for folder in tops if folder.casefold() in SPLIT_FOLDERS}
    below = [folder for folder in tree.folders if folder.count("/") == 1 and folder.partition("/")[0] in split_of]
    return [ClassPlace(folder, folder.partition("/")[2], split_of[folder.partition("/")[0]]) for folder in below]


def _is_are(names: Collection[str]) -> str:
    return f"{', '.join(f'{name}/' for name in names)} {'is' if len(names) == 1 else 'are'}"


def _it(names: Collection[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _check_names(root: Path, names: Sequence[str]) -> None:
    """Refuse names that no table, log or report could hold."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:  # bytes that Python carries along as lone surrogates
            raise DataError(f"{root}: the file name {name!a} is not valid in UTF-8: rename it.") from None


def _tell_unused(root: Path, files: list[str], *, any_used: bool) -> None:
    if not files:
        return
    one = len(files) == 1
    text = (
        f"{root} has {len(files)} image file{'' if one else 's'} whose name fits none of dataset.fits.files, and that "
        f"{'is' if one else 'are'} not used: {first_names(files)}."
    )
    if not any_used:
        raise DataError(f"{text} No other is there: give the patterns that their names have.")
    log.warning(text)


def _no_images(root: Path, tree: Tree, strays: Sequence[str]) -> str:
    where = (
        "they belong in one subfolder a class (galaxy/, nebula/, ...), or in a table beside them, metadata.csv, with "
        "the columns path and label"
    )
    if strays:
        one = len(strays) == 1
        return (
            f"{root} holds {len(strays):,} image{'' if one else 's'} ({first_names(strays)}) and nothing that says "
            f"{'its class' if one else 'their classes'}: {where}. A table under another name is dataset.table=FILE."
        )
    holds = f" (but {suffixes_in(tree.files)})" if tree.files else ""
    return f"{root} holds no images{holds}: {where}."
