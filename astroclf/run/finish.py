"""What a finished training leaves: predictions, plots, report, package, registered version, metrics."""

from __future__ import annotations

import io
import logging
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from astroclf.data.augment.recipe import Augmentation
from astroclf.data.cache.store import ImageCache
from astroclf.evaluation.inference import Evaluation
from astroclf.evaluation.plots import plot_augmented
from astroclf.evaluation.predictions import Results, results_table, write_metrics, write_predictions
from astroclf.evaluation.report import draw_plots, write_report
from astroclf.models.precision import choose_device, choose_precision
from astroclf.settings.schema import Config
from astroclf.util.logs import log_to_file

if TYPE_CHECKING:
    from astroclf.registry.decision import Decision
    from astroclf.tracking.none import NullTracker

log = logging.getLogger("astroclf")

SHEET_SAMPLES, SHEET_VERSIONS = 6, 7  # of the sheet of augmented samples


def git_commit() -> str:
    """The commit of the code that runs, with ``-dirty`` if it was changed since; empty outside a checkout."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return ""
    ours = [git, "ls-files", "--error-unmatch", here.name]  # an environment may lie in somebody else's repository
    if subprocess.run(ours, cwd=here.parent, capture_output=True, check=False).returncode != 0:
        return ""
    described = subprocess.run(
        [git, "describe", "--always", "--dirty", "--abbrev=12"],
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return described.stdout.strip()


def results_of(evaluation: Evaluation, store: ImageCache) -> Results:
    """An evaluation with the names of its images."""
    return Results(
        classes=store.table.classes,
        ids=store.table.ids[evaluation.rows],
        labels=evaluation.labels.numpy(),
        probabilities=evaluation.probabilities.numpy(),
        uncertainty=evaluation.uncertainty.numpy(),
    )


def draw_augmented(store: ImageCache, rows: np.ndarray, augmentation: Augmentation, seed: int, path: Path) -> Path:
    """A sheet of training images beside what the network sees of them in the first epochs; one class after another."""
    labels = store.table.labels[rows]
    first_of_class = [rows[np.flatnonzero(labels == label)[0]] for label in np.unique(labels)]
    chosen = np.array(first_of_class[:SHEET_SAMPLES])
    originals = np.asarray(store.images[chosen])
    pixels_BHWC = torch.from_numpy(originals.copy())
    seen = [
        augmentation.to_uint8(augmentation(pixels_BHWC, augmentation.draw(seed, epoch, chosen)))
        for epoch in range(SHEET_VERSIONS)
    ]
    names = [store.table.classes[label] for label in store.table.labels[chosen]]
    return plot_augmented(originals, np.stack([np.asarray(images) for images in seen], axis=1), names, path)


def environment(device: torch.device) -> dict[str, str]:
    """What the run's numbers depend on beside its config."""
    return {
        "astroclf": f"{version('astroclf')} {git_commit()}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}",
    }


