import os
import pickle

import pytest
import torch

from astroclf.engine.checkpoint import CheckpointFolder, load_checkpoint
from astroclf.errors import CheckpointError


def test_keeps_the_lowest_losses_and_removes_the_others(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_lowest_loss=2)
    for step, loss in enumerate([0.9, 0.5, 0.7, 0.4], start=1):
        name = folder.rank(loss, step)
        folder.save({"step": step}, [name] if name else [])
    kept = sorted(path.name for path in tmp_path.glob("step-*"))
    assert kept == ["step-0000002-loss-0.5000.pt", "step-0000004-loss-0.4000.pt"]
    assert load_checkpoint(tmp_path / kept[0])["step"] == 2
    assert load_checkpoint(folder.last)["step"] == 4


def test_other_names_cost_no_second_copy_and_survive_the_next_save(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_lowest_loss=0)
    folder.save({"weights": torch.ones(1000)}, ["best.pt"])
    assert os.stat(folder.best).st_ino == os.stat(folder.last).st_ino
    folder.save({"weights": torch.zeros(1000)}, [])
    assert load_checkpoint(folder.best)["weights"].sum() == 1000


def test_a_checkpoint_runs_no_code_when_loaded(tmp_path):
    class Poison:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'owned'}",)

    path = tmp_path / "last.pt"
    torch.save({"format": 3, "model": Poison()}, path)
    with pytest.raises(CheckpointError, match="can be read"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Poison(), protocol=2))
    with pytest.raises(CheckpointError):
        load_checkpoint(path)
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_a_damaged_or_missing_checkpoint_is_named(tmp_path, content):
    path = tmp_path / "checkpoints" / "last.pt"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="last.pt"):
        load_checkpoint(path)


def test_a_truncated_checkpoint_is_refused(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_lowest_loss=0)
    folder.save({"weights": torch.ones(10_000)}, [])
    whole = folder.last.read_bytes()
    folder.last.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError):
        load_checkpoint(folder.last)


def test_a_checkpoint_of_another_format_is_refused_by_its_format(tmp_path):
    path = tmp_path / "last.pt"
    torch.save({"format": 1, "position": {"step": 3}}, path)
    with pytest.raises(CheckpointError, match=r"last\.pt is a checkpoint of format 1; .* reads format 3"):
        load_checkpoint(path)
    torch.save({"weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match="no astroclf checkpoint"):
        load_checkpoint(path)
