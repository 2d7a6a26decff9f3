"""What every tracker promises. A new one is tested by its yaml in conf/tracking."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from astroclf.settings.components import locate
from astroclf.settings.yaml_files import config_dir
from astroclf.tracking.tracker import Tracker

YAMLS = sorted((config_dir() / "tracking").glob("[!_]*.yaml"))
METHODS = [name for name, value in vars(Tracker).items() if inspect.isfunction(value) and not name.startswith("_")]


@pytest.fixture(params=YAMLS, ids=lambda path: path.stem)
def tracker_yaml(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def new_tracker(tracker_yaml: Path, database_uri: str, tmp_path: Path) -> Callable[..., Tracker]:
    """Make a tracker as a run does: from its yaml and the run-time values that its signature names."""

    def make(**changed: Any) -> Tracker:
        options = yaml.safe_load(tracker_yaml.read_text(encoding="utf-8"))
        cls = locate("tracking", options.pop("_target_"))
        options.pop("defaults", None)
        here = {"uri": database_uri, "artifact_root": str(tmp_path / "artifacts"), "system_metrics": False}
        run_time = {"run_name": "a run", "params": {"seed": 1}, "tags": {"command": "train"}, "tensorboard_dir": None}
        given = options | here | run_time | changed
        return cls(**{name: value for name, value in given.items() if name in inspect.signature(cls).parameters})

    return make


def test_it_has_every_method_with_the_same_parameters(new_tracker: Callable[..., Tracker]) -> None:
    tracker = new_tracker()
    assert isinstance(tracker, Tracker)
    for name in METHODS:
        asked, found = (list(inspect.signature(getattr(of, name)).parameters) for of in (Tracker, type(tracker)))
        assert found == asked, name
    tracker.close()


def test_a_run_can_be_recorded_from_beginning_to_end(new_tracker: Callable[..., Tracker], tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "curve.png").write_bytes(b"PNG")
    tracker = new_tracker()
    assert tracker.run_id is None or isinstance(tracker.run_id, str)
    tracker.log_metrics({"val/loss": 1.0, "val/Sb (barred)/recall": math.nan, "grad_norm": math.inf}, 1)
    tracker.log_histograms(nn.Linear(2, 2), 1)
    tracker.log_artifact(tmp_path / "plots" / "curve.png", "plots")
    tracker.log_artifacts(tmp_path / "plots")
    tracker.set_tags({"data_fingerprint": "f00", "trial": 3})
    tracker.flush()
    assert len(tracker.where_to_look().splitlines()) == 1
    tracker.close("FINISHED")
    tracker.close("FAILED")  # a second one does nothing


def test_what_it_has_not_sent_travels_in_a_checkpoint(new_tracker: Callable[..., Tracker], tmp_path: Path) -> None:
    import torch

    killed = new_tracker()
    killed.log_metrics({"val/loss": 1.0}, 1)
    torch.save({"tracker": killed.state_dict()}, tmp_path / "last.pt")
    resumed = new_tracker(run_id=killed.run_id, resume_step=2)
    assert resumed.run_id == killed.run_id
    resumed.load_state_dict(torch.load(tmp_path / "last.pt", weights_only=True)["tracker"])
    resumed.close("KILLED")


@pytest.mark.parametrize("wanted", [True, False])
def test_curves_for_tensorboard_are_written_where_asked_for(
    new_tracker: Callable[..., Tracker], tmp_path: Path, wanted: bool
) -> None:
    tracker = new_tracker(tensorboard=wanted, tensorboard_dir=tmp_path / "tensorboard")
    tracker.log_metrics({"val/loss": 2.0}, 1)
    tracker.log_histograms(nn.Linear(3, 2), 1)
    tracker.flush()
    tracker.close()
    assert (tmp_path / "tensorboard").exists() == wanted
    if wanted:
        events = EventAccumulator(str(tmp_path / "tensorboard"))
        events.Reload()
        assert [(point.step, point.value) for point in events.Scalars("val/loss")] == [(1, 2.0)]
        assert set(events.Tags()["histograms"]) == {"weights/weight", "weights/bias"}
