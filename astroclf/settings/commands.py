"""What the verbs beside training take: the groups, sections and keys of each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated, Any, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import PATH, PATH_OR_NAME, STORE, Range, Settings, at_least
from astroclf.settings.dataset import DatasetSettings

_EXPORT_SUFFIXES = {".onnx": "onnx", ".pt2": "torch_export", ".ts": "torchscript", ".zip": "bundle"}
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


# ---- sections: parts of the groups that training has --------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CacheSettings(Settings):
    """Where decoded images are kept: ``conf/dataset/_cache.yaml``."""

    section = "dataset"

    cache_dir: Annotated[str, PATH]


@dataclass(frozen=True, kw_only=True)
class StoreSettings(Settings):
    """Where runs and models are recorded: ``conf/tracking/_store.yaml``."""

    section = "tracking"

    uri: Annotated[str, STORE]


@dataclass(frozen=True, kw_only=True)
class ThreadSettings(Settings):
    """How many threads decode or make images: ``conf/trainer/_threads.yaml``."""

    section = "trainer"

    num_workers: Annotated[int | None, at_least(1)]


@dataclass(frozen=True, kw_only=True)
class MachineSettings(ThreadSettings):
    """Threads, and the device that a network is computed on: ``conf/trainer/_device.yaml``."""

    device: Literal["auto", "cuda", "cpu"]


# ---- verbs ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CheckConfig(Settings):
    """What ``conf/check.yaml`` says: a data set to look through, and a model to doubt its labels with."""

    dataset: DatasetSettings
    tracking: StoreSettings
    trainer: MachineSettings
    model: Annotated[str | None, PATH_OR_NAME]


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Settings):
    """What ``conf/evaluate.yaml`` says: models, and labelled images to try them on.

    Raises
    ------
    ConfigError
        No model is named.
    """

    dataset: DatasetSettings
    tracking: StoreSettings
    trainer: MachineSettings
    model: Annotated[list[str] | str, PATH_OR_NAME]
    against: Annotated[list[str] | str, PATH_OR_NAME]
    class_map: Annotated[dict[str, Any] | str | None, PATH]
    split: Literal["auto", "all", "train", "val", "test"]
    turned_images: Annotated[int, at_least(0)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ConfigError("Say which model: astroclf evaluate models:/galaxy10@champion my_images.")

    @property
    def names(self) -> list[str]:
        """The model's name, or those of the models of an ensemble."""
        return [self.model] if isinstance(self.model, str) else self.model

    @property
    def rivals(self) -> list[str]:
        """The models to compare with."""
        return [self.against] if isinstance(self.against, str) else self.against


@dataclass(frozen=True, kw_only=True)
class AskedImages(Settings):
    """What verbs share that ask a model about images.

    Raises
    ------
    ConfigError
        No input.
    """

    tracking: StoreSettings
    trainer: MachineSettings
    inputs: list[str] | str
    column: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.words:
            raise ConfigError("'inputs' names nothing: give files, globs, folders, a table, or - for a list.")

    @property
    def words(self) -> list[str]:
        """The inputs one by one; a text names one a line."""
        return self.inputs.splitlines() if isinstance(self.inputs, str) else self.inputs


@dataclass(frozen=True, kw_only=True)
class ExploreConfig(AskedImages):
    """What ``conf/explore.yaml`` says: a model, and images to see as it sees them."""

    model: Annotated[str, PATH_OR_NAME]
    labels: str | None
    label_next: Annotated[int, at_least(0)]
    max_images: Annotated[int, Range(at_least=2, below=20_001)]
    seed: Annotated[int, Range(at_least=0, below=2**32)]


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Settings):
    """What ``conf/prepare.yaml`` says: a data set to decode."""

    dataset: DatasetSettings
    trainer: ThreadSettings


