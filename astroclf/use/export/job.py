"""What ``astroclf export`` does: a trained model in a form that others take, whole and checked, or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from astroclf.errors import ConfigError
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.inference.spec import SPEC_FILE
from astroclf.registry.load import load, load_one
from astroclf.settings.verbs.records import ExportConfig
from astroclf.use.export.bundle import REQUIREMENTS, fill_bundle
from astroclf.use.export.check import Trial, trials_of
from astroclf.use.export.formats import PROGRAMS
from astroclf.use.export.huggingface import fill_hub_folder
from astroclf.use.export.programs import write_program
from astroclf.util.atomic import atomic_path, temporary_path


def export(config: ExportConfig) -> str:
    """Write one model in one form, and return what was written, in words.

    Raises
    ------
    AstroclfError
        There is no such model or image, a package is missing, the output is there already, or what was made does not
        say what the model says. Nothing is written then.
    """
    output, form = Path(config.output), config.form
    _refuse_existing(output, config.overwrite)
    if form in PROGRAMS:
        PROGRAMS[form].require()
    if form == "bundle":
        model = load(config.model, config.tracking.uri, device="cpu", precision="fp32")
        said = _write_bundle(model, output, trials_of(model, config.check_images, config.words))
        return f"{output}: {said}"
    purpose = f"become one file or folder of format={form} (a bundle takes all of it: format=bundle)"
    predictor = load_one(config.model, purpose, config.tracking.uri, device="cpu", precision="fp32")
    trials = trials_of(predictor, config.check_images, config.words)
    if form in PROGRAMS:
        said = write_program(predictor, PROGRAMS[form], config.preprocessing, trials, output)
    else:
        with _folder(output) as folder:
            said = fill_hub_folder(predictor, folder, output.name, config.license, trials)
    return f"{output}: {said}"


def _write_bundle(predictor: Predictor | Ensemble, output: Path, trials: Sequence[Trial]) -> str:
    """Write a bundle as a folder, or as a zip that holds one folder of the zip's name."""
    if output.suffix != ".zip":
        with _folder(output) as folder:
            return fill_bundle(predictor, folder, output.name, trials)
    with atomic_path(output) as temporary:
        around = temporary.with_suffix(".tmp")
        try:
            said = fill_bundle(predictor, around / output.stem, output.stem, trials)
            made = shutil.make_archive(str(temporary.with_suffix("")), "zip", around)
            assert made == str(temporary)
        finally:
            shutil.rmtree(around, ignore_errors=True)
    return said


@contextmanager
def _folder(output: Path) -> Iterator[Path]:
    """Yield a new folder that takes the place of `output` when it is filled; an older one goes only then."""
    with atomic_path(output) as temporary:
        temporary.mkdir()
        yield temporary
        if output.exists():
            old = temporary_path(output)
            output.rename(old)
            shutil.rmtree(old, ignore_errors=True)


def _refuse_existing(output: Path, overwrite: bool) -> None:
    """Refuse to write over what is there, and over a folder that no export has made even if that was asked for."""
    if not output.exists():
        return
    if not overwrite:
        raise ConfigError(f"{output} exists already. Name another output, or give overwrite=true.")
    if output.is_dir() and not any((output / name).is_file() for name in (SPEC_FILE, REQUIREMENTS)):
        raise ConfigError(f"{output} is a folder that no export has made: it is not overwritten. Name another output.")
