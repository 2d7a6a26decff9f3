from __future__ import annotations

import io
import logging
import math

import pytest
from optuna.study import StudyDirection
from optuna.trial import TrialState
from rich.console import Console

from astroclf.sweep.view import board as board_module
from astroclf.sweep.view.board import Board

UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE
COMMAND = "astroclf train -m dataset=galaxy10 sweep=galaxy10 hydra.sweeper.study_name=galaxy10"


def board(width=150, height=50, terminal=True, n_trials=30, directions=(UP,), metrics=("val/accuracy",), workers=2):
    console = Console(width=width, height=height, file=io.StringIO(), record=True, force_terminal=terminal)
    return Board("galaxy10", directions, n_trials, workers, metrics, COMMAND, console=console)


def seen(shown: Board, trials) -> str:
    """What the table says of these trials."""
    shown._console.print(shown.render(trials))
    return shown._console.export_text()


def row(text: str, number: int) -> str:
    return next(line for line in text.splitlines() if line.split()[:1] == [str(number)])


def test_the_table_shows_trials_values_states_and_the_best(trials):
    text = seen(board(), trials(14))
    assert "12/30" in text
    assert "2 running, 8 complete, 2 pruned, 2 failed" in text
    heads = " ".join(text.splitlines()[2:4]).split()
    for name in ("gamma", "beta", "lr", "dropout", "state", "time"):
        assert name in heads, name
    assert row(text, 9).split()[-3:] == ["0.8506", "best", "3:10"]
    assert row(text, 0).split()[-3:] == ["0.7958", "complete", "3:10"]
    assert "(0.6393)  running 3/10 validations" in row(text, 13)
    assert "(0.3079)  pruned 1/10 validations" in row(text, 10)
    assert "failed: the loss is nan" in row(text, 8)
    assert "Best val/accuracy 0.8506, trial 9: backbone=resnet18 loss=focal gamma=2.72 lr=8.39e-4" in text
    assert COMMAND in text.replace("\n", "")


def test_a_long_study_shows_what_runs_the_best_and_the_latest(trials):
    many = trials(200, running=8)
    text = seen(board(n_trials=200, workers=8), many)
    shown = [int(line.split()[0]) for line in text.splitlines() if line[:5].strip().isdigit()]
    assert shown == [132, 179, 180, *range(182, 200)]  # 181 is shown as pruned earlier than the twelve latest
    assert "Not shown: 179 more trials" in text


@pytest.mark.parametrize("end", ["14:20", "Sat 28 Nov 00:02"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 20), (40, 12), (200, 60)])
def test_it_fits_the_terminal(width, height, end, trials, monkeypatch):
    monkeypatch.setattr(board_module, "until", lambda seconds: end)
    text = seen(board(width, height, n_trials=200, workers=3), trials(120, running=3))
    lines = text.splitlines()
    assert max(map(len, lines)) <= width
    if height >= 20:
        assert len(lines) < height
    for words in ("running", "best", "time left"):
        assert words in text


def test_a_narrow_terminal_says_which_parameters_it_leaves_out(trials):
    text = seen(board(80, 24), trials(14))
    assert "gamma, beta, augment, dropout (widen the terminal)" in " ".join(text.split())
    for head in ("backbone", "loss", "lr", "decay"):
        assert head in " ".join(text.splitlines()[2:4])


def test_every_state_and_shape_of_a_trial_is_borne(trial):
    trials = [
        trial(0, values=math.nan),
        trial(1, values=0.5, seconds=None),
        trial(2, TrialState.FAIL, attrs={"reason": "out of\nmemory."}),
        trial(3, TrialState.FAIL),
        trial(4, TrialState.PRUNED, validations={1: math.nan}),
        trial(5, TrialState.RUNNING, seconds=None),
        trial(6, TrialState.WAITING, seconds=None),
    ]
    text = seen(board(), trials)
    assert row(text, 0).split()[1:3] == ["nan", "complete"]
    assert row(text, 1).split()[1:3] == ["0.5000", "best"]
    assert "failed: out of memory" in row(text, 2)
    assert row(text, 4).split()[1:4] == ["(nan)", "pruned", "1"]
    assert row(text, 5).split()[1:3] == ["–", "running"]
    assert not any(line.startswith("    6 ") for line in text.splitlines())
    assert "Best val/accuracy: –" in seen(board(), [])


def test_several_objectives_show_the_front(trials):
    text = seen(board(directions=(UP, DOWN), metrics=("val/accuracy", "val/loss")), trials(14, objectives=2))
    assert "Pareto front: trials 4, 11, 0, 7" in text
    assert row(text, 4).split()[-5:] == ["0.8483", "4.9351", "Pareto", "front", "3:10"]


