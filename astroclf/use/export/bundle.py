"""A bundle for a colleague: the model, astroclf itself, and what else to install, without our registry."""

from __future__ import annotations

import tempfile
from pathlib import Path

from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.registry.distribution import WHEEL, requirements
from astroclf.registry.package import RUN_FOLDER_PACKAGE, write_again
from astroclf.registry.register import WHEELS, save_model
from astroclf.util.text import visible

REQUIREMENTS = "requirements.txt"
_CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


def fill_bundle(predictor: Predictor | Ensemble, folder: Path, name: str) -> str:
    """Write all files of the bundle into a folder, and return in words what it holds.

    Parameters
    ----------
    name
        What the folder is called in the end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        package = write_again(Path(scratch) / RUN_FOLDER_PACKAGE, predictor, with_seen=False)
        save_model(folder / RUN_FOLDER_PACKAGE, package)
    lines = [f"./{RUN_FOLDER_PACKAGE}/{WHEELS}/{WHEEL}", *requirements()]
    (folder / REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "README.txt").write_text(_readme(visible(name)), encoding="utf-8")
    return f"the model, astroclf itself and its {REQUIREMENTS}; README.txt says in five lines how it is used."


def _readme(name: str) -> str:
    model, wheels = RUN_FOLDER_PACKAGE, f"{RUN_FOLDER_PACKAGE}/{WHEELS}"
    return f"""\
1. Unpack, `cd {name}`, and make an environment: python -m venv .venv && . .venv/bin/activate (Python 3.11 or newer).
2. Without a GPU, first: pip install torch torchvision --index-url {_CPU_WHEELS} (instead of several GB).
3. In this folder: pip install -r {REQUIREMENTS} (the wheel of astroclf is the one in {wheels}/).
4. python -c "import astroclf; print(astroclf.load('{model}').predict(['image.fits']))"
5. By REST: pip install mlflow, then mlflow models serve -m {model} --env-manager local (it is an MLflow model, too).
"""
