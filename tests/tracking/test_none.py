from __future__ import annotations

from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from astroclf.tracking.mlflow import MlflowTracker
from astroclf.tracking.none import NullTracker


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


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


def test_tensorboard_gets_curves_and_histograms_even_of_a_broken_network(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    tracker = NullTracker(tensorboard=True, tensorboard_dir=tmp_path)
    tracker.log_metrics({"val/loss": 2.0, "lr": 0.1}, 1)
    tracker.log_metrics({"val/loss": 1.0}, 2)
    tracker.log_histograms(model, 2)
    tracker.close()
    events = read(tmp_path)
    assert [(point.step, point.value) for point in events.Scalars("val/loss")] == [(1, 2.0), (2, 1.0)]
    assert set(events.Tags()["histograms"]) == {"weights/weight", "weights/bias"}


def test_points_after_the_checkpoint_are_not_shown_twice(tmp_path: Path) -> None:
    killed = NullTracker(tensorboard=True, tensorboard_dir=tmp_path)
    killed.log_metrics({"val/loss": 2.0}, 1)
    killed.flush()
    killed.log_metrics({"val/loss": 9.0}, 2)  # never flushed
    resumed = NullTracker(tensorboard=True, tensorboard_dir=tmp_path, resume_step=2)
    resumed.log_metrics({"val/loss": 1.0}, 2)
    resumed.close()
    assert [(point.step, point.value) for point in read(tmp_path).Scalars("val/loss")] == [(1, 2.0), (2, 1.0)]


def test_both_trackers_offer_the_same_methods() -> None:
    public = {name for name in vars(NullTracker) if not name.startswith("_")}
    assert {"log_metrics", "log_histograms", "log_artifact", "log_artifacts", "set_tags", "flush", "close"} <= public
    assert {name for name in vars(MlflowTracker) if not name.startswith("_")} <= public
