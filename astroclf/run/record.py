"""The record of a run: opened under a name that says what the run is, described, and closed however it ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from astroclf.config.build import build
from astroclf.data.catalog import SPLITS
from astroclf.errors import Interrupted, Pruned, TakenOver
from astroclf.run.data import Data
from astroclf.run.environment import git_commit
from astroclf.run.folder import RunFolder
from astroclf.settings.base import ComponentSettings
from astroclf.settings.config import Config, PretrainConfig
from astroclf.settings.yaml_files import config_dir, yaml_values
from astroclf.tracking.client import AWAY_SECONDS
from astroclf.tracking.tracker import RecordedSplit, RunStatus, Tracker

_USES = {"train": "training", "val": "validation", "test": "test"}


@dataclass(frozen=True)
class RecordContext:
    """What the record has beside the run's config: who opened it, and where it goes on.

    Attributes
    ----------
    name
        Of the run; None leaves the choice to `run_name`.
    run_id
        Of the run that goes on.
    parent_run_id
        Of the sweep.
    resume_step
        The step at which the run goes on; None for one that begins.
    """

    name: str | None = None
    run_id: str | None = None
    parent_run_id: str | None = None
    resume_step: int | None = None


@contextmanager
def opened_record(
    config: Config | PretrainConfig,
    folder: RunFolder,
    data: Data,
    command: str,
    tags: Mapping[str, str],
    context: RecordContext,
) -> Iterator[Tracker]:
    """Open the run's record, new or the checkpoint's own; it is closed, with the logs, however the block ends.

    Parameters
    ----------
    command
        That began the run.
    """
    tracker: Tracker = build(
        config.tracking,
        run_name=config.tracking.run_name or context.name or run_name(config),
        run_id=context.run_id,
        parent_run_id=context.parent_run_id,
        params=config.to_plain(),
        tags={
            "command": command,
            "git_commit": git_commit(),
            "run_folder": str(folder.path.absolute()),
            **data.fingerprints,
            **tags,
        },
        splits=recorded_splits(config, data),
        tensorboard_dir=folder.path / "tensorboard",
        resume_step=context.resume_step,
        patience=AWAY_SECONDS if context.parent_run_id else 0.0,  # a sweep's next trial would meet it as well
    )
    tracker.describe("\n\n".join(what_it_is(config, data, folder, command)))
    status: RunStatus | None = "FAILED"
    try:
        yield tracker
        status = "FINISHED"
    except TakenOver:
        status = None
        raise
    except Pruned:
        status = "KILLED"
        tracker.set_tags({"pruned": "true"})
        raise
    except (Interrupted, KeyboardInterrupt):
        status = "KILLED"
        raise
    finally:
        for path in folder.path.glob("*.log") if status is not None else ():
            tracker.log_artifact(path)
        tracker.close(status)


def run_name(config: Config | PretrainConfig) -> str:
    """Return a name by which a run can be told from others in a list: backbone, loss, and when it began."""
    began = datetime.now().astimezone()
    return f"{chosen(config.backbone)} {_loss(config)} {began:%Y-%m-%d_%H-%M}"


def _loss(config: Config | PretrainConfig) -> str:
    return chosen(config.loss) if isinstance(config, Config) else "pretraining"


def chosen(component: ComponentSettings) -> str:
    """Return the name that people choose a component by, such as ``cb_focal``; its class's where none is near.

    Of several yaml files of one class it is the one that has most values in common with the component.
    """
    mine = component.to_plain()
    names = sorted(path.stem for path in (config_dir() / component.section).glob("[!_]*.yaml"))
    files = {name: yaml_values(f"{component.section}/{name}") for name in names}
    common = {
        name: sum(key in mine and mine[key] == value for key, value in values.items())
        for name, values in files.items()
        if values.get("_target_") == component.target
    }
    return max(common, key=common.__getitem__, default=part_name(component.target))


def part_name(target: str) -> str:
    """Return the name of a class as reports and lists show it: ``ResNet18`` of its dotted name."""
    return target.rpartition(".")[2]


def what_it_is(config: Config | PretrainConfig, data: Data, folder: RunFolder, command: str) -> Sequence[str]:
    """Describe a run in paragraphs of markdown: what is trained on what, by which command, and where its files are."""
    counts = ", ".join(f"{len(getattr(data.splits, name)):,} {use}" for name, use in _used(config).items())
    labels = f"of {len(data.classes)} classes" if isinstance(config, Config) else "without labels"
    return (
        f"**{chosen(config.backbone)}** with {_loss(config)} on **{config.dataset.name}**: {counts} images {labels}.",
        f"Command: `{command}`",
        f"Run folder: `{folder.path.absolute()}`",
    )


def _used(config: Config | PretrainConfig) -> dict[str, str]:
    """Return the splits that a run looks at, and what for: a pretraining never at the test images."""
    return {name: _USES[name] for name in SPLITS if isinstance(config, Config) or name != "test"}


def recorded_splits(config: Config | PretrainConfig, data: Data) -> list[RecordedSplit]:
    """Return what is learnt from and judged by, as records show it."""
    catalog = data.cache.catalog
    place = str(config.dataset.path or config.dataset.target)
    return [
        RecordedSplit(
            config.dataset.name,
            use,
            data.splits.fingerprints[name],
            place,
            dict(zip(catalog.classes, catalog.class_counts(getattr(data.splits, name)).tolist(), strict=True)),
        )
        for name, use in _used(config).items()
    ]
