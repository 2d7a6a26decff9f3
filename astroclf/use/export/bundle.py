"""A bundle for a colleague: the model, astroclf itself, and what else to install, without our registry."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from astroclf.data.decode.values import EIGHT_BIT, FITS
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.inference.preparation import Preparation
from astroclf.inference.spec import ModelSpec
from astroclf.registry.distribution import WHEEL, requirements
from astroclf.registry.load import load
from astroclf.registry.package import RUN_FOLDER_PACKAGE, write_again
from astroclf.registry.register import WHEELS, save_model
from astroclf.use.export.check import Trial, check_package
from astroclf.util.text import visible

REQUIREMENTS = "requirements.txt"
_CPU_WHEELS = "https://download.pytorch.org/whl/cpu"


def fill_bundle(predictor: Predictor | Ensemble, folder: Path, name: str, trials: Sequence[Trial]) -> str:
    """Write all files of the bundle into a folder, compare the model in it with this one, and say what it holds.

    Parameters
    ----------
    name
        What the folder is called in the end.
    trials
        The images that they are compared on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        package = write_again(Path(scratch) / RUN_FOLDER_PACKAGE, predictor, for_others=True)
        save_model(folder / RUN_FOLDER_PACKAGE, package)
    lines = [f"./{RUN_FOLDER_PACKAGE}/{WHEELS}/{WHEEL}", *requirements()]
    (folder / REQUIREMENTS).write_text("\n".join(lines) + "\n", encoding="utf-8")
    knows_novelty = all(member.novelty is not None for member in predictor.members)
    readme = _readme(visible(name), example_image(predictor.members[0].spec), knows_novelty=knows_novelty)
    (folder / "README.txt").write_text(readme, encoding="utf-8")
    agreement = check_package(predictor, load(folder / RUN_FOLDER_PACKAGE, device="cpu", precision="fp32"), trials)
    return f"the model, astroclf itself and its {REQUIREMENTS}; {agreement}. README.txt says how it is used."


def example_image(spec: ModelSpec) -> str:
    """Return a file name such as the model reads, for the lines that say how it is used."""
    kinds = Preparation(spec).kinds
    return "image.fits" if FITS in kinds else "image.jpg" if EIGHT_BIT in kinds else "image.tif"


def _readme(name: str, image: str, *, knows_novelty: bool) -> str:
    model, wheels = RUN_FOLDER_PACKAGE, f"{RUN_FOLDER_PACKAGE}/{WHEELS}"
    told = (
        " (unlike_training: images of a kind that it has not seen; their labels mean nothing)" if knows_novelty else ""
    )
    return f"""\
1. Unpack, `cd {name}`, and make an environment: python -m venv .venv && . .venv/bin/activate (Python 3.11 or newer).
2. Without a GPU, first: pip install torch torchvision --index-url {_CPU_WHEELS} (instead of several GB).
3. In this folder: pip install -r {REQUIREMENTS} (the wheel of astroclf is the one in {wheels}/).
4. python -c "import astroclf; print(astroclf.load('{model}').predict(['{image}']))"{told}
5. By REST: pip install mlflow, then mlflow models serve -m {model} --env-manager local (it is an MLflow model, too).
"""
