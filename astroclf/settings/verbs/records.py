"""What the verbs take that work on finished runs and their models: runs, promote, export."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import PATH, PATH_OR_NAME, Settings, at_least
from astroclf.settings.verbs.asking import words_of
from astroclf.settings.verbs.sections import StoreSettings

_EXPORT_SUFFIXES = {".onnx": "onnx", ".pt2": "torch_export", ".ts": "torchscript", ".zip": "bundle"}


@dataclass(frozen=True, kw_only=True)
class RunsConfig(Settings):
    """What ``conf/runs.yaml`` says: which runs to list, two of them to compare, or one to report.

    Raises
    ------
    ConfigError
        Two runs are to be compared and not named, or named and not to be compared.
    """

    tracking: StoreSettings
    action: Literal["list", "compare", "report"]
    one: Annotated[str | None, PATH_OR_NAME]
    other: Annotated[str | None, PATH_OR_NAME]
    data: str | None
    status: Literal["finished", "failed", "killed", "running", "unfinished"] | None
    trials: bool
    sort: str
    limit: Annotated[int, at_least(1)]
    format: Literal["table", "csv", "json"]
    folder: Annotated[str, PATH]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action == "compare" and (self.one is None or self.other is None):
            raise ConfigError("Say which two runs to compare, such as: astroclf runs compare 50839f9a 1321a132.")
        if self.action == "report" and (self.one is None or self.other is not None):
            raise ConfigError("Say which run to report again, such as: astroclf runs report 50839f9a.")
        if self.action == "list" and (self.one is not None or self.other is not None):
            raise ConfigError("Two runs are laid beside each other with action=compare: astroclf runs compare A B.")


@dataclass(frozen=True, kw_only=True)
class PromoteConfig(Settings):
    """What ``conf/promote.yaml`` says: what to show of a registry, or which model to make champion.

    Raises
    ------
    ConfigError
        An action lacks what it needs, or has what it does not take.
    """

    tracking: StoreSettings
    model: str | None
    version: Annotated[int | None, at_least(1)]
    action: Literal["show", "champion", "rollback"]
    reason: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model is None and (self.version is not None or self.action != "show"):
            raise ConfigError("Say of which model: model=galaxy10, or the name alone. Without any, all are listed.")
        if self.action == "champion" and self.version is None:
            raise ConfigError(
                f"action=champion makes a version champion: say which, such as version=7 of {self.model}."
            )
        if self.action == "rollback" and self.version is not None:
            raise ConfigError("action=rollback goes back to the champion before this one, and takes no version.")
        if self.action != "show" and not (self.reason or "").strip():
            raise ConfigError(
                f"action={self.action} needs reason='...': say in a few words why, for whoever asks next year."
            )
        if self.action == "show" and self.reason is not None:
            raise ConfigError("reason= is given with action=champion or action=rollback; nothing was changed.")


@dataclass(frozen=True, kw_only=True)
class ExportConfig(Settings):
    """What ``conf/export.yaml`` says: a model, and the form in which others get it.

    Raises
    ------
    ConfigError
        The form is not said, neither by ``format`` nor by the ending of ``output``, or they contradict each other.
    """

    tracking: StoreSettings
    model: Annotated[str, PATH_OR_NAME]
    output: Annotated[str, PATH]
    format: Literal["onnx", "torch_export", "torchscript", "huggingface", "bundle"] | None
    preprocessing: Literal["inside", "beside"]
    check_images: Annotated[int, at_least(2)]
    inputs: list[str] | str | None
    license: str
    overwrite: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        suffix = PurePath(self.output).suffix.lower()
        if self.format is None and suffix not in _EXPORT_SUFFIXES:
            endings = ", ".join(f"{ending} ({form})" for ending, form in _EXPORT_SUFFIXES.items())
            raise ConfigError(
                f"output={self.output} does not say in which form: end it in {endings}, or give format=huggingface "
                "or format=bundle for a folder."
            )
        if self.format is not None and _EXPORT_SUFFIXES.get(suffix, self.format) != self.format:
            raise ConfigError(
                f"output={self.output} ends as a file of format={_EXPORT_SUFFIXES[suffix]}, and format={self.format}."
            )

    @property
    def words(self) -> list[str]:
        """The user's own images to compare on, one by one; none where the drawn ones do."""
        return words_of(self.inputs or [])

    @property
    def form(self) -> str:
        """The form, which the ending of the output says where `format` does not."""
        return self.format or _EXPORT_SUFFIXES[PurePath(self.output).suffix.lower()]
