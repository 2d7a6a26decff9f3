"""Which pretrained network suits a data set: a linear probe of each on the same folds, and what to type next."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.data.loader import BatchLoader
from astroclf.data.split.assign import assign_folds, take_evenly
from astroclf.engine.signals import signal_of, terminable
from astroclf.errors import ConfigError, DataError, DownloadError, Interrupted, TrackingError, WeightsError
from astroclf.evaluation.compare import paired_bootstrap
from astroclf.evaluation.intervals import Interval, metric_interval
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.probe import count_fits, linear_probe
from astroclf.evaluation.report import page
from astroclf.models.folded import for_inference
from astroclf.models.precision import choose_precision
from astroclf.run.candidates import Candidate, candidate, check_candidate, untrained
from astroclf.run.data import Data
from astroclf.run.parts import Parts, ProcessCache, build_parts, to_device
from astroclf.run.speed import images_per_second
from astroclf.settings.config import Config, PickConfig
from astroclf.util.atomic import write_text
from astroclf.util.invocation import Command, typed_command
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.terminal import Plain, console, plain
from astroclf.util.text import clock

TIMED_STEPS = 2
LEAST_APART = 3  # independent images of a class: with two folds left out, one is still there to learn from
BASELINE = "resnet18, random weights"
_FIGURES = ("accuracy", "95 %", "macro F1", "log loss", "images/s", "an epoch")
_NOT_TO_BE_HAD = (ConfigError, WeightsError, TrackingError, DownloadError)


@dataclass(frozen=True)
class Sample:
    """The images that all candidates are compared on: none of the test split.

    Attributes
    ----------
    rows
        (n,) of the data set.
    fold_N
        The fold of each.
    """

    data: Data
    rows: np.ndarray
    fold_N: np.ndarray


@dataclass(frozen=True)
class Probed:
    """What a linear probe says of one candidate.

    Attributes
    ----------
    said
        Of each image, by a probe that was not fitted on it.
    embedded_per_second
        Images that go through the network in a second, one view each.
    epoch_seconds
        Of fine-tuning all of the network, one epoch of the experiment.
    """

    name: str
    candidate: Candidate
    parameters: int
    features: int
    said: Predictions
    embedded_per_second: float
    epoch_seconds: float

    @cached_property
    def figures(self) -> dict[str, float]:
        """Accuracy, macro F1 and log loss, the first two with their intervals."""
        metrics = self.said.metrics()
        figures: dict[str, float] = {}
        for name in ("accuracy", "macro_f1"):
            interval = metric_interval(name, self.said)
            figures |= {name: metrics[name], f"{name}_low": interval.low, f"{name}_high": interval.high}
        return {**figures, "log_loss": metrics["log_loss"]}


def pick(config: PickConfig, folder: str | Path) -> list[Probed]:
    """Compare the candidates on the images beside the test split; write, print and return them, the best first.

    ``candidates.csv`` and ``report.html`` in `folder` are all that is left.

    Raises
    ------
    ConfigError
        None of them can be had, or a word names none.
    DataError
        Too few images of a class.
    Interrupted
        Ctrl-C or SIGTERM came; the table has those that were done.
    """
    _refuse_typed_backbone()
    for word in config.words:
        check_candidate(word)
    shared, folder = ProcessCache(), Path(folder)
    sample = _sample(config, shared.data(config))
    probed: list[Probed] = []
    failed: dict[str, str] = {}
    try:
        with terminable():
            for name in [BASELINE, *dict.fromkeys(config.words)]:
                try:
                    found = untrained(config) if name == BASELINE else candidate(name, config)
                    probed.append(_probed(name, found, config, sample, shared))
                except _NOT_TO_BE_HAD as error:
                    failed[name] = str(error)
                    log.warning("%s is left out: %s", name, error)
                _write_table(_sorted(probed), failed, folder / "candidates.csv")
    except KeyboardInterrupt as stop:
        number = signal_of(stop)
        done = f" {folder / 'candidates.csv'} has the {len(probed)} that are done." if probed else ""
        raise Interrupted(f"Stopped by {number.name}.{done}", 128 + number) from None
    best = _sorted(probed)
    if [each.name for each in best] == [BASELINE]:
        raise ConfigError(
            f"No candidate can be had. {'; '.join(f'{name}: {reason}' for name, reason in failed.items())}"
        )
    _report(best, failed, sample, folder / "report.html")
    _print(best, failed, sample, folder)
    return best


def _refuse_typed_backbone() -> None:
    """Refuse words that choose a backbone: the candidates do."""
    for word in typed_command().arguments:
        if word.lstrip("+~").startswith(("backbone=", "backbone.")):
            raise ConfigError(f"{word}: here the networks are named as candidates, such as candidates=['{word}'].")


def _sample(config: PickConfig, data: Data) -> Sample:
    """Choose the images, and divide them into folds: what is linked is in one fold, as in the splits."""
    catalog, digests = data.cache.catalog, data.cache.digests
    groups = data.groups if data.groups is not None else np.arange(len(catalog))
    rows = np.sort(np.concatenate([data.splits.train, data.splits.val]))
    if config.max_images is not None:
        rows = take_evenly(catalog.labels, rows, config.max_images)
    for label, name in enumerate(catalog.classes):
        apart = len(np.unique(groups[rows[catalog.labels[rows] == label]]))
        if apart < LEAST_APART:
            raise DataError(
                f"The class `{name}` has {apart} independent images beside the test split, too few to compare networks "
                f"by; it takes {LEAST_APART}. Add images, or leave it out with dataset.exclude_classes=['{name}']."
            )
    fold_N = assign_folds(catalog.take(rows), groups[rows], digests[rows], config.folds, config.dataset.split_seed)
    return Sample(data, rows, fold_N)


def _probed(name: str, found: Candidate, config: PickConfig, sample: Sample, shared: ProcessCache) -> Probed:
    labels, rows = sample.data.cache.catalog.labels[sample.rows], sample.rows
    if found.seen is not None:
        known = int((found.seen.among(sample.data.cache.pixel_digests[rows]) != "").sum())
        if known:
            raise ConfigError(
                f"it has seen {known:,} of these {len(rows):,} images in training, so that its features remember their "
                "labels: the comparison would be unfair. Compare it on images that it has not seen."
            )
    parts = build_parts(_experiment(config, found), shared)
    to_device(parts.network, parts.config.trainer, parts.precision)  # not in inference mode: it is trained, too
    features_NF, speed = _features(name, parts, sample, config.views)
    with ProgressBar(f"Probing {name}", count_fits(config.folds), "fits") as bar:
        said_NC = linear_probe(features_NF, labels, sample.fold_N, len(sample.data.classes), bar.advance)
    ids = sample.data.cache.catalog.ids[rows]
    said = Predictions(sample.data.classes, ids, said_NC, 1 - said_NC.max(axis=1), labels)
    parameters = sum(parameter.numel() for parameter in parts.network.backbone.parameters())
    seconds = len(sample.data.splits.train) / images_per_second(parts, TIMED_STEPS)
    return Probed(name, found, parameters, features_NF.shape[1], said, speed, seconds)


def _experiment(config: Config, found: Candidate) -> Config:
    """Return the experiment with a candidate; what cannot be frozen, as it has learned nothing, trains at once."""
    finetune = config.finetune
    if found.backbone.weights is None:
        finetune = replace(finetune, freeze=0, freeze_epochs=None, frozen_norms=False)
    return replace(config, backbone=found.backbone, finetune=finetune)


@torch.inference_mode()
def _features(name: str, parts: Parts, sample: Sample, views: int) -> tuple[np.ndarray, float]:
    """Compute the features of all images, (N, F) float32, and how many images went through in a second."""
    # The format that answers fastest: EfficientNets, which train in fp32 on a CPU, answer twice as fast in bf16.
    precision = choose_precision(parts.config.trainer.precision, parts.precision.device)
    network, train = for_inference(parts.network.eval(), precision), parts.loaders["train"]
    loader = BatchLoader(
        train.pixels,
        sample.data.cache.catalog.labels,
        sample.rows,
        batch_size=train.batch_size,
        augmentation=train.augmentation,
        seed=parts.config.seed,
        train=False,
        num_workers=train.num_workers,
    )
    features = []
    with ProgressBar(f"Features of {name}", len(sample.rows)) as bar:
        for batch in loader.epoch(0):
            seen = [batch.images_BCHW] if views == 1 else dihedral_views(batch.images_BCHW)
            with precision.autocast():
                of_views = [network.features(each_BCHW) for each_BCHW in seen]
            features.append(torch.stack(of_views).mean(dim=0).cpu().numpy())
            bar.advance(len(batch.labels_B))
        speed = bar.rate
    features_NF = np.concatenate(features)
    if not np.isfinite(features_NF).all():
        raise ConfigError("its features are not finite on these images: trainer.precision=fp32 tells if that is why.")
    return features_NF, speed * views


# ---- what is said of them ------------------------------------------------------------------------------------------


def _sorted(probed: Sequence[Probed]) -> list[Probed]:
    return sorted(probed, key=lambda each: (-each.figures["accuracy"], each.figures["log_loss"]))


def _behind(probed: Probed, best: Probed) -> Interval:
    """Return the interval of by how much a candidate is less accurate than the best, on the same images."""
    found = paired_bootstrap(probed.said, best.said, resamples=2000)
    return Interval(found.low, found.high)


def _write_table(best: Sequence[Probed], failed: dict[str, str], path: Path) -> None:
    text = io.StringIO()
    names = ["accuracy", "accuracy_low", "accuracy_high", "macro_f1", "macro_f1_low", "macro_f1_high", "log_loss"]
    facts = ["parameters", "features", "images_per_second", "epoch_seconds"]
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["candidate", *names, *facts, "words", "error"])
    for each in best:
        figures = each.figures
        numbers = [*(figures[name] for name in names), each.embedded_per_second, each.epoch_seconds]
        cells = [f"{value:.4g}" for value in numbers]
        cells[-2:-2] = [str(each.parameters), str(each.features)]
        table.writerow([each.name, *cells, " ".join(each.candidate.words), ""])
    for name, reason in failed.items():
        table.writerow([name, *[""] * (len(names) + len(facts) + 1), reason])
    write_text(path, text.getvalue())


def _print(best: Sequence[Probed], failed: dict[str, str], sample: Sample, folder: Path) -> None:
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("candidate", overflow="fold")
    for name in _FIGURES:
        table.add_column(name, justify="right", no_wrap=True, style="dim" if name == "95 %" else "")
    for each in best:
        table.add_row(Plain(each.name), *_cells(each))
    console().print(table)
    for name, reason in failed.items():
        console().print(plain(f"{name} is left out: {reason}"))
    print(_said(best, sample))
    print(f"{folder / 'report.html'} has all figures. Train with\n  {_command(_first_pretrained(best))}")


def _cells(each: Probed) -> list[str]:
    figures = each.figures
    return [
        f"{figures['accuracy']:.3f}",
        str(Interval(figures["accuracy_low"], figures["accuracy_high"])),
        f"{figures['macro_f1']:.3f}",
        f"{figures['log_loss']:.3f}",
        f"{each.embedded_per_second:,.0f}",
        clock(each.epoch_seconds),
    ]


def _first_pretrained(best: Sequence[Probed]) -> Probed:
    return next(each for each in best if each.name != BASELINE)


def _said(best: Sequence[Probed], sample: Sample) -> str:
    """Say in words who is first, by how much, and who may be as good."""
    first, others = best[0], best[1:]
    text = (
        f"{first.name} is first on {len(sample.rows):,} images of {len(sample.data.classes)} classes, none of them of "
        "the test split."
    )
    alike = [each.name for each in others if _behind(each, first).low <= 0]
    if alike:
        text += f" These images do not tell it from {', '.join(alike)}."
    if first.name == BASELINE or BASELINE in alike:
        text += " They do not show that what the candidates have learned elsewhere is of any use here."
    return text + " A probe says what a network has learned before, not how well it learns on."


def _command(chosen: Probed) -> Command:
    without = {*PickConfig.own_keys(), "hydra.run.dir"}
    typed = any(word.startswith("experiment=") for word in typed_command().arguments)
    recipe = () if typed else ("experiment=finetune_small",)
    return typed_command().with_settled("pick", "train", without, (*recipe, *chosen.candidate.words))


def _report(best: Sequence[Probed], failed: dict[str, str], sample: Sample, path: Path) -> None:
    columns = [page.Column("candidate", numeric=False), *map(page.Column, (*_FIGURES, "behind the first"))]
    rows = [
        [*map(page.Cell, (each.name, *_cells(each), "" if each is best[0] else str(_behind(each, best[0]))))]
        for each in best
    ]
    text = (
        "Each network stays as it is. A logistic regression on its features is fitted on all folds but one, and judged "
        "on that one; copies and neighbours on the sky are in one fold. 95 %: the interval of the accuracy. Behind the "
        "first: the interval of the difference on the same images; one that holds 0 tells nothing. images/s: through "
        "the network, one view each. An epoch: of fine-tuning all of it, on this machine."
    )
    sections: list[page.Section] = [page.Table(title="Candidates", text=text, columns=columns, rows=rows)]
    if failed:
        sections.append(page.Facts(title="Left out", facts=failed))
    sections.append(page.Code(title="Train the best", code=str(_command(_first_pretrained(best)))))
    page.write_report(path, page.Report("Which pretrained network", _said(best, sample), sections=sections))
