"""``astroclf runs`` over real records and run folders."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from astroclf.evaluation.intervals import intervals_and_baselines
from astroclf.evaluation.predictions import Predictions, write_predictions
from astroclf.registry.versions import RegisteredModel
from astroclf.run.folder import RunFolder
from astroclf.runs import main
from astroclf.tracking.client import connect
from astroclf.tracking.mlflow import MlflowTracker

Command = Callable[..., tuple[int, str, str]]
CLASSES = ("Merging", "Round")


def answers(wrong: int, images: int = 40) -> Predictions:
    labels = np.arange(images) % 2
    said = np.where(np.arange(images) < wrong, 1 - labels, labels)
    ids = np.array([f"{place}.png" for place in range(images)])
    return Predictions(CLASSES, ids, np.eye(2)[said] * 0.8 + 0.1, np.full(images, 0.1), labels=labels)


def leave_run(folder: Path, wrong: int, lr: float, tracker: MlflowTracker | None = None, dataset: str = "g10") -> None:
    """Leave what a finished training leaves in its folder."""
    folder.mkdir(parents=True)
    predictions = answers(wrong)
    metrics = {f"test/{name}": value for name, value in predictions.metrics().items()}
    metrics |= {f"test/{name}": value for name, value in intervals_and_baselines(predictions).items()}
    run = RunFolder(folder)
    run.write_config(config(lr, dataset), "astroclf train")
    write_predictions(folder / "predictions.csv", predictions)
    if tracker is not None:
        tracker.log_metrics(metrics, 0)
        tracker.log_artifact(folder / "predictions.csv")
        tracker.close()
    run.write_metrics({**metrics, "run/mlflow_id": tracker.run_id if tracker else "", "run/seconds": 61.0})


def config(lr: float, dataset: str) -> dict:
    return {"dataset": {"name": dataset, "cache_dir": f"/{lr}"}, "optimizer": {"lr": lr}, "seed": 0}


@pytest.fixture(scope="module")
def template(made_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three runs in MLflow: two of one data set, one of another that failed, and a trial of a sweep."""
    desk = tmp_path_factory.mktemp("runs")
    shutil.copy(made_database, desk / "mlflow.db")
    uri = f"sqlite:///{desk / 'mlflow.db'}"
    for name, wrong, lr in (("first", 12, 0.001), ("second", 2, 0.003)):
        folder = desk / "experiments" / "runs" / "g10" / f"2026-11-2{wrong % 10}_02-16-10-{name}"
        tags = {"run_folder": str(folder), "command": f"astroclf train optimizer.lr={lr}"}
        params = config(lr, "g10")
        tracker = MlflowTracker(uri, "e", desk / "artifacts", run_name=name, params=params, tags=tags)
        leave_run(folder, wrong, lr, tracker)
    other = {"run_folder": str(desk / "gone")}
    failed = MlflowTracker(uri, "e", desk / "artifacts", run_name="third", params=config(1, "astro8"), tags=other)
    failed.close("FAILED")
    sweep = MlflowTracker(uri, "e", desk / "artifacts", run_name="a sweep", tags={"sweep_folder": "s"})
    trial = MlflowTracker(uri, "e", parent_run_id=sweep.run_id, run_name="#0 lr=1", params=config(1, "g10"), tags=other)
    trial.close()
    sweep.close()
    return desk


@pytest.fixture
def runs(template: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(template)

    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        out, err = capsys.readouterr()
        return status, out, err

    return run


def listed(text: str) -> list[str]:
    return [row["name"] for row in csv.DictReader(io.StringIO(text))]


def test_the_table_has_the_newest_runs_first_and_fits_the_terminal(runs: Command) -> None:
    status, out, _ = runs()
    assert status == 0
    lines = out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].strip() == "3 runs"
    words = "\n".join(lines)
    assert words.index("third") < words.index("second") < words.index("first")
    assert "(failed)" in words
    assert "0.950" in words
    assert ".83–.99" in words
    assert "a sweep" not in words


def test_runs_are_filtered_sorted_and_counted(runs: Command) -> None:
    assert listed(runs("format=csv")[1]) == ["third", "second", "first"]
    assert listed(runs("format=csv", "sort=accuracy")[1]) == ["second", "first", "third"]
    assert listed(runs("format=csv", "sort=test/ece", "limit=1")[1]) == ["second"]
    assert listed(runs("format=csv", "data=g10", "limit=1")[1]) == ["second"]
    assert listed(runs("format=csv", "status=failed")[1]) == ["third"]
    assert listed(runs("format=csv", "trials=true")[1])[0] == "#0 lr=1"
    assert "1 of 3 runs" in runs("limit=1")[1]


def test_programs_get_whole_numbers(runs: Command) -> None:
    first = json.loads(runs("format=json", "sort=accuracy")[1])[0]
    assert first["test/accuracy"] == 0.95
    assert first["test/accuracy_low"] == pytest.approx(0.8308, abs=1e-4)
    assert (first["dataset"], first["status"]) == ("g10", "finished")
    assert first["command"] == "astroclf train optimizer.lr=0.003"


