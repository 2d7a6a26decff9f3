from __future__ import annotations

from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from astroclf.tracking.tensorboard import TensorBoardCurves


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_tensorboard_gets_curves_and_histograms_even_of_a_broken_network(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 0] = float("nan")
    curves = TensorBoardCurves(tmp_path)
    curves.log_metrics({"val/loss": 2.0, "lr": 0.1}, 1)
    curves.log_metrics({"val/loss": 1.0}, 2)
    curves.log_histograms(model, 2)
    curves.close()
    events = read(tmp_path)
    assert [(point.step, point.value) for point in events.Scalars("val/loss")] == [(1, 2.0), (2, 1.0)]
    assert set(events.Tags()["histograms"]) == {"weights/weight", "weights/bias"}


def test_points_after_the_checkpoint_are_not_shown_twice(tmp_path: Path) -> None:
    killed = TensorBoardCurves(tmp_path)
    killed.log_metrics({"val/loss": 2.0}, 1)
    killed.flush()
    killed.log_metrics({"val/loss": 9.0}, 2)  # never flushed
    resumed = TensorBoardCurves(tmp_path, resume_step=2)
    resumed.log_metrics({"val/loss": 1.0}, 2)
    resumed.close()
    assert [(point.step, point.value) for point in read(tmp_path).Scalars("val/loss")] == [(1, 2.0), (2, 1.0)]


def test_a_network_without_one_sound_weight_is_no_error(tmp_path: Path) -> None:
    curves = TensorBoardCurves(tmp_path)
    with torch.no_grad():
        (model := nn.Linear(2, 1)).weight.fill_(float("inf"))
    curves.log_histograms(model, 1)
    curves.close()
    assert set(read(tmp_path).Tags()["histograms"]) == {"weights/bias"}