@dataclass(frozen=True, kw_only=True)
class StoresConfig(Settings):
    """What ``conf/stores.yaml`` says: a cache, and what to remove from it.

    Raises
    ------
    ConfigError
        A time that is none.
    """

    dataset: CacheSettings
    remove: list[str] | str
    unused_for: str | None
    unfinished: bool
    all: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        self.unused_seconds()

    @property
    def names(self) -> list[str]:
        """The entries to remove, by their names."""
        return [self.remove] if isinstance(self.remove, str) else self.remove

    def removes(self) -> bool:
        """Return whether anything is to be removed."""
        return bool(self.names or self.unused_for or self.unfinished or self.all)

    def unused_seconds(self) -> float | None:
        """Return for how long nobody must have used what is removed for that, in seconds."""
        if self.unused_for is None:
            return None
        match = re.fullmatch(r"(\d+)([hdw])", self.unused_for)
        if match is None:
            raise ConfigError(f"unused_for={self.unused_for} is no time such as 30d (days), 12h (hours) or 2w (weeks).")
        return int(match[1]) * _SECONDS[match[2]]


@dataclass(frozen=True, kw_only=True)
class SimulateConfig(Settings):
    """What ``conf/simulate.yaml`` says: what to simulate, how much of it, and where to write it."""

    kind: Literal["galaxy10", "astro8"]
    output: Annotated[str, PATH]
    samples: Annotated[int, at_least(1)]
    image_size: Annotated[int, at_least(8)]
    seed: Annotated[int, at_least(0)]
    contact_sheet: Annotated[str | None, PATH]
    trainer: ThreadSettings


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
    def form(self) -> str:
        """The form, which the ending of the output says where `format` does not."""
        return self.format or _EXPORT_SUFFIXES[PurePath(self.output).suffix.lower()]


@dataclass(frozen=True, kw_only=True)
class RunsConfig(Settings):
    """What ``conf/runs.yaml`` says: which runs to list, or two of them to compare.

    Raises
    ------
    ConfigError
        Two runs are to be compared and not named, or named and not to be compared.
    """

    tracking: StoreSettings
    action: Literal["list", "compare"]
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
class PredictConfig(AskedImages):
    """What ``conf/predict.yaml`` says: a model, what it is asked about, and where its answers go.

    Raises
    ------
    ConfigError
        No part such as 3/16, or embeddings in a format that has no place for hundreds of columns.
    """

    model: Annotated[list[str] | str, PATH_OR_NAME]
    output: Annotated[str | None, PATH]
    features: bool
    report: bool
    shard: str | None
    overwrite: bool
    batch_size: Annotated[int, at_least(1)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ConfigError("Say which model: astroclf predict models:/galaxy10@champion images/.")
        if self.shard is not None:
            self.shard_numbers  # noqa: B018 - refuses what is no part
        if self.features and not (self.output or "").lower().endswith(".parquet"):
            raise ConfigError(
                "features=true writes hundreds of numbers an image: give output=NAME.parquet, which keeps them whole."
            )

    @property
    def names(self) -> list[str]:
        """The model's name, or those of the models of an ensemble."""
        return [self.model] if isinstance(self.model, str) else self.model

    @property
    def shard_numbers(self) -> tuple[int, int]:
        """Which part this is, from 1 on, and of how many."""
        match = re.fullmatch(r"(\d+)/(\d+)", self.shard or "1/1")
        number, count = map(int, match.groups()) if match else (0, 0)
        if not 1 <= number <= count:
            raise ConfigError(f"shard={self.shard} is no part: give its number and how many there are, such as 3/16.")
        return number, count

    def rows_of_shard(self, total: int) -> tuple[int, int]:
        """Return the first of the images that this part is, and the one after its last."""
        number, count = self.shard_numbers
        return (number - 1) * total // count, number * total // count


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(AskedImages):
    """What ``conf/explain.yaml`` says: a model, and the images that it is asked about.

    Raises
    ------
    ConfigError
        No input, or no class.
    """

    model: Annotated[str, PATH_OR_NAME]
    classes: list[str] | str
    limit: Annotated[int, at_least(1)]
    occlusion: bool
    batch_size: Annotated[int, at_least(1)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.classes:
            raise ConfigError("'classes' names none: give predicted, all, or a list such as [Merging].")
