"""The grammar of ``key=value``: words taken apart, and texts put so that Hydra reads them as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException

from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.data.readers import editions
else:
    editions = lazy_import("astroclf.data.readers.editions")  # with h5py: only where a path stands alone

DATA_PATH = "dataset.path"
_METADATA = "metadata.csv"
_ARRAYS = ("images.npy", "labels.npy")  # of which the folder is the data set


class Assignment(NamedTuple):
    """A word such as ``+loss.gamma=2``, taken apart."""

    prefix: str
    key: str
    value: str

    @classmethod
    def of(cls, word: str) -> Assignment:
        """Take a word with an equals sign apart."""
        name, _, value = word.partition("=")
        key = name.lstrip("+~")
        return cls(name[: len(name) - len(key)], key, value)

    def __str__(self) -> str:
        return f"{self.prefix}{self.key}={self.value}"


def parse(override: str) -> Override | None:
    """Return an override as Hydra reads it, or None where it cannot."""
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def quoted(text: str) -> str:
    """Return a text in the quotes of Hydra's grammar: double ones, which a shell's single quotes hold as they are."""
    return QuotedString(text, Quote.single if '"' in text else Quote.double).with_quotes()


def hydra_value(text: str) -> str:
    """Return a text so that Hydra reads it as it stands: in quotes where it would read something else."""
    override = parse(f"key={text}")
    return text if override is not None and override.value() == text else quoted(text)


def exists(name: str) -> bool:
    """Return whether a word names a file or folder, ``~`` being the home folder."""
    try:
        return Path(name).expanduser().exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, no home folder, a zero byte
        return False


def reader_of(path: Path) -> str:
    """Return the choice of ``dataset`` that reads what lies at a path."""
    return editions.choose_reader(path) if editions.holds_arrays(path) else "folder"


def data_set_words(
    path: str, instead: Mapping[str, str] = MappingProxyType({}), *, reader_is_chosen: bool = False
) -> list[str]:
    """Return the overrides that a path standing alone means: which reader, unless one is chosen, and where.

    Parameters
    ----------
    instead
        Readers that take the place of others, by the names of these.
    """
    place = Path(path).expanduser()
    if place.name in (_METADATA, *_ARRAYS):
        place = place.parent
    where = f"{DATA_PATH}={hydra_value(str(place))}"
    if reader_is_chosen:
        return [where]
    reader = reader_of(place)
    return [f"dataset={instead.get(reader, reader)}", where]
