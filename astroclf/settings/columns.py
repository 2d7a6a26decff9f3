"""What ``dataset.columns.*`` can say: what the columns of a table of images are called, as plain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from astroclf.errors import ConfigError
from astroclf.settings.base import SectionSettings

TEXT_COLUMNS = ("path", "label", "split", "group", "ra", "dec")


@dataclass(frozen=True, kw_only=True)
class ColumnSettings(SectionSettings):
    """The names of the columns that are read; ``conf/dataset/_folder.yaml`` explains each key.

    Raises
    ------
    ConfigError
        One column for two things, a label and votes, or votes for fewer than two classes.
    """

    section, yaml = "dataset.columns", "dataset/_folder"

    path: str | None
    label: str | None
    split: str | None
    group: str | None
    ra: str | None
    dec: str | None
    votes: list[str] | dict[str, str] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.votes is not None:
            if self.label is not None:
                raise ConfigError(
                    "dataset.columns.label and dataset.columns.votes both say the class: give one of them."
                )
            columns = [name.strip().lower() for name in self.vote_columns().values()]
            if len(columns) < 2 or len(set(columns)) < len(columns):
                raise ConfigError(f"dataset.columns.votes={self.votes} cannot be: give one column a class, each once.")

    def named(self) -> dict[str, str]:
        """Return the column of each thing that is read beside votes, in lower case."""
        return {key: (getattr(self, key) or key).strip().lower() for key in TEXT_COLUMNS}

    def given(self) -> dict[str, str]:
        """Return the columns that were named by the user, in lower case."""
        return {key: name for key, name in self.named().items() if getattr(self, key)}

    def vote_columns(self) -> dict[str, str]:
        """Return the column of each class's votes, by class name; empty without votes."""
        if isinstance(self.votes, Mapping):
            return {str(name): column for name, column in self.votes.items()}
        return {name: name for name in self.votes or ()}

    def required(self) -> list[str]:
        """Name the columns, in lower case, that a table must have."""
        named = self.named()
        needed = [named["path"]] if self.votes else [named["path"], named["label"]]
        return [*needed, *(column.strip().lower() for column in self.vote_columns().values())]

    def missing_in(self, header: Collection[str]) -> list[str]:
        """Name the columns that a table must have and, by its header in lower case, has not."""
        return [column for column in self.required() if column not in header]
