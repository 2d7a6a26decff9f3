"""The learning rate that suits an experiment, measured with its own parts: figure, table, and what to type next."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

from astroclf.engine.lr_range import LrRange, lr_range_test
from astroclf.engine.training_step import TrainingStep
from astroclf.errors import TrainingError
from astroclf.run.parts import Parts, ProcessCache, build_parts
from astroclf.settings.config import FindLrConfig
from astroclf.util.atomic import write_text
from astroclf.util.figures import BLUE, GREY, ORANGE, figure
from astroclf.util.invocation import Command, typed_command
from astroclf.util.logs import log


def find_lr(config: FindLrConfig, folder: str | Path) -> float:
    """Measure how the loss goes while the learning rate rises; say, draw and return the one to train with.

    Nothing is recorded or registered: ``lr_range.png`` and ``lr_range.csv`` in `folder` are all that is left.

    Raises
    ------
    TrainingError
        The loss falls at no learning rate, or is not finite from the beginning.
    """
    parts = build_parts(config, ProcessCache())
    step = TrainingStep(
        parts.network,
        parts.criterion,
        parts.optimizer(),
        parts.precision,
        replace(parts.config.trainer, ema_decay=None),
        parts.convolutions(),
    )
    log.info(
        "%d steps of %d images, the learning rate rising from %g to %g",
        config.lr_steps, parts.config.trainer.images_per_batch * config.trainer.grad_accum_steps,
        config.lowest_lr, config.highest_lr,
    )  # fmt: skip
    measured = lr_range_test(
        step,
        parts.loaders["train"],
        lowest_lr=config.lowest_lr,
        highest_lr=config.highest_lr,
        steps=config.lr_steps,
        batches_per_step=config.trainer.grad_accum_steps,
        freezing=parts.freezing(),
    )
    folder = Path(folder)
    _write_table(measured, folder / "lr_range.csv")
    _draw(measured, folder / "lr_range.png")
    if not measured.falls:
        raise TrainingError(
            f"The loss falls at no learning rate from {config.lowest_lr:g} to {measured.lrs[-1]:g}; "
            f"{folder / 'lr_range.png'} shows it. Give more steps (lr_steps=), larger batches, or another highest_lr."
        )
    print(_said(measured, parts, folder))
    return measured.tenth


def _said(measured: LrRange, parts: Parts, folder: Path) -> str:
    lowest = measured.lrs[measured.lowest]
    return (
        f"The loss is lowest at a learning rate of {lowest:.2g}; a tenth of it is {measured.tenth:.2g}, which is "
        f"suggested.\nIt falls fastest at {measured.steepest:.2g}, the other usual choice. {folder / 'lr_range.png'} "
        f"shows both.\nTrain with\n  {_command(measured.tenth, parts)}"
    )


def _command(lr: float, parts: Parts) -> Command:
    """Return the command that trains what was typed with this learning rate, and with the batch that was measured."""
    settled = {"optimizer.lr": f"{lr:.2g}"}
    if any(word == "trainer.batch_size=auto" for word in typed_command().arguments):
        settled["trainer.batch_size"] = str(parts.config.trainer.images_per_batch)
    without = {*settled, *FindLrConfig.own_keys(), "hydra.run.dir"}
    words = [f"{key}={value}" for key, value in settled.items()]
    return typed_command().with_settled("find_lr", "train", without, words)


def _write_table(measured: LrRange, path: Path) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["lr", "loss", "smoothed"])
    rows = zip(measured.lrs, measured.losses, measured.smoothed, strict=True)
    table.writerows([f"{value:.6g}" for value in row] for row in rows)
    write_text(path, text.getvalue())


def _draw(measured: LrRange, path: Path) -> None:
    with figure(path, 5.6, 3.4) as axes:
        axes.plot(measured.lrs, measured.losses, color=GREY, linewidth=0.8, label="each step")
        axes.plot(measured.lrs, measured.smoothed, color=BLUE, label="smoothed")
        if measured.falls:
            for lr, color, words in (
                (measured.steepest, ORANGE, "falls fastest"),
                (measured.tenth, BLUE, "a tenth of the lowest"),
            ):
                axes.axvline(lr, color=color, linewidth=1, linestyle="--", label=f"{lr:.2g}: {words}")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        low, high = measured.smoothed.min(), max(measured.smoothed[0], measured.smoothed.min())
        margin = 0.6 * (high - low) + 0.02 * abs(high)
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.set_title("Learning-rate range test")
        axes.grid(axis="y")
        axes.legend()
