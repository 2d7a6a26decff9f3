"""Who wins a sweep: the best mean over seeds, of those that were trained with every seed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from optuna.study import StudyDirection

from astroclf.sweep.finals import Finals


def winner(trials, answers: dict[str, float | None], with_checkpoints: list[Path]):
    """Of these trials, whose runs with seed 1 (by their number) came to `answers`; None: failed."""
    for folder in with_checkpoints:
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "last.pt").touch()
    inner = SimpleNamespace(directions=[StudyDirection.MAXIMIZE])
    study = SimpleNamespace(study=inner, best=lambda: trials[0], trials=lambda: trials, remember=lambda *_: None)
    plan = SimpleNamespace(
        name="night", folder=Path("sweep"), objectives=("val/accuracy",), directions=("maximize",), base={"seed": "0"},
        space=SimpleNamespace(overrides=lambda params: []),
    )  # fmt: skip

    def run(commands):
        found = [answers[Path(folder).name.partition("-")[0]] for _, _, folder, _ in commands]
        return [{} if value is None else {"val/accuracy": value} for value in found]

    finals = Finals(study, plan, SimpleNamespace(finalists=3, finalist_seeds=1))
    return finals._winner(SimpleNamespace(run=run))


def test_a_finalist_that_fails_with_another_seed_does_not_end_the_sweep_and_does_not_win(trial, tmp_path):
    trials = [trial(n, values=0.9 - n / 100, attrs={"folder": str(tmp_path / str(n))}) for n in range(3)]
    folders = [tmp_path / str(n) for n in range(3)]
    chosen, folder = winner(trials, {"0": None, "1": 0.5, "2": 0.8}, folders)
    assert chosen.number == 2
    assert folder == tmp_path / "2"


def test_a_run_without_its_checkpoint_is_not_the_one_to_be_tested(trial, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trials = [trial(0, values=0.9, attrs={"folder": str(tmp_path / "0")})]
    _, folder = winner(trials, {"0": 0.8}, [Path("sweep/finalists/0-seed1")])
    assert folder == Path("sweep/finalists/0-seed1")


def test_the_value_that_chose_a_finalist_does_not_speak_for_it(trial, tmp_path):
    values = {0: 0.95, 1: 0.85}
    trials = [trial(n, values=values[n], attrs={"folder": str(tmp_path / str(n))}) for n in values]
    chosen, _ = winner(trials, {"0": 0.70, "1": 0.75}, [tmp_path / "0", tmp_path / "1"])
    assert chosen.number == 1
