"""The end of a sweep: who wins, the best mean over seeds of those that were trained with each; and its exit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from astroclf.errors import SweepError
from astroclf.sweep.finals import Finals
from astroclf.tracking.none import NullTracker
from astroclf.util.invocation import Command

SPACE = {"lr": FloatDistribution(0, 1), "seed": IntDistribution(0, 9), "x": CategoricalDistribution(("a", "b"))}


class Pool:
    """Workers that answer at once: by the finalist's number, or None for one that fails."""

    def __init__(self, values: dict[str, float | None], refuse: str = "") -> None:
        self.values, self.refuse, self.commands = values, refuse, []

    def run(self, commands: Iterable[tuple]) -> list[dict]:
        found = []
        for command in commands:
            self.commands.append(command)
            if command[0] == "test":
                if self.refuse:
                    raise SweepError(self.refuse)
                found.append({"test/accuracy": 0.5, "test/macro_f1": 0.5, "test/images": 20})
            else:
                value = self.values[Path(command[2]).name.partition("-")[0]]
                found.append({} if value is None else {"val/accuracy": value})
        return found


def finals(
    trials: list[FrozenTrial], study_of, folder: Path = Path("sweep"), finalists: int = 3, seeds: int = 1, objectives=1
) -> Finals:
    """The end of a sweep of these trials, whose seed is 0 where it is not searched."""
    directions = [StudyDirection.MAXIMIZE] * objectives
    best = next((one for one in trials if one.state == TrialState.COMPLETE), None)
    study = SimpleNamespace(
        directions=directions, best=lambda: best, trials=lambda: trials, remember=lambda *_: None,
        recall=lambda _: None, study=study_of(trials, ["maximize"] * objectives),
    )  # fmt: skip
    config = SimpleNamespace(to_plain=dict)
    plan = SimpleNamespace(
        name="night", folder=folder, objectives=("val/accuracy", "val/macro_f1")[:objectives],
        directions=("maximize",) * objectives, command=Command("astroclf train"),
        space=SimpleNamespace(
            overrides=lambda params: [f"{key}={value}" for key, value in params.items()], describe=dict
        ),
        composer=SimpleNamespace(
            texts=lambda _: {},
            config=lambda overrides: SimpleNamespace(
                seed=int(dict(o.split("=") for o in overrides).get("seed", 0)), to_plain=config.to_plain
            )
        ),
    )  # fmt: skip
    return Finals(study, plan, SimpleNamespace(finalists=finalists, finalist_seeds=seeds))


@pytest.fixture
def complete(trial, tmp_path):
    """A trial that was trained in a folder of this host."""

    def make(number: int, value: float | list[float], checkpoint: bool = True, **params) -> FrozenTrial:
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / ".claim").write_text("token")
        if checkpoint:
            (folder / "checkpoints").mkdir()
            (folder / "checkpoints" / "last.pt").touch()
        attrs = {"folder": str(folder), "claim": "token", "host": "here"}
        return trial(number, values=value, params=params or {"lr": number / 10}, space=SPACE, attrs=attrs)

    return make


# ---- finalists -------------------------------------------------------------------------------------------------------


def test_a_finalist_that_fails_with_another_seed_does_not_end_the_sweep_and_does_not_win(complete, study_of, tmp_path):
    trials = [complete(n, 0.9 - n / 100) for n in range(3)]
    chosen, folder = finals(trials, study_of)._winner(Pool({"0": None, "1": 0.5, "2": 0.8}))
    assert chosen.number == 2
    assert folder == tmp_path / "2"


