from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna.trial import TrialState

from astroclf.config.compose import config_dir
from astroclf.errors import ConfigError
from astroclf.sweep.view.summary import summary_text, write_experiment

COMMAND = "python -m astroclf.train --config-dir experiments/sweeps/galaxy10/conf experiment=galaxy10"


def composed(*overrides: str, folder=None):
    """The config without its interpolations resolved: two that are equal here are equal everywhere."""
    given = [*overrides, *([f"hydra.searchpath=[file://{folder}]"] if folder else [])]
    with initialize_config_dir(str(config_dir())):
        return OmegaConf.to_container(compose("config", overrides=given))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["seed=3"],
        ["backbone=custom6conv", "loss=cb_focal", "loss.gamma=1.5", "loss.beta=0.999", "optimizer.lr=1e-05"],
        ["optimizer.lr=0.00031622776601683795", "trainer.ema_decay=null", "head.attention=true", "trainer.epochs=7"],
        ["dataset=galaxy10", "dataset.path='/data/a b/c=d, (e) [f] {g}#h: \"i\"'", "dataset.exclude_classes=[a,'b c']"],
        ["tracking.run_name='1e-4'", "tracking.experiment='null'", "tracking.model_name='on'", 'dataset.name="it\'s"'],
        ["tracking.run_name=''", "dataset.cache_dir=${oc.env:HOME}/x", "dataset.name='ünï #1'", "tracking.uri='5%'"],
        ["tracking=none", "augment=none", "augment.zoom=[0.8,1.2]", "augment.mean=[0.5,0.4,0.3]", "scheduler=cosine"],
        ["+loss.extra=2.5", "++loss.other={a:1,b:[x,null]}", "+new.key.deep=true", "optimizer.betas=[0.8,0.99]"],
        ["dataset.name=a", "dataset.name=b", "loss=focal", "loss.gamma=.inf"],
        ["experiment=galaxy10_small"],
        ["experiment=galaxy10_small", "backbone=custom6conv", "loss=focal", "trainer.epochs=9", "augment.noise=0.0"],
        ["experiment=[quickstart,seed_galaxy10]", "augment=dihedral", "loss.gamma=0.5"],
        ["optimizer={lr:0.5,betas:[0.5,0.6]}", "loss=focal", "loss={gamma:1}"],
    ],
)
def test_the_experiment_composes_what_the_overrides_composed(overrides, tmp_path):
    path = write_experiment(tmp_path / "experiment" / "galaxy10_best.yaml", overrides, "Trial 7.\nOf 30: the best.")
    assert path.read_text().startswith("# @package _global_\n# Trial 7.\n# Of 30: the best.\n")
    assert composed("experiment=galaxy10_best", folder=tmp_path) == composed(*overrides)


@pytest.mark.parametrize("sweep", ["galaxy10", "astro8"])
def test_what_steers_a_sweep_is_left_out(sweep, tmp_path):
    overrides = [f"sweep={sweep}", "hydra.sweeper.n_trials=3", "hydra/sweeper/sampler=random", "loss=focal"]
    path = write_experiment(tmp_path / "best.yaml", overrides, "")
    assert path.read_text() == "# @package _global_\ndefaults:\n- override /loss: focal\n"
    plain, without = composed(f"sweep={sweep}"), composed()
    assert plain == without  # the project's search spaces hold nothing that a trial would miss


@pytest.mark.parametrize("override", ["optimizer.betas.0=0.8", "optimizer.betas[0]=0.8"])
def test_one_element_of_a_list_is_kept_in_its_list(override, tmp_path):
    expected = composed(override)
    path = tmp_path / "experiment" / "best.yaml"
    write_experiment(path, [override], "", expected)
    assert composed("experiment=best", folder=tmp_path) == expected
    with pytest.raises(ConfigError, match=r"give the whole list, optimizer.betas="):
        write_experiment(path, [override], "")


def test_a_key_that_was_taken_away_cannot_be_kept(tmp_path):
    with pytest.raises(ConfigError, match="~trainer.patience cannot be kept in best.yaml"):
        write_experiment(tmp_path / "best.yaml", ["~trainer.patience"], "")
    assert not list(tmp_path.iterdir())


# ---- what the terminal says last -------------------------------------------------------------------------------------


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
        "  python -m astroclf.train resume=experiments/sweeps/galaxy10/9"
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