def test_two_runs_are_compared_in_configuration_and_image_by_image(runs: Command) -> None:
    status, out, _ = runs("compare", "first", "second")
    assert status == 0
    assert all(len(line) <= 80 for line in out.splitlines() if "interval" not in line and "McNemar" not in line)
    words = " ".join(out.split())
    assert "optimizer.lr 0.001 0.003" in words
    assert "cache_dir" not in words
    assert "test/accuracy 0.7000 0.9500" in words
    assert "accuracy: B +25.0 points, 95 % interval [+12.5, +40.0]: more than chance." in words
    assert "Of 40 test images only A got 0 right, only B 10 (exact McNemar test: p = 0.002)." in words
    known = json.loads(runs("compare", "first", "second", "format=json")[1])
    assert known["config"] == {"optimizer.lr": ["0.001", "0.003"]}
    assert known["paired"]["accuracy"]["difference"] == pytest.approx(0.25)
    assert (known["paired"]["only_one"], known["paired"]["only_other"]) == (0, 10)
    worse = " ".join(runs("compare", "second", "first")[1].split())
    assert "accuracy: B -25.0 points, 95 % interval [-40.0, -12.5]: more than chance." in worse
    rows = list(csv.DictReader(io.StringIO(runs("compare", "first", "second", "format=csv")[1])))
    assert {"config", "figure"} == {row["what"] for row in rows}


def test_a_run_answers_to_its_folder_its_id_its_name_and_its_model(runs: Command, template: Path) -> None:
    uri = f"sqlite:///{template / 'mlflow.db'}"
    ids = {row["name"]: row["id"] for row in csv.DictReader(io.StringIO(runs("format=csv")[1]))}
    client = connect(uri)
    if "g10" not in {model.name for model in client.search_registered_models()}:
        client.create_registered_model("g10")
        client.create_model_version("g10", "somewhere", run_id=ids["second"])
        client.set_registered_model_alias("g10", "champion", "1")
    assert RegisteredModel(uri, "g10").version(1).run_id == ids["second"]
    folder = next((template / "experiments" / "runs" / "g10").glob("*-second"))
    for name in (ids["second"], ids["second"][:6], str(folder), folder.name, "g10", "models:/g10/1", "g10@champion"):
        words = runs("compare", "first", name)[1]
        assert f"B  second  {ids['second'][:8]}" in words, name


def test_predictions_come_from_mlflow_where_the_folder_is_elsewhere(
    runs: Command, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(template / "experiments", tmp_path / "experiments")
    try:
        assert "only B 10" in " ".join(runs("compare", "first", "second")[1].split())
    finally:
        shutil.move(tmp_path / "experiments", template / "experiments")


def test_runs_that_answer_other_questions_are_not_paired_but_shown(runs: Command) -> None:
    status, out, _ = runs("compare", "first", "third")
    assert status == 0
    assert "Not compared image by image:" in out
    assert "test/accuracy 0.7000 –" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["compare", "first", "secnd"], "There is no run secnd. Did you mean 'second'"),
        (["compare", "first"], "Say which two runs to compare"),
        (["list", "first"], "astroclf runs compare A B"),
        (["compare", "first", "models:/nothing/1"], "There is no registered model 'nothing'"),
        (["data=g11"], "No run has the data set 'g11'. Did you mean 'g10'?"),
        (["sort=acuracy"], "no run has a metric of that name. Did you mean"),
        (["compair", "first", "second"], "compare"),
    ],
)
def test_what_is_not_there_is_answered_with_the_nearest(runs: Command, words: list[str], said: str) -> None:
    status, _, err = runs(*words)
    assert status != 0
    assert said in " ".join(err.split())


def test_without_a_database_the_folders_of_runs_are_read(
    runs: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "No run is recorded" in runs()[1]
    here = Path("experiments/runs")
    leave_run(here / "g10" / "2026-11-21_02-16-10-aaaaaa", 12, 0.001)
    leave_run(here / "g10" / "2026-11-22_02-16-10-bbbbbb", 2, 0.003)
    (here / "g10" / "2026-11-22_02-16-10-bbbbbb" / "metrics.json").unlink()
    assert listed(runs("format=csv")[1]) == ["2026-11-22_02-16-10-bbbbbb", "2026-11-21_02-16-10-aaaaaa"]
    assert "(unfinished)" in runs()[1]
    words = " ".join(
        runs("compare", "2026-11-21_02-16-10-aaaaaa", str(here / "g10" / "2026-11-22_02-16-10-bbbbbb"))[1].split()
    )
    assert "optimizer.lr 0.001 0.003" in words
    assert "only B 10" in words
    assert not Path("mlflow.db").exists()


def test_equal_answers_show_no_difference() -> None:
    from astroclf.evaluation.compare import mcnemar, paired_bootstrap

    one = answers(4)
    assert paired_bootstrap(one, replace(one), resamples=50).p_value == 1.0
    assert mcnemar(0, 10) == pytest.approx(2 * 0.5**10)


def test_a_report_is_written_again_beside_its_run_and_says_what_can_no_longer_be_had(
    runs: Command, template: Path
) -> None:
    folder = next((template / "experiments" / "runs" / "g10").glob("*second"))
    status, out, _ = runs("report", "second")
    assert status == 0
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert f"Report    {folder / 'report.html'}" in out
    assert "38 of 40 test images are classified as their label says" in page
    assert "Without pictures: " in page
    assert "The page is without heat maps: " in out


def test_the_copy_of_a_run_gets_the_page_and_not_the_run_that_it_is_of(
    runs: Command, template: Path, tmp_path: Path
) -> None:
    folder = next((template / "experiments" / "runs" / "g10").glob("*first"))
    (folder / "report.html").write_text("as it was", encoding="utf-8")
    shutil.copytree(folder, tmp_path / "copy")
    assert runs("report", str(tmp_path / "copy"))[0] == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == "as it was"
    assert "28 of 40" in (tmp_path / "copy" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["report"], "Say which run to report again"),
        (["report", "first", "second"], "Say which run to report again"),
        (["report", "third"], "cannot be had"),
    ],
)
def test_what_cannot_be_reported_again_is_said(runs: Command, words: list[str], said: str) -> None:
    status, _, err = runs(*words)
    assert status == 1
    assert said in " ".join(err.split())