def test_a_run_without_its_checkpoint_is_not_the_one_to_be_tested(complete, study_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    again = Path("sweep/finalists/0-seed1")
    (again / "checkpoints").mkdir(parents=True)
    (again / "checkpoints" / "last.pt").touch()
    _, folder = finals([complete(0, 0.9, checkpoint=False)], study_of)._winner(Pool({"0": 0.8}))
    assert folder == again


def test_the_value_that_chose_a_finalist_does_not_speak_for_it(complete, study_of):
    trials = [complete(0, 0.95), complete(1, 0.85)]
    chosen, _ = finals(trials, study_of)._winner(Pool({"0": 0.70, "1": 0.75}))
    assert chosen.number == 1


def test_equal_parameters_are_one_finalist_with_the_mean_of_what_is_known(complete, study_of):
    trials = [complete(0, 0.95, x="a"), complete(1, 0.65, x="a"), complete(2, 0.85, x="b")]
    pool = Pool({"0": 0.7, "2": 0.7})
    finals(trials, study_of, finalists=2)._winner(pool)
    assert [Path(command[2]).name for command in pool.commands] == ["2-seed1", "0-seed1"]  # 0.85 before 0.80
    assert [one.number for one in finals(trials, study_of, finalists=1)._finalists()] == [2]


def test_where_the_seed_is_searched_trials_that_differ_in_nothing_else_are_one_finalist(complete, study_of):
    trials = [complete(0, 0.9, x="a", seed=1), complete(1, 0.7, x="a", seed=2), complete(2, 0.85, x="b", seed=4)]
    pool = Pool({"0": 0.7, "2": 0.7})
    finals(trials, study_of, seeds=2)._winner(pool)
    assert [Path(command[2]).name for command in pool.commands] == ["2-seed3", "2-seed5", "0-seed3", "0-seed5"]
    assert pool.commands[0][1] == ["x=b", "seed=3"]


def test_a_seed_of_a_pruned_trial_is_used_too(complete, trial, study_of):
    pruned = trial(1, TrialState.PRUNED, 0.1, params={"x": "a", "seed": 4}, space=SPACE)
    pool = Pool({"0": 0.7})
    finals([complete(0, 0.9, x="b", seed=3), pruned], study_of)._winner(pool)
    assert pool.commands[0][1] == ["x=b", "seed=5"]


def test_finalists_of_several_objectives_are_of_the_pareto_front(complete, study_of):
    values = [[0.9, 0.1], [0.89, 0.05], [0.5, 0.8], [0.7, 0.5]]
    trials = [complete(n, pair) for n, pair in enumerate(values)]
    assert [one.number for one in finals(trials, study_of, objectives=2)._finalists()] == [0, 3, 2]


# ---- how it ends -----------------------------------------------------------------------------------------------------


def test_a_sweep_in_which_nothing_came_to_its_end_says_so_and_fails(trial, study_of, tmp_path):
    failed = trial(0, TrialState.FAIL, attrs={"reason": "the loss is nan.", "folder": "sweep/0"})
    pruned = trial(1, TrialState.PRUNED, 0.1)
    with pytest.raises(SweepError, match=r"1 pruned, 1 failed\).*trial 0: the loss is nan\. Its log is in sweep/0\."):
        finals([failed, pruned], study_of, tmp_path, finalists=0).run(Pool({}), NullTracker())
    with pytest.raises(SweepError, match=r"1 pruned\).*hydra/sweeper/pruner=none"):
        finals([pruned], study_of, tmp_path, finalists=0).run(Pool({}), NullTracker())
    assert (tmp_path / "plots" / "trials.csv").is_file()
    assert "1 pruned" in (tmp_path / "report.html").read_text()


def test_a_winner_that_cannot_be_registered_is_told_with_the_command_that_goes_on(complete, study_of, tmp_path, caplog):
    end = finals([complete(0, 0.9, x="a")], study_of, tmp_path, finalists=0)
    with pytest.raises(SweepError, match=rf"(?s)The registry is away\..*resume={tmp_path}/0"):
        end.run(Pool({}, refuse="The registry is away."), NullTracker())
    assert (tmp_path / "conf" / "experiment" / "best.yaml").is_file()


def test_a_winner_whose_checkpoint_is_gone_is_told_and_one_of_another_host_is_left_to_it(
    complete, study_of, tmp_path, monkeypatch
):
    end = finals([complete(0, 0.9, checkpoint=False, x="a")], study_of, tmp_path, finalists=0)
    end.run(Pool({}), NullTracker())  # it ran on the host "here", whose command tests it
    monkeypatch.setattr("astroclf.sweep.finals.socket.gethostname", lambda: "here")
    with pytest.raises(SweepError, match=r"(?s)has no checkpoint.*experiment=best"):
        end.run(Pool({}), NullTracker())


def test_what_is_left_of_a_trial_that_another_host_took_over_is_not_tested(complete, study_of, tmp_path):
    taken_over = complete(0, 0.9, x="a")
    taken_over.set_user_attr("claim", "of the other host")
    pool = Pool({})
    finals([taken_over], study_of, tmp_path, finalists=0).run(pool, NullTracker())
    assert pool.commands == []
