"""What a user types is checked before torch is imported, and every choice of every group composes and builds."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Literal

import pytest

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.config.compose import composed_as
from astroclf.config.validate import convert
from astroclf.errors import ConfigError
from astroclf.settings.config import GROUPS, Config
from astroclf.settings.verbs.data import CheckConfig
from astroclf.settings.yaml_files import config_dir

FILES = sorted(
    str(path.relative_to(config_dir()).with_suffix(""))
    for path in config_dir().rglob("*.yaml")
    if path.parent.name not in ("experiment", "help") and not path.parent.name.endswith("_logging")
)
CHOICES = [
    (path.parent.name, path.stem)
    for path in sorted(config_dir().glob("*/[!_]*.yaml"))
    if path.parent.name in (*GROUPS, "trainer", "experiment", "sweep")
]


def config(*overrides: str):
    return composed_as(Config, "config", overrides)


@pytest.mark.parametrize(("group", "choice"), [choice for choice in CHOICES if choice[0] != "kind"])
def test_every_choice_of_every_group_composes_and_is_typed(group, choice, tmp_path):
    folders = [("dataset", name) for name in ("arrays", "astro8", "folder", "image_arrays", "images", "radio")]
    recipes = [("experiment", name) for name in ("seed_astro8", "few_labels", "radio_small")]
    needs_path = (group, choice) in [*folders, *recipes]
    result = config(f"{group}={choice}", *([f"dataset.path={tmp_path}"] if needs_path else []))
    assert result.dataset.image_size >= 8


@pytest.mark.parametrize("name", FILES)
def test_every_yaml_key_says_what_it_is_for(name):
    """But recipes in conf/experiment: their keys are explained where they are declared."""
    text = (config_dir() / f"{name}.yaml").read_text()
    ours = text if name.startswith("sweep/") else text.partition("\nhydra:")[0]  # Hydra's own keys come last
    for line in ours.splitlines():
        key = line.strip().partition(":")[0]
        if not line.strip().startswith(("#", "-", "defaults")) and key not in ("_target_", "name", ""):
            assert "#" in line, f"{name}.yaml: '{key}' has no comment"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("trainer.epochs=0", "'trainer.epochs' is 0; it must be at least 1"),
        ("trainer.epochs=many", "'trainer.epochs' cannot be 'many'"),
        ("trainer.precision=bf17", "Did you mean 'bf16'"),
        ("dataset.keep_images_on=devise", "Did you mean 'device'"),
        ("dataset.val_fraction=0.9", "leave some to train"),
        ("monitor=val/acuracy", "Did you mean 'val/accuracy'"),
        ("evaluation.tta_views=3", "must be 1 or 8"),
        ("+loss.gama=2", "'loss.gama' is no key of the chosen loss"),
        ("+loss.gamma=2", "'loss.gamma' is no key of the chosen loss"),
        ("~trainer.epochs", "lacks trainer.epochs"),
        ("scheduler.start_lr=-1", "must be at least 0"),
        ("tracking.model_name=a/b", "without / and :"),
        ("backbone._target_=astroclf.util.atomic.write_text", "must be a class below astroclf.models."),
        ("+trainer.epoch=2", "Did you mean 'trainer.epochs'"),
        ("dataset.samples=many", "Give a whole number."),
        ("dataset.classes=some", "give a list"),
        ("dataset=astro8", "dataset.path=..."),
    ],
)
def test_a_wrong_value_is_named_with_the_remedy(override, says):
    with pytest.raises(ConfigError, match=says.replace(".", r"\.")):
        config(override)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("+dataset.tone.strech=log", "Did you mean 'dataset.tone.stretch'"),
        ("dataset.tone.stretch=lg", "'dataset.tone.stretch' cannot be 'lg'. Did you mean 'log'?"),
        ("dataset.planes=2", "Give a list, such as [a,b]."),
        ("dataset.tone.percentile=0", "dataset.tone.percentile=0.0"),
        ("dataset.fits=log", "such as dataset.fits.hdu"),
        ("dataset.planes=[0,1,2,3,4]", "set dataset.channels=5"),
        ("dataset.channels=0", "'dataset.channels' is 0"),
    ],
)
def test_fits_keys_are_checked_one_by_one(override, says, tmp_path):
    with pytest.raises(ConfigError) as raised:
        config("dataset=folder", f"dataset.path={tmp_path}", override)
    assert says in str(raised.value)


def test_band_files_are_named_on_the_command_line(tmp_path):
    names = "dataset.fits.files=['{id}_i.fits','{id}_r.fits','{id}_g.fits']"
    dataset = config("dataset=folder", f"dataset.path={tmp_path}", names, "dataset.fits.hdu=SCI").dataset
    assert dataset.fits.files == ["{id}_i.fits", "{id}_r.fits", "{id}_g.fits"]
    assert dataset.fits.hdu == "SCI"


def test_every_path_becomes_absolute_and_begins_at_home_where_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    typed = config(
        "dataset=folder", "dataset.path='~/sky'", "dataset.cache_dir=cache", "dataset.split_file='~/splits.csv'",
        "tracking.artifact_root=s3://bucket/runs", "tracking.uri='sqlite:///~/runs.db'", "backbone.weights='~/w.pt'",
    )  # fmt: skip
    assert typed.dataset.path == f"{tmp_path}/home/sky"
    assert typed.dataset.cache_dir == f"{tmp_path}/cache"
    assert typed.dataset.split_file == f"{tmp_path}/home/splits.csv"
    assert typed.tracking.artifact_root == "s3://bucket/runs"
    assert typed.tracking.uri == f"sqlite:///{tmp_path}/home/runs.db"
    assert typed.backbone.weights == f"{tmp_path}/home/w.pt"
    assert config("backbone.weights=imagenet").backbone.weights == "imagenet"
    assert composed_as(CheckConfig, "check", ["model='~/run'"]).model == f"{tmp_path}/home/run"
    assert composed_as(CheckConfig, "check", ["model=models:/sky@champion"]).model == "models:/sky@champion"


@pytest.mark.parametrize(
    ("kind", "given", "typed"),
    [
        (int, "3", 3),
        (float, "3e-4", 3e-4),
        (float | None, 2, 2.0),
        (float | None, None, None),
        (bool, "yes", True),
        (str | None, 7, "7"),
        (list[float], [1, "2"], [1.0, 2.0]),
        (list[float] | float, 1, 1.0),
        (int | str | list[int | str] | None, "1", "1"),
        (int | str | list[int | str] | None, ["SCI", 2], ["SCI", 2]),
        (Literal["mean", "max"], "max", "max"),
    ],
)
def test_a_value_takes_the_type_of_its_key(kind, given, typed):
    assert convert(kind, given) == typed
    assert type(convert(kind, given)) is type(typed)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (int, 3.5),
        (int, True),
        (float, "much"),
        (float, None),
        (bool, 2),
        (list[int], "1,2"),
        (int | str, 1.5),
        (str, []),
    ],
)
def test_a_value_that_a_type_does_not_hold(kind, given):
    with pytest.raises(ValueError):  # noqa: PT011 - its text is the caller's
        convert(kind, given)


def test_numbers_that_yaml_reads_as_text_become_numbers():
    assert config("optimizer.lr=3e-4").optimizer.lr == 3e-4
    assert config().optimizer.eps == 1e-8


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("loss.gama=2", "Did you mean"),
        ("datset=galaxy10", "Did you mean 'dataset'"),
        ("dataset=galaxy1", "'galaxy10'"),
        ("trainer.epoch=3", "'trainer.epochs'"),
        ("trainer.precision=bf17", "'bf16'"),
        ("dataset.tone.strech=log", "'dataset.tone.stretch'"),
        ("resume=nowhere", "names no run that can go on"),
        ("resume=", "names no run that can go on"),
        ("loss=null", "a run needs a loss. Valid: cb_focal"),
        ("hydra.run.dir=/proc/nowhere/x", "hydra.run.dir"),
        ("tracking.uri=mlruns", "sqlite:///mlflow.db"),
    ],
)
def test_a_typo_is_answered_and_leaves_nothing(override, says, tmp_path, typed):
    done = typed(f"astroclf train {override}")
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("override", ["loss.gama=2", "resume=nowhere", "tracking.uri=mlruns"])
def test_a_typo_is_answered_at_once(override, tmp_path, clean_environment):
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "astroclf.train", override],
        cwd=tmp_path, env=clean_environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert time.monotonic() - started < 6  # measured: 0.6 s; the bound allows for a busy machine


def test_torch_is_not_imported_before_the_config_is_checked():
    heavy = ("torch", "mlflow", "optuna", "cv2", "numpy")
    code = f"import sys, astroclf.train; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_help_and_cfg_answer(typed):
    for flag, says in (("--help", "trainer.epochs=16"), ("--cfg=job", "epochs: 16")):
        done = typed(f"astroclf train {flag}")
        assert done.returncode == 0, done.stderr
        assert says in done.stdout
