"""The file of a pretrained backbone says what it must to those who begin with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from astroclf.errors import WeightsError
from astroclf.inference.seen import SeenImages
from astroclf.models.backbone import DataConfig
from astroclf.models.weights import read_state
from astroclf.registry.backbone_file import BACKBONE_FILE, Pretraining, read_pretraining, write_backbone
from astroclf.registry.pretrained import ORIGIN, initial_weights

DIGESTS = np.array(["00ff00ff00ff00ff0000", "ffffffffffffffff1111"])
ABOUT = Pretraining("nights", DataConfig((0.1, 0.2), (0.3, 0.4), 48), SeenImages.of(DIGESTS, DIGESTS[:0]))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_backbone(tmp_path / BACKBONE_FILE, {"stages.0.weight": torch.arange(6.0).view(2, 3).T}, ABOUT)
    return tmp_path


def test_weights_and_what_they_saw_come_back(run):
    assert torch.equal(read_state(run / BACKBONE_FILE)["stages.0.weight"], torch.arange(6.0).view(2, 3).T)
    about = read_pretraining(run / BACKBONE_FILE)
    assert (about.dataset, about.data_config) == (ABOUT.dataset, ABOUT.data_config)
    others = np.array([DIGESTS[1], "1234567890123456"])
    assert about.seen.among(others).tolist() == ["train", ""]


@pytest.mark.parametrize("name", ["", f"/{BACKBONE_FILE}"])
def test_the_run_folder_names_the_weights_as_their_file_does(run, name):
    with initial_weights(f"{run}{name}", None) as initial:
        assert initial.given == str(run / BACKBONE_FILE)
        assert initial.origin[ORIGIN[0]] == f"{run}{name}"
        assert initial.pretraining.data_config.image_size == 48


def test_weights_of_others_say_nothing_and_damage_is_told(run, tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    assert read_pretraining(tmp_path / "other.safetensors") is None
    assert read_pretraining(tmp_path / "weights.pth") is None
    damaged = {"astroclf_pretraining": '{"dataset": "nights"}', "astroclf_seen": ""}
    save_file(load_file(run / BACKBONE_FILE), tmp_path / "damaged.safetensors", metadata=damaged)
    with pytest.raises(WeightsError, match=r"damaged\.safetensors says of its pretraining is damaged"):
        read_pretraining(tmp_path / "damaged.safetensors")
