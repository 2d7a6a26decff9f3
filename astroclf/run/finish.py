"""What a finished training leaves: its test, predictions, plots, report, package, registered version, metrics."""

from __future__ import annotations

import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from rich.table import Table

from astroclf.engine.checkpoint import load_checkpoint, weights_of
from astroclf.engine.trainer import FitResult
from astroclf.errors import CheckpointError
from astroclf.evaluation.answering import AnsweringFit, answer_metrics, fit_answering
from astroclf.evaluation.forward import evaluate
from astroclf.evaluation.intervals import intervals_and_baselines
from astroclf.evaluation.predictions import Predictions, write_predictions
from astroclf.evaluation.report.of_run import draw_plots
from astroclf.evaluation.results_table import results_table
from astroclf.evaluation.suspects import find_suspects, write_suspects
from astroclf.inference.predictor import Predictor
from astroclf.run.build import Run
from astroclf.run.environment import environment
from astroclf.run.record import what_it_is
from astroclf.run.registration import embedded, package_tested, register_tested, with_interval
from astroclf.run.report import RunReport, shown_of, with_heat_maps
from astroclf.util.logs import log, log_to_file
from astroclf.util.terminal import console


def trained_metrics(run: Run, fitted: FitResult) -> dict[str, Any]:
    """Return what ``metrics.json`` says of the training."""
    return {
        **{name: value for name, value in fitted.best.items() if name.startswith("val/")},
        "model/parameters": sum(parameter.numel() for parameter in run.network.parameters()),
        "train/steps": fitted.steps,
        "train/best_step": fitted.best["step"],
        "train/skipped_steps": fitted.skipped_steps,
        "train/stopped_early": fitted.stopped_early,
        "train/images_per_second": fitted.images_per_second,
        "train/data_wait_fraction": fitted.data_wait_fraction,
        "train/seconds": fitted.seconds["training"],
        "train/validation_seconds": fitted.seconds["validation"],
        **{f"run/{name}": peak for name, peak in fitted.memory_peaks.items()},
        "run/seconds": time.monotonic() - run.started + fitted.earlier_seconds,
        "run/mlflow_id": run.tracker.run_id or "",
        **{f"run/{name}": value for name, value in run.data.fingerprints.items()},
    }


def finish(run: Run, fitted: FitResult) -> None:
    """Test the best weights, once, and record it, in an order that loses nothing.

    The numbers come first, the registry after, ``metrics.json`` last.

    Raises
    ------
    AstroclfError
        ``best.pt`` is of another step than the best validation, or something cannot be written or registered.
    """
    folder, tracker = run.folder.path, run.tracker
    weights, began = _best_weights(run, fitted), time.monotonic()
    run.network.load_state_dict(weights)
    fit = _fit_answering(run)
    own = _said_of(run, "test")
    predictions = fit.answering(own)
    tested = time.monotonic()
    metrics: dict[str, Any] = {
        **{f"test/{name}": value for name, value in answer_metrics(own, predictions).items()},
        **{f"calibration/{name}": value for name, value in fit.figures().items()},
        **{f"test/{name}": value for name, value in intervals_and_baselines(predictions).items()},
        "test/images": len(predictions),
        "run/calibration": " ".join(fit.sentences),
        **trained_metrics(run, fitted),
        "run/test_seconds": tested - began,
        "run/setup_seconds": max(0.0, began - run.started + fitted.earlier_seconds - sum(fitted.seconds.values())),
    }
    facts, pictures = _facts(run), shown_of(run.data.cache, run.data.splits.test)
    write_predictions(folder / "predictions.csv", predictions)
    suspects = find_suspects(predictions.probabilities, predictions.truth)
    write_suspects(folder / "suspects.csv", suspects.of(predictions))
    if run.data.whole is None:
        draw_plots(folder, predictions, pictures, before=own)
    report = RunReport(run, predictions, pictures, suspects, facts, trust=" ".join(fit.sentences))
    report.write(metrics)
    _show(results_table(metrics, predictions, "Part of the test set, no result" if run.data.whole else "Test set"))
    numbers = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
    tracker.log_metrics({name: value for name, value in numbers.items() if not name.startswith("val/")}, 0)
    tracker.flush()
    # Before the version may become champion: whoever is compared with it reads them there.
    tracker.log_artifact(folder / "predictions.csv")
    decision = None
    if run.data.whole is None:
        predictor = package_tested(run, fit.answering, facts, metrics, weights)
        metrics |= _unlike_training(run, predictor)
        report = replace(report, pictures=with_heat_maps(pictures, predictions, predictor))
        decision = register_tested(run, facts, metrics, predictions)
        report.write(metrics, decision)
    else:
        tracker.set_tags({"partial_test": run.data.caveat})
    what, *how = what_it_is(run.config, run.data, run.folder, run.command)
    texts = (what, *_result(metrics), run.data.caveat, *how)  # the page shows the beginning alone
    tracker.describe("\n\n".join(filter(None, texts)))
    run.folder.write_metrics(metrics)
    texts_of_run = (
        "config.yaml",
        "metrics.json",
        "history.csv",
        "steps.csv",
        "suspects.csv",
        "report.html",
        "model.txt",
    )
    for name in (*texts_of_run, "plots"):
        tracker.log_artifact(folder / name)
    log.info("")
    if run.data.caveat:
        log.info("This was %s. Nothing is packaged or registered.", run.data.caveat)
    log.info("Report    %s", folder / "report.html")
    if decision is not None:
        log.info("Model     %s %s.", metrics["run/model"], decision.sentence)
    log.info("%s", tracker.where_to_look())


