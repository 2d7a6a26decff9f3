"""The report of a finished run, written again from what the run left: after an upgrade, or where the page was lost."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from astroclf.config.validate import config_from_plain
from astroclf.errors import AstroclfError, DataError
from astroclf.evaluation.predictions import Predictions, read_predictions
from astroclf.evaluation.report.answers import Pictures, suspects_section
from astroclf.evaluation.report.of_run import PLOTS_FOLDER, Background, draw_plots, run_report
from astroclf.evaluation.report.page import write_report
from astroclf.evaluation.suspects import find_suspects
from astroclf.inference.predictor import Predictor
from astroclf.registry.package import load_package
from astroclf.run.data import Data, load_data
from astroclf.run.folder import RunFolder
from astroclf.run.record import part_name
from astroclf.run.report import shown_of, with_heat_maps
from astroclf.tracking.recorded import RunRecord, fetch_artifact
from astroclf.use.runs.records import PREDICTIONS_FILE
from astroclf.util.logs import log

_NEEDED = ("config.yaml", "metrics.json", PREDICTIONS_FILE)
_USED = ("model.txt", "history.csv", PLOTS_FOLDER)


def report_again(run: RunRecord, uri: str | None) -> tuple[Path, list[str]]:
    """Write the report of a run once more: into its folder, or, where that is gone, where the user stands.

    Returns
    -------
    path
        Of the page.
    missing : list of str
        What the page has not, for it can no longer be had, with the reason; the page says so itself.

    Raises
    ------
    DataError, TrackingError
        The run was not tested, or what it left cannot be read.
    """
    with _left(run, uri) as folder:
        predictions = read_predictions(folder.path / PREDICTIONS_FILE)
        metrics, plain = _metrics(folder), _config(folder)
        missing: list[str] = []
        model = _or_say(missing, "heat maps", lambda: load_package(folder.path / "model"))
        data = _or_say(missing, "pictures", lambda: _same_data(plain, metrics, predictions))
        pictures = Pictures() if data is None else shown_of(data.cache, data.splits.test)
        if not (folder.path / PLOTS_FOLDER).is_dir():
            draw_plots(folder.path, predictions, pictures)
            missing.append("reliability before calibration: it is kept in the figures of the run alone")
        if model is not None:
            pictures = with_heat_maps(pictures, predictions, model)
        images = f"{len(predictions):,} test"
        if data is not None:
            images = f"{len(data.splits.train):,} training, {len(data.splits.val):,} validation, {images}"
        suspects = find_suspects(predictions.probabilities, predictions.truth)
        page = run_report(
            folder.path,
            predictions,
            metrics,
            _background(run, uri, folder, metrics, plain, images, model, missing),
            pictures,
            [suspects_section(predictions, pictures, suspects)],
        )
        is_there = folder.path == Path(run.folder)
        path = folder.path / "report.html" if is_there else Path(f"report-{run.id[:8]}.html").absolute()
        return write_report(path, page), missing


@contextmanager
def _left(run: RunRecord, uri: str | None) -> Iterator[RunFolder]:
    """Give the folder of a run; where it is gone, a passing one with what MLflow keeps of the run."""
    if run.folder and (Path(run.folder) / PREDICTIONS_FILE).is_file():
        yield RunFolder(Path(run.folder))
        return
    if not run.id or not uri:
        raise DataError(f"The run {run.name} was not tested: it left no {PREDICTIONS_FILE}, and so has no report.")
    with tempfile.TemporaryDirectory(prefix="astroclf-") as folder:
        for name in _NEEDED:
            fetch_artifact(uri, run.id, name, folder)
        for name in _USED:
            try:
                fetch_artifact(uri, run.id, name, folder)
            except AstroclfError as error:
                log.info("%s", error)
        yield RunFolder(Path(folder))


def _metrics(folder: RunFolder) -> dict[str, Any]:
    try:
        metrics = folder.metrics()
    except (OSError, json.JSONDecodeError, TypeError, ValueError) as error:
        raise DataError(f"{folder.metrics_file} cannot be read ({error}).") from error
    if metrics is None or "test/accuracy" not in metrics:
        raise DataError(f"{folder.path} is of a run that was not tested to its end: it has no report.")
    return metrics


def _config(folder: RunFolder) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(folder.config_file.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, yaml.YAMLError) as error:
        raise DataError(f"{folder.config_file} cannot be read ({error}).") from error


def _or_say(missing: list[str], what: str, get: Any) -> Any:
    """Return what can be had; else None, and add the reason."""
    try:
        return get()
    except AstroclfError as error:
        missing.append(f"{what}: {' '.join(str(error).split())}")
        return None


def _same_data(plain: Mapping[str, Any], metrics: Mapping[str, Any], predictions: Predictions) -> Data:
    """Return the data set of a run, if it is still what the run was tested on.

    Raises
    ------
    AstroclfError
        It is gone or changed, or this version of astroclf does not know the run's configuration.
    """
    data = load_data(config_from_plain(plain))
    if data.splits.fingerprints["test"] != metrics.get("run/test_fingerprint"):
        raise DataError("the data set has changed since: its test images are others.")
    if data.cache.catalog.ids[data.splits.test].tolist() != predictions.ids.tolist():
        raise DataError(f"the names of the test images are not those in {PREDICTIONS_FILE}.")
    return data


def _background(
    run: RunRecord,
    uri: str | None,
    folder: RunFolder,
    metrics: Mapping[str, Any],
    plain: Mapping[str, Any],
    images: str,
    model: Predictor | None,
    missing: list[str],
) -> Background:
    facts = {} if model is None else dict(model.spec.facts)
    dataset, backbone = plain.get("dataset") or {}, plain.get("backbone") or {}
    what = {
        "data": str(dataset.get("path") or dataset.get("_target_", "")),
        "images": images,
        "data fingerprint": str(metrics.get("run/data_fingerprint", "")),
        "test fingerprint": str(metrics.get("run/test_fingerprint", "")),
        "code": str(facts.get("astroclf", "")),
        "run folder": run.folder,
        "record": f"run {run.id} in {uri}" if run.id and uri else "",
        "model": f"{metrics['run/model']} {metrics.get('run/promotion', '')}." if "run/model" in metrics else "",
        "this page": " ".join(["written again from what the run left.", *(f"Without {each}" for each in missing)]),
    }
    return Background(
        title=f"{dataset.get('name', run.dataset)}: {part_name(str(backbone.get('_target_', '')))}",
        command=folder.command(),
        what={name: value for name, value in what.items() if value},
        facts=facts,
        trust=str(metrics.get("run/calibration", "")),
    )
