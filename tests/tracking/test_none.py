from __future__ import annotations

from pathlib import Path

from torch import nn

from astroclf.tracking.none import NullTracker


def test_tracking_none_leaves_nothing_behind(tmp_path: Path) -> None:
    tracker = NullTracker(tensorboard=False, tensorboard_dir=tmp_path / "tensorboard")
    tracker.log_metrics({"val/loss": 1.0}, 1)
    tracker.log_histograms(nn.Linear(2, 2), 1)
    tracker.log_artifact("report.html")
    tracker.log_artifacts("plots")
    tracker.set_tags({"a": 1})
    tracker.load_state_dict(tracker.state_dict())
    tracker.flush()
    tracker.close("FINISHED")
    assert tracker.run_id is None
    assert list(tmp_path.iterdir()) == []
