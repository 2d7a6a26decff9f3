from __future__ import annotations

from optuna.trial import TrialState

from astroclf.sweep.view.summary import summary_text

COMMAND = "astroclf train --config-dir experiments/sweeps/galaxy10/conf experiment=galaxy10"


def keep_checkpoint(trial, root):
    folder = root / "experiments" / "sweeps" / "galaxy10" / str(trial.number)
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.pt").touch()
    trial.set_user_attr("folder", str(folder))


def test_the_summary_says_what_came_out_and_how_to_go_on(trials, study_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = trials(30, running=0)
    for number in (9, 22, 25):  # the others' checkpoints were dropped
        keep_checkpoint(some[number], tmp_path)
    text = summary_text(
        study_of(some), ["val/accuracy"], experiment_command=COMMAND,
        places={"Model": "models:/galaxy10/3", "MLflow": "mlflow ui"},
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[0] == "Sweep galaxy10: 30 trials, 18 complete, 10 pruned, 2 failed."
    assert lines[1].startswith("Training took 1:02:42 over all trials, 7% of it ")
    assert lines[1].endswith("in pruned ones and 2% of it in failed ones.")
    assert "Failed: trial 8: the loss is nan" in lines
    assert "Best: trial 25, val/accuracy 0.8626" in lines
    assert "  optimizer.lr=0.0009134840540103571" in lines
    assert lines[lines.index("Train with the parameters of trial 25 again:") + 1] == f"  {COMMAND}"
    assert lines[lines.index("Test and register another trial, such as trial 9 (val/accuracy 0.8506):") + 1] == (
        "  astroclf train resume=experiments/sweeps/galaxy10/9"
    )
    assert lines[-2:] == ["Model   models:/galaxy10/3", "MLflow  mlflow ui"]


def test_another_winner_than_the_best_is_told(trials, study_of, tmp_path):
    some = trials(12, running=0)
    for number in (1, 9):
        keep_checkpoint(some[number], tmp_path)
    text = summary_text(study_of(some), ["val/accuracy"], experiment_command=COMMAND, chosen=some[4])
    assert "Chosen: trial 4, val/accuracy 0.8483" in text
    assert "Train with the parameters of trial 4 again:" in text
    assert "such as trial 9 (val/accuracy 0.8506)" in text


def test_several_objectives_show_their_front(trials, study_of):
    study = study_of(trials(30, objectives=2), ["maximize", "minimize"])
    text = summary_text(study, ["val/accuracy", "val/loss"], experiment_command=COMMAND)
    front = [line for line in text.splitlines() if line.startswith("  trial ")]
    assert [int(line.split()[1]) for line in front] == [17, 19, 18, 22, 12]
    assert front[0].startswith("  trial 17   val/accuracy 0.8658, val/loss 3.7773  backbone=resnet18 loss=cb_focal ")
    assert "Chosen: trial 17, val/accuracy 0.8658, val/loss 3.7773" in text
    assert "register another" not in text  # nothing of it is left on this disk


def test_the_same_failure_is_told_once(trial, study_of):
    some = [
        trial(n, TrialState.FAIL, seconds=30, attrs={"reason": "out of\n memory" if n % 2 else f"reason {n}"})
        for n in range(16)
    ]
    text = summary_text(study_of(some), ["val/accuracy"], experiment_command=COMMAND)
    lines = [line for line in text.splitlines() if line.startswith("Failed")]
    assert lines[0] == "Failed: trial 1, 3, 5, 7, 9, 11, 13, 15: out of memory"
    assert len(lines) == 6
    assert lines[-1] == "Failed: 4 other reasons"
    assert "No trial was trained to its end" in text
    assert COMMAND not in text


def test_a_study_without_trials_is_summed_up_too(study_of):
    text = summary_text(study_of([]), ["val/accuracy"], experiment_command=COMMAND)
    assert text.splitlines()[:2] == ["Sweep galaxy10: no trial.", "Training took 0:00 over all trials."]
