"""A pretrained network on a folder of images, with no network connection."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from astroclf.registry.package import load_package

NO_NETWORK = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}


@pytest.mark.slow
def test_the_recipe_trains_on_a_folder_and_its_package_knows_how_its_weights_see(train, tmp_path, clean_environment):
    clean_environment.update(NO_NETWORK)
    rng = np.random.default_rng(0)
    for kind, brightness in (("dark", 40), ("bright", 200)):
        (tmp_path / "survey" / kind).mkdir(parents=True)
        for number in range(16):
            pixels = rng.integers(brightness - 30, brightness + 30, (40, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "survey" / kind / f"{number}.png")
    done = train(
        "experiment=finetune_small", "dataset=folder", "dataset.path=survey", "dataset.image_size=32",
        "dataset.near_duplicates=false", "dataset.val_fraction=0.25", "trainer.epochs=3", "trainer.batch_size=8",
        "trainer.device=cpu", "trainer.precision=fp32", "tracking=none",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "experiments" / "runs" / "survey").iterdir()
    assert json.loads((run / "metrics.json").read_text())["test/images"] > 0
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["augment"]["mean"] == pytest.approx([127 / 255] * 3)  # what the weights were trained with
    spec = load_package(run / "model", device="cpu").spec
    assert spec.augment["std"] == pytest.approx([128 / 255] * 3)
    assert spec.facts["initial_weights"] == "imagenet"
