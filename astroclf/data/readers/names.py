"""Which sample a table means: by its path in the folder, its name, or its name without suffix, in any Unicode form."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath

from astroclf.data.readers.accounts import first_names
from astroclf.data.readers.band_files import BandFiles
from astroclf.data.readers.walk import image_suffix
from astroclf.errors import DataError


class SampleNames:
    """The samples of a folder, to be found by what people and programs call them.

    Parameters
    ----------
    root
        The folder.
    ids
        The samples in it: paths of image files, or what the files of several bands share.
    bands
        The name patterns of samples whose bands are files of their own.
    """

    def __init__(self, root: Path, ids: Iterable[str], bands: BandFiles | None = None) -> None:
        self._ids = set(ids)
        self._bands = bands
        self._roots = list(dict.fromkeys((root.absolute().as_posix(), root.resolve().as_posix())))

    def find(self, text: str, where: str) -> str:
        """Return the id that a path in a table means; a path that nothing is found for comes back as an id.

        Parameters
        ----------
        text
            Relative to the folder, or absolute and in it; with either slash; with or without suffix. A name without
            folders is found in whichever folder it is, if there is but one of that name.
        where
            What to call the row in errors.

        Raises
        ------
        DataError
            The path leaves the folder, or several files could be meant.
        """
        path = self._inside(text, where)
        if self._bands is not None:
            path = self._bands.sample_of(path) or path
        if path in self._ids:
            return path
        form, whole = _form(path), unicodedata.normalize("NFC", path)
        for place, (known, key) in enumerate((
            ("_by_form", form), ("_by_stem", whole), ("_by_name", form), ("_by_name_stem", whole),
        )):  # fmt: skip
            if place >= 2 and "/" in path:
                break
            if found := getattr(self, known).get(key):
                if len(found) > 1:
                    raise DataError(
                        f"{where}: `{text}` could be any of {first_names(found)}: give its path in the folder."
                    )
                return found[0]
        return path

    def has(self, text: str) -> bool:
        """Tell if a sample is found by this text."""
        try:
            return self.find(text, "") in self._ids
        except DataError:
            return False

    def _inside(self, text: str, where: str) -> str:
        """Return the path as a relative POSIX path; refuse one that points out of the folder."""
        posix = text.replace("\\", "/")
        for root in self._roots:
            posix = posix.removeprefix(f"{root}/") if posix.startswith("/") else posix
        written = PurePosixPath(posix)
        parts = [part for part in written.parts if part != "."]
        if written.is_absolute() or PureWindowsPath(text).drive or ".." in parts or "\0" in text or not parts:
            raise DataError(
                f"{where}: the path `{text}` leaves the data set's folder; paths are relative to that folder."
            )
        return "/".join(parts)

    @cached_property
    def _by_form(self) -> dict[str, list[str]]:
        return self._index(_form)

    @cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        return self._index(_stem_key)

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return self._index(lambda path: _form(path.rpartition("/")[2]))

    @cached_property
    def _by_name_stem(self) -> dict[str, list[str]]:
        return self._index(lambda path: _stem_key(path.rpartition("/")[2]))

    def _index(self, key: Callable[[str], str]) -> dict[str, list[str]]:
        known: dict[str, list[str]] = {}
        for name in sorted(self._ids):
            known.setdefault(key(name), []).append(name)
        return known


def _stem(path: str) -> str:
    """Take off the suffix of an image, and no other: numbers of objects hold points, such as ``J1234.5+0607``."""
    return path.removesuffix(image_suffix(path))


def _stem_key(path: str) -> str:
    return unicodedata.normalize("NFC", _stem(path))


def _form(path: str) -> str:
    """Return the path in Unicode's form NFC, the suffix of an image in lower case."""
    stem = _stem(path)
    return unicodedata.normalize("NFC", stem) + path[len(stem) :].lower()
