"""A model in a zip: only files of a package's names are taken out, and into no other folder."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from astroclf.errors import WeightsError
from astroclf.inference.ensemble_spec import MEMBER_FOLDER
from astroclf.inference.profile import PROFILE_FILE
from astroclf.inference.seen import SEEN_FILE
from astroclf.inference.spec import SPEC_FILE
from astroclf.registry.package import RUN_FOLDER_PACKAGE
from astroclf.registry.weights import SAFETENSORS_FILE, WEIGHTS_FILE

_PACKAGE_FILES = (SPEC_FILE, WEIGHTS_FILE, SAFETENSORS_FILE, SEEN_FILE, PROFILE_FILE)

# Weights hardly shrink in a zip. One that claims so much more than it holds is made to fill a disk.
_LARGEST_RATIO, _ALWAYS_ALLOWED = 20, 2**26


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Give the package in a zip as a folder, which is gone afterwards.

    Raises
    ------
    WeightsError
        It is damaged, has no model or several, or claims far more than it holds.
    """
    with tempfile.TemporaryDirectory(prefix="astroclf-") as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                for entry, name in _entries(path, archive).items():
                    target = Path(folder) / name
                    target.parent.mkdir(exist_ok=True)
                    with archive.open(entry) as content, open(target, "wb") as file:
                        shutil.copyfileobj(content, file)
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise WeightsError(f"{path} is no zip that can be read: {error}. Fetch it again.") from error
        yield Path(folder)


def _entries(path: Path, archive: zipfile.ZipFile) -> dict[str, PurePosixPath]:
    """Return the files of the one package in a zip, by the names that they have there."""
    described = sorted(entry for entry in archive.namelist() if PurePosixPath(entry).name == SPEC_FILE)
    around = min((PurePosixPath(each).parent for each in described), key=lambda each: len(each.parts), default=None)
    others = [each for each in described if around is None or not _is_of_package(PurePosixPath(each), around)]
    if around is None or others:
        found = f"no model: no {SPEC_FILE}, or it was cut off"
        if described:
            found = f"{len(described)} models: {', '.join(described[:4])}"
        raise WeightsError(f"{path} holds {found}. Make a zip of one run's {RUN_FOLDER_PACKAGE}/, or of a bundle.")
    entries = [each for each in archive.infolist() if _is_of_package(PurePosixPath(each.filename), around)]
    if sum(entry.file_size for entry in entries) > _ALWAYS_ALLOWED + _LARGEST_RATIO * path.stat().st_size:
        raise WeightsError(f"{path} claims to hold far more than it can: it is damaged, or made to fill a disk.")
    return {entry.filename: PurePosixPath(entry.filename).relative_to(around) for entry in entries}


def _is_of_package(path: PurePosixPath, around: PurePosixPath) -> bool:
    """Return whether a file is one of the package in a folder, or of a member of the ensemble that this package is."""
    if path.name not in _PACKAGE_FILES or not path.is_relative_to(around):
        return False
    folders = path.relative_to(around).parts[:-1]
    return not folders or (len(folders) == 1 and re.fullmatch(MEMBER_FOLDER, folders[0]) is not None)