def test_trials_on_other_hosts_are_told_apart(trial):
    trials = [trial(n, TrialState.RUNNING, attrs={"host": host}) for n, host in enumerate(("one", "two"))]
    assert "running on two" in row(seen(board(), trials), 1)
    assert "on one" not in seen(board(), trials[:1])


# ---- time -----------------------------------------------------------------------------------------------------------


def test_time_left_is_unknown_until_a_trial_ended(trial):
    running = [trial(0, TrialState.RUNNING, seconds=5)]
    assert board().seconds_left(running) is None
    assert "time left –" in seen(board(), running)


def test_the_log_hears_once_how_long_trials_take(trial, caplog):
    shown = board(n_trials=61, workers=2)
    done = [trial(0, values=0.5, seconds=545)]
    with caplog.at_level(logging.INFO, logger="astroclf"):
        for trials in ([], done, done):
            shown.update(trials)
    (said,) = [line for line in caplog.messages if line.startswith("A trial takes")]
    assert said.startswith("A trial takes about 9.1 min: 60 are left with 2 workers, until about ")
    assert "time left 4:32:30, until about " in seen(shown, done)


def test_time_left_shares_what_is_to_do_among_the_workers(trial):
    shown = board(n_trials=10, workers=2)
    done = [trial(0, values=0.5, seconds=100), trial(1, TrialState.PRUNED, 0.1, seconds=20)]
    assert shown.seconds_left(done) == pytest.approx(8 * 60 / 2)
    running = trial(2, TrialState.RUNNING, seconds=10, attrs={"validations": 10}, validations={1: 0.1, 2: 0.1})
    shown._keep_time([running])  # 40 s to go at its own pace, and 7 more of 60 s
    assert shown.seconds_left([*done, running]) == pytest.approx((40 + 7 * 60) / 2, abs=1)


def test_the_last_trial_is_waited_for_whatever_the_number_of_workers(trial):
    shown = board(n_trials=2, workers=8)
    assert shown.seconds_left([trial(0, values=0.5, seconds=100)]) == pytest.approx(100)
    assert shown.seconds_left([trial(0, values=0.5, seconds=100), trial(1, values=0.5, seconds=100)]) == 0


def test_a_running_trial_counts_on_from_what_was_recorded(trial, monkeypatch):
    shown, now = board(), [1000.0]
    monkeypatch.setattr(board_module.time, "monotonic", lambda: now[0])
    running = trial(0, TrialState.RUNNING, seconds=3600)  # recorded before it was interrupted
    shown._keep_time([running])
    now[0] += 65
    shown._keep_time([running])
    assert row(seen(shown, [running]), 0).split()[-1] == "1:01:05"


# ---- terminal or log ------------------------------------------------------------------------------------------------


def test_on_a_terminal_the_table_is_drawn_anew_and_the_log_file_has_the_lines(trials, tmp_path):
    shown, handler = board(80, 40), logging.FileHandler(tmp_path / "sweep.log")
    root = logging.getLogger()
    root.addHandler(handler)
    with shown:
        shown.update(trials(5, running=2))
        shown.update(trials(9, running=2))
    root.removeHandler(handler)
    handler.close()
    written = shown._console.file.getvalue()
    assert "\x1b[?25l" in written  # the cursor is hidden while it lives
    assert written.rstrip().endswith("\x1b[?25h")
    assert "7/30" in written
    expected, *lines = (tmp_path / "sweep.log").read_text().splitlines()
    assert expected.startswith("A trial takes about ")
    assert [line.split()[1] for line in lines] == ["3", "4", "5", "6"]  # what ended meanwhile


def test_without_a_terminal_each_trial_that_ended_is_one_line(trials, caplog):
    shown, some = board(terminal=False), trials(12)
    with caplog.at_level(logging.INFO, "astroclf"), shown:
        shown.update(some[:2])  # of an earlier start
        shown.update([*some[:5], *some[10:]])
        shown.update(some)
        shown.update(some)
    expected, *lines = caplog.messages
    assert expected.startswith("A trial takes about 3.2 min: 28 are left with 2 workers, until about ")
    assert len(lines) == 8
    assert lines[0] == (
        "Trial 2 complete, val/accuracy 0.7856; 3:10; backbone=resnet18 loss=focal gamma=3.02 lr=1.15e-4 "
        "weight_decay=1.26e-3 augment=galaxy10 dropout=0.583; 5 of 30 done, 33:11 left"
    )
    assert lines[1].startswith("Trial 3 failed: CUDA out of memory. Tried to allocate 2.00 GiB; 0:38; ")
    assert "Trial 4 complete, val/accuracy 0.8483 (best so far); " in lines[2]
    assert "Trial 5 pruned after 1/10 validations at 0.2868; 0:19; " in lines[3]
    assert shown._console.file.getvalue() == ""