def _best_weights(run: Run, fitted: FitResult) -> Mapping[str, torch.Tensor]:
    best = run.trainer.checkpoints.best
    state = load_checkpoint(best)
    if state["train_state"]["step"] != fitted.best["step"]:
        raise CheckpointError(
            f"{best} is of step {state['train_state']['step']}, but the best validation was at step "
            f"{fitted.best['step']}: something else wrote there. Nothing was tested or registered."
        )
    return weights_of(state)


def _fit_answering(run: Run) -> AnsweringFit:
    """Fit on validation what makes answers of the network's predictions, and say what came of it."""
    settings = run.config.evaluation
    fit = fit_answering(
        _said_of(run, "val"),
        None if settings.calibration == "none" else settings.calibration,
        settings.coverage,
        uncertainty_head=run.config.head.uncertainty,
    )
    for sentence in fit.sentences:
        log.info("%s", sentence)
    return fit


def _said_of(run: Run, split: str) -> Predictions:
    """Return what the network itself says of all images of a split, by the views of the test."""
    return evaluate(
        run.network,
        run.criterion,
        run.loaders[split],
        run.trainer.precision,
        run.data.classes,
        ids=run.data.cache.catalog.ids,
        tta_views=run.config.evaluation.tta_views,
    )


def _unlike_training(run: Run, predictor: Predictor) -> dict[str, float]:
    """Return the share of the test images that the model flags as unlike the training images, and record it."""
    if predictor.novelty is None:
        return {}
    novelty_N = predictor.novelty(embedded(predictor, run.data.cache.images, run.data.splits.test))
    found = {"test/unlike_training": float((novelty_N > 1).mean())}
    run.tracker.log_metrics(found, 0)
    return found


def _facts(run: Run) -> dict[str, str]:
    """Gather fingerprints, environment and the like, for the report and the model's description."""
    precision = run.trainer.precision
    return {
        **environment(precision.device),
        "precision": precision.name,
        **run.trainer.description["spec"]["facts"],  # fingerprints, and what it began with
        "run_folder": str(run.folder.path.absolute()),
        "mlflow_run": run.tracker.run_id or "none",
    }


def _result(metrics: Mapping[str, Any]) -> Sequence[str]:
    """Say what came of the run, for the description of its record."""
    tested = (
        f"Test: accuracy {with_interval(metrics, 'accuracy')}, macro F1 {with_interval(metrics, 'macro_f1')} on "
        f"{metrics['test/images']} images. The whole report is the artifact `report.html`."
    )
    if "run/model" not in metrics:
        return (tested,)
    return tested, f"Model: `{metrics['run/model']}` {metrics['run/promotion']}."


def _show(table: Table) -> None:
    """Print the final table, in the terminal and into train.log."""
    console().print(table)
    text = console(file=io.StringIO(), width=80)
    text.print(table)
    log_to_file("test results\n" + text.file.getvalue())  # type: ignore[attr-defined]
