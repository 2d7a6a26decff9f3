"""Who installs astroclf without its extra `train` can use a trained model, and is told what else there is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from astroclf.models.classifier import Classifier
from astroclf.models.custom6conv import Custom6Conv
from astroclf.registry.distribution import write_wheel
from astroclf.registry.package import load_package, write_package
from tests.data.augment.recipes import recipe_values

# Finds nothing of training's packages, as an interpreter in which they are not installed.
SCRIPT = """
import sys
ABSENT = {"hydra", "omegaconf", "hydra_plugins", "optuna", "mlflow", "matplotlib", "jinja2", "captum", "torchinfo",
          "psutil", "tensorboard", "pyarrow", "sqlalchemy", "sklearn", "onnx", "onnxscript", "onnxruntime"}

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in ABSENT else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
import numpy as np
import astroclf
from astroclf.__main__ import main
from astroclf.errors import TrackingError

assert "site" in astroclf.__file__
model = astroclf.load("model", device="cpu")
np.save("answers.npy", model.predict(np.load("images.npy")).iloc[:, 1:].to_numpy(np.float32))
try:
    astroclf.load("models:/galaxy10@champion", "http://localhost:1")
except TrackingError as error:
    print(error)
assert main(["--version"]) == 0
sys.exit(main(["train"]))
"""


@pytest.mark.slow
def test_a_model_is_used_without_any_package_of_training(tmp_path: Path, clean_environment: dict[str, str]) -> None:
    spec = {
        "backbone": {"_target_": "astroclf.models.custom6conv.Custom6Conv"},
        "classes": ["smooth", "spiral"], "image_size": 64, "augment": recipe_values(crop=[200, 200]), "tta_views": 8,
    }  # fmt: skip
    package = write_package(tmp_path / "model", spec, Classifier(Custom6Conv(image_size=64), 2).state_dict())
    images = np.random.default_rng(0).integers(0, 256, (3, 80, 70, 3), dtype=np.uint8)
    np.save(tmp_path / "images.npy", images)
    install = ["pip", "install", "-q", "--no-deps", "--no-index", "--target", str(tmp_path / "site")]
    subprocess.run([sys.executable, "-m", "uv", *install, str(write_wheel(tmp_path))], check=True)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=clean_environment | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "astroclf train needs hydra, which is not installed" in done.stderr
    assert "whose client is not installed: `pip install mlflow-skinny`" in done.stdout
    wanted = load_package(package, device="cpu").predict(images).iloc[:, 1:].to_numpy(np.float32)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), wanted, atol=1e-6)
