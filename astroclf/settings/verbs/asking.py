"""What the verbs take that ask models about images: predict, explain, explore, evaluate."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import PATH, PATH_OR_NAME, Range, Settings, at_least
from astroclf.settings.dataset import DatasetSettings
from astroclf.settings.verbs.sections import MachineSettings, StoreSettings


def words_of(inputs: list[str] | str) -> list[str]:
    """Return what ``inputs`` names, one by one; a text names one a line."""
    return inputs.splitlines() if isinstance(inputs, str) else inputs


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
        return words_of(self.inputs)


@dataclass(frozen=True, kw_only=True)
class AskedModels(Settings):
    """The model that is asked, or several that answer as one.

    Raises
    ------
    ConfigError
        No model is named.
    """

    model: Annotated[list[str] | str, PATH_OR_NAME]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.model:
            raise ConfigError("'model' names none: give one, such as models:/galaxy10@champion, or a list of several.")

    @property
    def names(self) -> list[str]:
        """The model's name, or those of the models of an ensemble."""
        return [self.model] if isinstance(self.model, str) else self.model


@dataclass(frozen=True, kw_only=True)
class PredictConfig(AskedModels, AskedImages):
    """What ``conf/predict.yaml`` says: a model, what it is asked about, and where its answers go.

    Raises
    ------
    ConfigError
        No part such as 3/16, or embeddings in a format that has no place for hundreds of columns.
    """

    output: Annotated[str | None, PATH]
    features: bool
    report: bool
    shard: str | None
    overwrite: bool
    batch_size: Annotated[int, at_least(1)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shard is not None:
            self.shard_numbers  # noqa: B018 - refuses what is no part
        if self.features and not (self.output or "").lower().endswith(".parquet"):
            raise ConfigError(
                "features=true writes hundreds of numbers an image: give output=NAME.parquet, which keeps them whole."
            )

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


@dataclass(frozen=True, kw_only=True)
class ExploreConfig(AskedImages):
    """What ``conf/explore.yaml`` says: a model, and images to see as it sees them, or a table of answers alone.

    Raises
    ------
    ConfigError
        No input.
    """

    model: Annotated[str, PATH_OR_NAME]
    labels: str | None
    label_next: Annotated[int, at_least(0)]
    max_images: Annotated[int, Range(at_least=2, below=20_001)]
    seed: Annotated[int, Range(at_least=0, below=2**32)]

    @property
    def words(self) -> list[str]:
        """The inputs one by one; a table that stands where the model is expected is the only one."""
        return super().words or [self.model] * self.model.lower().endswith(".parquet")

    @property
    def named_model(self) -> str | None:
        """The model, where one is named beside the inputs."""
        return self.model if super().words else None


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(AskedModels):
    """What ``conf/evaluate.yaml`` says: models, and labelled images to try them on."""

    dataset: DatasetSettings
    tracking: StoreSettings
    trainer: MachineSettings
    against: Annotated[list[str] | str, PATH_OR_NAME]
    class_map: Annotated[dict[str, Any] | str | None, PATH]
    split: Literal["auto", "all", "train", "val", "test"]
    turned_images: Annotated[int, at_least(0)]
    register: str | None

    @property
    def rivals(self) -> list[str]:
        """The models to compare with."""
        return [self.against] if isinstance(self.against, str) else self.against
