from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from astroclf.evaluation.curves import draw_curves

HISTORY = """step,epoch,lr,train/loss,val/loss,val/accuracy,val/macro_f1
10,0.5,0.0001,,2.0,0.2,0.1
20,1.0,0.0003,1.8,1.5,0.4,0.3
30,1.5,0.0001,1.2,1.7,0.5,0.45
"""


def ink(path: Path) -> float:
    picture = cv2.imread(str(path))
    assert picture is not None
    return float((picture < 250).any(axis=2).mean())


def test_curves_follow_the_history_and_bear_gaps(tmp_path: Path) -> None:
    assert draw_curves(tmp_path, tmp_path) == []
    (tmp_path / "history.csv").write_text(HISTORY)
    drawn = draw_curves(tmp_path, tmp_path / "plots")
    assert [path.name for path in drawn] == ["loss.png", "validation.png", "learning_rate.png"]
    assert all(ink(path) > 0.01 for path in drawn)
    (tmp_path / "history.csv").write_text(HISTORY.splitlines()[0] + "\n")  # stopped before the first validation
    assert all(path.is_file() for path in draw_curves(tmp_path, tmp_path / "empty"))


def test_the_learning_rate_is_that_of_every_step_where_the_steps_were_kept(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(HISTORY)
    *_, few = draw_curves(tmp_path, tmp_path / "few")
    lines = [f"{step},{1e-4 * step},{2 - step / 30}" for step in range(31)]
    (tmp_path / "steps.csv").write_text("\n".join(["step,step/lr,step/loss", *lines, ""]))
    losses, _, every = draw_curves(tmp_path, tmp_path / "every")
    assert not np.array_equal(cv2.imread(str(few)), cv2.imread(str(every)))
    assert not np.array_equal(cv2.imread(str(tmp_path / "few" / "loss.png")), cv2.imread(str(losses)))