class Records:
    """Writes the results of one run.

    Parameters
    ----------
    config : Config
    folder : Path
        The run folder.
    store : ImageCache
    tracker : NullTracker
    facts : mapping
        Fingerprints, environment and the like, for the report and the model's description.
    command : str
        That repeats the run.
    """

    def __init__(
        self,
        config: Config,
        folder: Path,
        store: ImageCache,
        tracker: NullTracker,
        facts: Mapping[str, str],
        command: str,
    ) -> None:
        self.config, self.folder, self.store, self.tracker = config, folder, store, tracker
        self.facts, self.command = facts, command

    def write(
        self, test: Evaluation, metrics: dict[str, Any], weights: Mapping[str, torch.Tensor], activation: str
    ) -> None:
        """Everything, in an order that loses nothing: the numbers first, the registry after, metrics.json last."""
        results = results_of(test, self.store)
        write_predictions(self.folder / "predictions.csv", results)
        images = _Images(self.store, test.rows)
        draw_plots(self.folder, results, images)
        write_report(
            self.folder,
            results,
            metrics,
            title=f"{self.config.dataset['name']}: {_class_name(self.config.backbone.target)}",
            command=self.command,
            images=images,
            facts=self.facts,
        )
        self._show(results_table(metrics, results))
        package = self._package(weights, activation, metrics)
        final = {name: value for name, value in metrics.items() if isinstance(value, (int, float))}
        self.tracker.log_metrics({name: value for name, value in final.items() if not name.startswith("val/")}, 0)
        self.tracker.flush()
        # Before it may become champion: whoever is compared with it reads them there.
        self.tracker.log_artifact(self.folder / "predictions.csv")
        number = self._register(package, metrics)
        if number is not None:
            decision = self._pass_gate(number, results, images)
            model = f"models:/{self._model_name}/{number}"
            metrics |= {"run/model": model, "run/alias": decision.alias, "run/promotion": decision.sentence}
        write_metrics(self.folder / "metrics.json", metrics)
        self._log_files()
        log.info("")
        log.info("Report    %s", self.folder / "report.html")
        if number is not None:
            log.info("Model     %s %s.", model, decision.sentence)
        log.info("%s", self.tracker.where_to_look())

    def _package(self, weights: Mapping[str, torch.Tensor], activation: str, metrics: Mapping[str, Any]) -> Path:
        from astroclf.registry.package import write_package

        config = self.config
        backbone = {**config.backbone.to_dict(), "weights": None}
        head = {key: value for key, value in vars(config.head).items() if key != "uncertainty_weight"}
        spec = {
            "backbone": backbone,
            "head": head,
            "classes": list(self.store.table.classes),
            "image_size": config.dataset["image_size"],
            "channels": config.dataset["channels"],
            "fits": config.dataset.options.get("fits"),  # how files become pixels, for whoever predicts on files
            "activation": activation,
            "augment": config.augment.options,
            "tta_views": config.evaluation.tta_views,
            "facts": dict(self.facts),
            "metrics": {name: value for name, value in metrics.items() if isinstance(value, (int, float))},
        }
        folder = self.folder / "model"
        shutil.rmtree(folder, ignore_errors=True)  # of a test that was interrupted before it was complete
        return write_package(folder, spec, weights)

    @property
    def _model_name(self) -> str:
        return str(self.config.tracking.options.get("model_name") or self.config.dataset["name"])

    def _register(self, package: Path, metrics: Mapping[str, Any]) -> int | None:
        """The number of the registered version; None where nothing is registered."""
        options = self.config.tracking.options
        if not options.get("register") or self.tracker.run_id is None:
            return None
        from astroclf.registry.models import register

        lines = [
            f"**{_class_name(self.config.backbone.target)}** trained on {self.config.dataset['name']}.",
            "",
            f"Test accuracy {metrics['test/accuracy']:.4f}, macro F1 {metrics['test/macro_f1']:.4f} "
            f"on {metrics['test/images']} images (fingerprint `{metrics['run/test_fingerprint']}`).",
            "",
            f"Repeat it with `{self.command}`.",
        ]
        tags = {
            **self.facts,
            **{key: metrics[key] for key in ("test/accuracy", "test/macro_f1", "test/loss", "test/ece")},
        }
        text = "\n".join(lines)
        return register(options["uri"], package, self._model_name, self.tracker.run_id, tags=tags, description=text)

    def _pass_gate(self, number: int, results: Results, images: Sequence[np.ndarray]) -> Decision:
        from astroclf.registry.gate import pass_gate

        config = self.config
        precision = choose_precision(config.trainer.precision, choose_device(config.trainer.device))  # as in the test
        uri = config.tracking["uri"]
        return pass_gate(uri, self._model_name, number, results, images, precision, config.promotion)

    def _log_files(self) -> None:
        for name in ("config.yaml", "metrics.json", "history.csv", "report.html", "model.txt"):
            self.tracker.log_artifact(self.folder / name)
        self.tracker.log_artifact(self.folder / "plots")

    def _show(self, table: Table) -> None:
        """The final table, in the terminal and in train.log."""
        Console().print(table)
        text = Console(file=io.StringIO(), width=80)
        text.print(table)
        log_to_file("test results\n" + text.file.getvalue())  # type: ignore[attr-defined]


class _Images(Sequence[np.ndarray]):
    """The test images by their place in the results, read from the store when asked for."""

    def __init__(self, store: ImageCache, rows: np.ndarray) -> None:
        self.store, self.rows = store, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:  # type: ignore[override]
        return self.store.images[self.rows[index]]


def _class_name(target: str) -> str:
    return target.rpartition(".")[2]
