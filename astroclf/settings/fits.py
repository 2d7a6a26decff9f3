"""What ``dataset.fits.*`` can say: which parts of FITS files are read, as plain values. Reading is in `decode.fits`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath

from astroclf.settings.base import SectionSettings

FITS_NAME = re.compile(r"\.(fits|fit|fts)(\.(gz|bz2|fz))?$|\.fz$", re.IGNORECASE)
ID = "{id}"  # in a name pattern: the part that the band files of one sample share


def is_fits(path: PurePath) -> bool:
    """Return whether the name is one of a FITS file: .fits, .fit, .fts, each also with .gz, .bz2 or .fz."""
    return FITS_NAME.search(path.name) is not None


def bands_give(bands: int, channels: int) -> bool:
    """Return whether so many bands can make an image of `channels` planes: as many, or grey to RGB, or RGB to grey."""
    return bands == channels or (bands, channels) in ((1, 3), (3, 1))


@dataclass(frozen=True, kw_only=True)
class FitsSettings(SectionSettings):
    """Which parts of FITS files are read; ``conf/dataset/_files.yaml`` explains each key.

    Raises
    ------
    ConfigError
        A value that cannot be, or two that contradict each other.
    """

    section, yaml = "dataset.fits", "dataset/_files"

    hdu: int | str | list[int | str] | None
    files: list[str] | None
    checksum: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        for hdu in self.hdu if isinstance(self.hdu, list) and self.hdu else [self.hdu]:
            if isinstance(hdu, bool) or not isinstance(hdu, int | str | None):
                self.refuse("hdu", "give an index (0 is the primary HDU), a name, a list of those, or null")
        if not isinstance(self.checksum, bool):
            self.refuse("checksum", "it is true or false")
        self._check_files()

    def _check_files(self) -> None:
        if self.files is not None and (not self.files or len(set(self.files)) < len(self.files)):
            self.refuse("files", "give one name pattern a band, each once, or null")
        for pattern in self.files or ():
            path = PurePath(pattern)
            if path.name.count(ID) != 1 or pattern.count(ID) != 1 or path.is_absolute() or ".." in path.parts:
                self.refuse("files", f"each name must hold {ID} once, where the names of one sample's bands agree")
            if not is_fits(path):
                self.refuse("files", "each name must end as those of FITS files do, such as .fits or .fits.gz")
        if self.files and isinstance(self.hdu, list):
            self.refuse("hdu", "with dataset.fits.files, each file gives one band: name one HDU, or null")
