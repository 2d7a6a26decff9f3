"""From a typed command to a registered model, and what happens when it is stopped."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from astroclf.engine.checkpoint import load_checkpoint
from astroclf.registry.load import load
from astroclf.train import main
from tests.end_to_end.conftest import SMALL, only_run
from tests.engine.test_trainer import assert_equal_states
from tests.on_gpu import gpu
from tests.processes import wait_for


def test_a_run_leaves_what_the_contract_names_and_a_model_that_loads(train, tmp_path):
    done = train(
        *SMALL, "trainer.epochs=2", "loss=cb_focal", "tracking.tensorboard=true", "evaluation.tta_views=8",
        "dataset.val_fraction=0.2", "evaluation.novel_share=0.2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    names = {str(path.relative_to(run)) for path in run.rglob("*")}
    assert {
        "config.yaml", "metrics.json", "history.csv", "steps.csv", "predictions.csv", "report.html", "train.log",
        "model.txt",
        "checkpoints/last.pt", "checkpoints/best.pt", "plots/loss.png", "plots/confusion.png", "plots/augmented.png",
    } <= names  # fmt: skip
    assert any(name.startswith("tensorboard/events") for name in names)

    metrics = json.loads((run / "metrics.json").read_text())
    assert {
        "test/accuracy", "test/macro_f1", "test/loss", "test/ece", "test/Merging/accuracy", "train/images_per_second",
        "train/data_wait_fraction", "run/mlflow_id", "run/test_fingerprint",
    } <= set(metrics)  # fmt: skip
    rows = list(csv.DictReader((run / "predictions.csv").read_text().splitlines()))
    assert len(rows) == metrics["test/images"]
    assert sum(row["label"] == row["prediction"] for row in rows) / len(rows) == pytest.approx(
        metrics["test/accuracy"], abs=1e-6
    )
    assert "accuracy" in done.stdout
    said = " ".join(done.stdout.split())
    assert "models:/galaxy10_sim/1 stays challenger: the first of galaxy10_sim" in said
    assert f"but it was tested on {len(rows)} images, and promotion.min_test_images is 100" in said
    assert metrics["run/alias"] == "challenger"
    page = (run / "report.html").read_text()
    assert 'alt="where the model looked"' in page
    assert "images unlike the training images" in page
    assert 0 < metrics["test/unlike_training"] < 0.6
    assert {"test/log_loss", "test/log_loss_raw", "test/ece_equal_mass_raw", "test/aurc"} <= metrics.keys()
    assert {"calibration/images", "calibration/gain", "calibration/gain_low"} <= metrics.keys()
    assert np.mean([row["label"] in row["prediction_set"].split("|") for row in rows]) == metrics["test/coverage"]
    assert metrics["test/accuracy_low"] <= metrics["test/accuracy"] <= metrics["test/accuracy_high"]

    import mlflow

    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    recorded = mlflow.MlflowClient(uri).get_run(metrics["run/mlflow_id"])
    assert recorded.info.status == "FINISHED"
    assert recorded.data.params["loss.gamma"] == "2.0"
    assert recorded.data.tags["test_fingerprint"] == metrics["run/test_fingerprint"]
    for name in ("test/accuracy", "test/unlike_training"):
        assert recorded.data.metrics[name] == pytest.approx(metrics[name])
    model = mlflow.pyfunc.load_model("models:/galaxy10_sim/1")
    for count in (1, 3, 17):
        answer = model.predict(np.random.default_rng(0).integers(0, 255, (count, 32, 32, 3), dtype=np.uint8))
        assert len(answer) == count
        assert {"label", "confidence", "uncertainty"} <= set(answer.columns)
        probabilities = answer.filter(like="p_")
        assert probabilities.shape[1] == 10
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)

    again = train(f"resume={run}")
    assert again.returncode == 0
    assert "complete" in again.stdout


STOPPABLE = (
    *SMALL,
    "trainer.epochs=4",
    "trainer.ema_decay=0.9",
    "tracking.register=false",
    "trainer.save_every_minutes=0.02",
)


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """The run folder of a training that nobody stopped."""
    folder = tmp_path_factory.mktemp("whole")
    done = subprocess.run(
        [sys.executable, "-m", "astroclf.train", *STOPPABLE],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"ASTROCLF_CACHE": str(tmp_path_factory.getbasetemp() / "cache")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return only_run(folder)


@pytest.mark.slow  # two trainings; the fast suite has tests/engine/test_kill_in_a_save.py for the bits
@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda ending: ending.name)
def test_a_stopped_run_resumes_to_the_same_bits_in_the_same_mlflow_run(start, train, tmp_path, never_stopped, ending):
    parts = tmp_path
    process = start(*STOPPABLE)
    history = parts / "experiments" / "runs"
    wait_for(lambda: list(history.glob("*/*/history.csv")), process, seconds=120, every=0.02)
    time.sleep(0.3)
    process.send_signal(ending)
    _out, err = process.communicate(timeout=120)
    run = only_run(parts)
    stopped_at = load_checkpoint(run / "checkpoints" / "last.pt")["train_state"]["step"]
    assert 0 < stopped_at < 24
    model = load(run / "checkpoints" / "last.pt", device="cpu")  # what a killed run leaves is a model all the same
    assert (model.spec.image_size, len(model.classes)) == (32, 10)
    assert len(model.seen.train) > len(model.seen.val) > 0
    if ending == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 128 + ending
        assert f"  python -m astroclf.train resume={run.relative_to(parts)}\n" in err
        assert "Traceback" not in err

    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{parts / 'mlflow.db'}")
    (recorded,) = client.search_runs([client.get_experiment_by_name("astroclf").experiment_id])
    assert recorded.info.status == ("RUNNING" if ending == signal.SIGKILL else "KILLED")

    done = train(f"resume={run.relative_to(parts)}")
    assert done.returncode == 0, done.stderr
    states = [load_checkpoint(folder / "checkpoints" / "last.pt") for folder in (never_stopped, run)]
    for state in states:
        del state["tracker"]
    assert_equal_states(*states)
    for name in ("history.csv", "predictions.csv"):
        assert (never_stopped / name).read_bytes() == (run / name).read_bytes()

    (recorded,) = client.search_runs([client.get_experiment_by_name("astroclf").experiment_id])
    assert recorded.info.status == "FINISHED"
    points = client.get_metric_history(recorded.info.run_id, "val/loss")
    assert [point.step for point in points] == [6, 12, 18, 24]


@pytest.mark.slow
def test_several_runs_with_multirun(train, tmp_path):
    done = train("-m", *SMALL, "trainer.epochs=1", "tracking=none", "seed=0,1")
    assert done.returncode == 0, done.stderr
    found = list((tmp_path / "experiments" / "sweeps").glob("*/*/metrics.json"))
    assert sorted(path.parent.name for path in found) == ["0", "1"]


@pytest.mark.slow
def test_sky_objects_in_folders_with_fits_files(train, tmp_path):
    done = train(
        "dataset=astro8_sim", "dataset.samples_per_class=8", "dataset.image_size=64", "backbone=custom6conv",
        "augment=astro8", "augment.output_size=48", "head.refinement=true", "head.attention=true",
        "trainer.epochs=1", "trainer.batch_size=8",
        "dataset.exclude_classes=[constellation]", "tracking=none", "loss=focal", "scheduler=cosine", "optimizer=sgd",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert "test/nebula/accuracy" in metrics
    assert "test/constellation/accuracy" not in metrics


UNRECORDED = ("backbone=custom6conv", "tracking=none")


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ([*UNRECORDED, "dataset=galaxy10"], "dataset.path"),
        ([*UNRECORDED, "dataset=galaxy10", "dataset.path=nowhere.h5"], "nowhere.h5"),
        (["backbone=custom6conv", "dataset=galaxy10", "dataset.path=nowhere.h5"], "nowhere.h5"),
        ([*SMALL, "tracking.uri=postgresql://host/name"], "tracking.artifact_root=s3://bucket/runs"),
        ([*UNRECORDED, "dataset=astro8", "dataset.image_size=64", "dataset.path=nowhere"], "nowhere"),
        ([*SMALL, "tracking=none", "backbone=resnet18", "backbone.weights=nowhere.pth"], "nowhere.pth"),
        (
            [*UNRECORDED, "dataset=galaxy10", "dataset.path=nowhere.h5", "augment.brightness=-1"],
            "augment.brightness=-1",
        ),
        ([*SMALL, "tracking.uri=sqlite:////proc/nowhere/mlflow.db"], "/proc/nowhere"),
    ],
)
def test_what_a_user_gets_wrong_ends_in_one_paragraph(monkeypatch, capsys, tmp_path, overrides, says):
    monkeypatch.chdir(tmp_path)
    assert main([*overrides]) == 1
    said = capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []  # no database, no lock, no run folder
    assert says in " ".join(said.split())
    assert "Traceback" not in said
    assert said.count("Error:") == 1


@pytest.mark.slow
def test_what_may_change_when_a_run_is_resumed(train, tmp_path, clean_environment):
    folder = "out/a run, one"
    arguments = (*SMALL, "trainer.epochs=2", "trainer.keep_every=1", "tracking=none", f"hydra.run.dir='{folder}'")
    assert train(*arguments).returncode == 0
    run = tmp_path / folder
    metrics = json.loads((run / "metrics.json").read_text())

    refused = train(f"resume='{folder}'", "trainer.epochs=3")
    assert refused.returncode == 1
    assert "is complete" in refused.stderr

    (run / "metrics.json").unlink()
    for change, says in (("trainer.batch_size=8", "cannot change"), ("trainer.epoch=3", "'trainer.epochs'")):
        refused = train(f"resume='{folder}'", change)
        assert refused.returncode == 1
        assert says in " ".join(refused.stderr.split())

    # from an older checkpoint: the same end, reached again, and the weights that are tested are its own
    done = train(f"resume='{folder}/checkpoints/epoch-0001.pt'")
    assert done.returncode == 0, done.stderr
    again = json.loads((run / "metrics.json").read_text())
    assert {k: v for k, v in again.items() if k.startswith("test/")} == {
        k: v for k, v in metrics.items() if k.startswith("test/")
    }

    # with more epochs it is not the end, and the config says so
    (run / "metrics.json").unlink()
    done = train(f"resume='{folder}'", "trainer.epochs=3")
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "metrics.json").read_text())["train/steps"] == 18
    assert "epochs: 3" in (run / "config.yaml").read_text()
    assert (run / "config.yaml").read_text().startswith("# python -m astroclf.train dataset.samples=140")


@pytest.mark.slow
def test_the_command_that_a_stopped_run_prints_can_be_pasted(start, tmp_path, shell):
    process = start(*SMALL, "trainer.epochs=40", "tracking=none", "hydra.run.dir='my runs/one'")
    wait_for((tmp_path / "my runs" / "one" / "history.csv").is_file, process, seconds=120, every=0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    (command,) = [line.strip() for line in err.splitlines() if line.startswith("  python -m astroclf.train")]
    step = int(re.search(r"after step (\d+) of", " ".join(err.split()))[1])
    refused = shell(f"{command} trainer.max_steps={step - 1}")
    assert refused.returncode == 1
    assert f"give trainer.max_steps={step};" in " ".join(refused.stderr.split())
    done = shell(f"{command} trainer.max_steps={step}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my runs" / "one" / "metrics.json").is_file()


@gpu
def test_a_run_on_a_gpu(train, tmp_path):
    small = [argument for argument in SMALL if argument != "trainer.device=cpu"]
    done = train(*small, "trainer.device=cuda", "trainer.epochs=2")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((only_run(tmp_path) / "metrics.json").read_text())
    assert metrics["run/gpu_memory_peak_gb"] > 0
