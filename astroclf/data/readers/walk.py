"""Everything that lies below a folder: each visible file once, whatever links lead to it, and what is passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from astroclf.data.catalog import LeftOut
from astroclf.data.decode.images import is_image
from astroclf.data.readers.accounts import BROKEN_LINK, CLOSED, HIDDEN, LINKED_TWICE, LOOP, NO_FILE, left_out
from astroclf.errors import DataError
from astroclf.settings.fits import FITS_NAME

# What file managers, drives and other systems leave behind; besides all that begins with a dot or two underlines.
SYSTEM_NAMES = frozenset({
    "@eadir", "#recycle", "#snapshot", "$recycle.bin", "recycler", "system volume information", "lost+found",
    "thumbs.db", "desktop.ini", "ehthumbs.db",
})  # fmt: skip


@dataclass
class Tree:
    """What a folder holds; all paths are relative to it, in POSIX form.

    Attributes
    ----------
    files
        The visible files, those of a folder before those of its subfolders, each in alphabetical order.
    folders
        The visible folders.
    left_out
        What was passed over. A folder counts once, with a slash at its end.
    """

    files: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @cached_property
    def images(self) -> list[str]:
        """Those of the files whose names are of images."""
        return [file for file in self.files if image_suffix(file)]

    def below(self, folder: str) -> Iterator[str]:
        """Name the files below a folder, relative to it."""
        return (file[len(folder) + 1 :] for file in self.files if file.startswith(f"{folder}/"))


def walk(root: Path) -> Tree:
    """List a folder and all below it.

    Links are followed, inside and out of the folder, after everything that is really there: a file or folder that is
    reached a second time is left out, and so is a link back to a folder that it lies in.

    Raises
    ------
    DataError
        The folder itself cannot be opened.
    """
    if not os.access(root, os.R_OK | os.X_OK):
        raise DataError(
            f"{root} may not be opened: give yourself the right to read it, or choose another dataset.path."
        )
    tree = Tree()
    seen: set[str] = set()  # real paths
    links: list[tuple[str, str]] = []  # relative path and real path of the folder that each lies in
    top = os.path.realpath(root)
    _list(tree, seen, links, "", top)
    followed = bool(links)
    while links:  # a folder that is linked to may hold links
        waiting, links = links, []
        for name, folder in waiting:
            _follow(tree, seen, links, name, folder)
    if followed:
        tree.files.sort(key=_place)
        tree.folders.sort(key=_place)
    return tree


def image_suffix(file: str) -> str:
    """Return the suffix by which a file is an image, such as ``.png`` or ``.fits.gz``; empty for any other file."""
    name = file.rpartition("/")[2]
    two, one = (".".join(["", *name.rsplit(".", parts)[1:]]) for parts in (2, 1))
    if len(two) < len(name) and FITS_NAME.match(two):
        return two
    return one if len(one) < len(name) and _is_image_suffix(one) else ""


@lru_cache(2**10)  # of a million files, few suffixes differ
def _is_image_suffix(suffix: str) -> bool:
    return is_image(Path(f"x{suffix}"))


def is_hidden(name: str) -> bool:
    """Tell if the name is one of a hidden file or folder, or one that systems leave behind."""
    return name.startswith((".", "__")) or name.casefold() in SYSTEM_NAMES


def _list(tree: Tree, seen: set[str], links: list[tuple[str, str]], folder: str, real: str) -> None:
    """List one folder and those really in it; put off links."""
    seen.add(real)
    try:
        with os.scandir(real) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        tree.left_out += left_out([f"{folder}/"], CLOSED)
        return
    prefix = f"{folder}/" if folder else ""
    below: list[str] = []
    for entry in inside:
        name = prefix + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_hidden(entry.name):
            tree.left_out += left_out([f"{name}/" if is_folder else name], HIDDEN)
        elif entry.is_symlink():
            links.append((name, real))
        elif os.path.join(real, entry.name) in seen:  # below a folder that a link leads to
            tree.left_out += left_out([f"{name}/" if is_folder else name], LINKED_TWICE)
        elif is_folder:
            below.append(entry.name)
        elif entry.is_file(follow_symlinks=False):
            tree.files.append(name)
            seen.add(os.path.join(real, entry.name))
        else:
            tree.left_out += left_out([name], NO_FILE)
    for name in below:
        tree.folders.append(prefix + name)
        _list(tree, seen, links, prefix + name, os.path.join(real, name))


def _follow(tree: Tree, seen: set[str], links: list[tuple[str, str]], name: str, folder: str) -> None:
    """Take what a link leads to as if it lay there."""
    target = os.path.realpath(os.path.join(folder, name.rpartition("/")[2]))
    reason = None
    if not os.path.isfile(target) and not os.path.isdir(target):
        reason = NO_FILE if os.path.exists(target) else BROKEN_LINK
        if reason == BROKEN_LINK and image_suffix(name):  # a sample whose file is missing: to be named as such
            tree.files.append(name)
            return
    elif folder == target or folder.startswith(os.path.join(target, "")):
        reason = LOOP
    elif target in seen:
        reason = LINKED_TWICE
    if reason:
        tree.left_out += left_out([name], reason)
    elif os.path.isdir(target):
        tree.folders.append(name)
        _list(tree, seen, links, name, target)
    else:
        seen.add(target)
        tree.files.append(name)


def _place(path: str) -> list[tuple[bool, str]]:
    """Sort as `_list` does: files of a folder before its subfolders."""
    *folders, name = path.split("/")
    return [*((True, folder) for folder in folders), (False, name)]
