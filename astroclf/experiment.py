"""One experiment from a typed config to a registered model: builds every part, lets it run, keeps the results."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from astroclf.atomic import write_text
from astroclf.command import resumed_run
from astroclf.config import Config, build
from astroclf.data.splits import Splits, group_rows, split_rows
from astroclf.data.store import PixelStore, open_store
from astroclf.engine.checkpoint import load_checkpoint
from astroclf.engine.precision import choose_device, choose_precision, make_deterministic
from astroclf.errors import DataError, Interrupted
from astroclf.losses.objective import Objective
from astroclf.models.summary import model_summary

if TYPE_CHECKING:
    pass

log = logging.getLogger("astroclf")


@dataclass(frozen=True)
class Data:
    """A data set, decoded and split."""

    store: PixelStore
    splits: Splits

    @property
    def classes(self) -> tuple[str, ...]:
        return self.store.table.classes


def load_data(config: Config) -> Data:
    """List, decode (once) and split the configured data set."""
    options = config.dataset.options
    source = build(config.dataset)
    cache_dir = Path(options["cache_dir"]).expanduser()
    store = open_store(source, cache_dir, on_error=options["on_error"], workers=config.trainer.workers)
    groups = group_rows(store.table, store.digests)
    splits = split_rows(
        store.table,
        groups,
        store.digests,
        val=options["val_fraction"],
        test=options["test_fraction"],
        seed=options["split_seed"],
    )
    if len(splits.train) == 0 or len(splits.val) == 0 or len(splits.test) == 0:
        raise DataError(
            f"The data set {options['name']} gives {len(splits.train)} training, {len(splits.val)} validation and "
            f"{len(splits.test)} test images; each needs at least one. Set dataset.val_fraction and "
            "dataset.test_fraction above 0, or add images."
        )
    return Data(store, splits)


class Experiment:
    """One run.

    Parameters
    ----------
    config : Config
    folder : str or Path
        The run folder; made where it does not exist.
    command : str
        What the user typed, for the records.
    """

    def __init__(self, config: Config, folder: str | Path, command: str) -> None:
        self.config = config
        self.folder = Path(folder)
        self.command = command

    def run(self) -> float:
        """Train (or go on training), test, record, register; returns the objective of the best validation."""
        started = time.monotonic()
        config, options = self.config, self.config.dataset.options
        checkpoint = load_checkpoint(resumed_run(config.resume)[1]) if config.resume else None
        if checkpoint is not None and checkpoint["results"] is not None:
            log.info("%s is complete: nothing is left to do.", self.folder)
            return float(checkpoint["results"]["objective"])
        device = choose_device(config.trainer.device)
        precision = choose_precision(config.trainer.precision, device)
        make_deterministic(config.trainer.deterministic)
        torch.manual_seed(config.seed)
        # The backbone first: pretrained weights that cannot be had are told before an hour is spent on decoding.
        weights: dict[str, Any] = {} if checkpoint is None else {"weights": None}
        backbone = build(config.backbone, image_size=options["image_size"], channels=options["channels"], **weights)
        data = load_data(config)
        self._write_config()
        counts = data.store.table.class_counts(data.splits.train)
        loss = build(config.loss, class_counts=counts.tolist())
        objective = Objective(loss, config.head.uncertainty_weight).to(device)
        classifier = self._classifier(backbone, data.classes, loss)
        summary = model_summary(classifier, options["image_size"], options["channels"])
        write_text(self.folder / "model.txt", summary)
        self._greet(data, classifier, precision)

        streams = self._streams(data, precision)
        tracker = self._tracker(data, precision, checkpoint)
        try:
            trainer = self._trainer(classifier, objective, streams, precision, data, tracker)
            if checkpoint is not None:
                trainer.load_state_dict(checkpoint)
            fitted = trainer.fit()
            value = self._judge(trainer, classifier, objective, streams["test"], data, tracker, fitted, started)
        except Interrupted:
            tracker.close("KILLED")
            raise
        except BaseException:
            tracker.close("FAILED")
            raise
        tracker.close("FINISHED")
        return value
