"""`check` and `train` agree: what one calls an error the other refuses, and in the same words."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.audit.inspection import inspect
from astroclf.config.compose import composed_as
from astroclf.errors import AstroclfError
from astroclf.run.build import ProcessCache, TrialContext
from astroclf.run.folder import RunFolder
from astroclf.run.train import fit
from astroclf.settings.config import Config
from astroclf.settings.verbs.data import CheckConfig
from tests.audit.planted import picture, save, write_clean

TINY = (
    "backbone=custom6conv", "trainer=debug", "trainer.max_steps=1", "tracking=none", "trainer.batch_size=4",
    "head.uncertainty=false", "trainer.num_workers=1",
)  # fmt: skip


def clean(folder: Path) -> None:
    write_clean(folder, each=6)


def one_class(folder: Path) -> None:
    for number in range(6):
        save(folder / "galaxy" / f"{number}.png", picture(number))


def small_class(folder: Path) -> None:
    clean(folder)
    for number in range(2):
        save(folder / "comet" / f"{number}.png", picture(9000 + number))


def class_of_copies(folder: Path) -> None:
    clean(folder)
    for number in range(6):
        save(folder / "comet" / f"{number}.png", picture(9000))


def damaged(folder: Path) -> None:
    clean(folder)
    (folder / "star" / "00.png").write_bytes(b"")


def constant(suffix: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        clean(folder)
        if suffix == "fits":
            fits.PrimaryHDU(np.ones((64, 64), np.float32)).writeto(folder / "star" / "flat.fits")
        else:
            save(folder / "star" / f"flat.{suffix}", np.full((64, 64, 3), 90, np.uint8))

    return write


def class_without_readable_files(folder: Path) -> None:
    clean(folder)
    for path in (folder / "star").iterdir():
        path.write_bytes(b"not a picture")


def table(**columns: Callable[[int], object]) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        clean(folder)
        files = sorted(folder.glob("*/*.png"))
        with (folder / "metadata.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["path", "label", *columns])
            for row, path in enumerate(files):
                name = path.relative_to(folder).as_posix()
                writer.writerow([name, path.parent.name, *(column(row) for column in columns.values())])

    return write


def torn_copy(folder: Path) -> None:
    table(split=lambda row: ("train", "val", "test")[row % 3])(folder)
    save(folder / "galaxy" / "00.png", picture(1))  # as 01.png, which is in another split


def cube(folder: Path) -> None:
    clean(folder)
    fits.PrimaryHDU(np.random.default_rng(0).normal(size=(5, 64, 64)).astype(np.float32)).writeto(
        folder / "star" / "cube.fits"
    )


CASES: dict[
    str, tuple[Callable[[Path], None], dict[str, Any], bool]
] = {  # what is written, changed keys, is it an error
    "clean": (clean, {}, False),
    "one class": (one_class, {}, True),
    "all classes but one excluded": (clean, {"exclude_classes": ["star", "nebula"]}, True),
    "a class too small for three splits": (small_class, {}, True),
    "a small class left out": (small_class, {"exclude_classes": ["comet"]}, False),
    "a class of one picture": (class_of_copies, {}, True),
    "an empty file": (damaged, {}, True),
    "an empty file skipped": (damaged, {"on_error": "skip"}, False),
    "a constant PNG": (constant("png"), {}, True),
    "a constant JPEG": (constant("jpg"), {}, True),
    "a constant FITS file": (constant("fits"), {}, True),
    "constant pictures skipped": (constant("png"), {"on_error": "skip"}, False),
    "nothing readable in a class": (class_without_readable_files, {"on_error": "skip"}, True),
    "an unknown class": (clean, {"classes": ["galaxy", "star"]}, True),
    "a class without images": (clean, {"classes": ["galaxy", "star", "nebula", "comet"]}, True),
    "no test images": (clean, {"test_fraction": 0}, True),
    "a wrong split": (table(split=lambda row: "tset" if row == 3 else ""), {}, True),
    "no given test split": (table(split=lambda row: ("train", "val")[row % 2]), {}, False),
    "no given train split": (table(split=lambda row: ("val", "test")[row % 2]), {}, True),
    "given splits": (table(split=lambda row: ("train", "val", "test")[row % 3]), {}, False),
    "a fold of given splits": (table(split=lambda row: ("train", "test")[row % 2]), {"fold": "1/3"}, True),
    "a copy in two given splits": (torn_copy, {}, True),
    "more folds than samples": (clean, {"fold": "1/9"}, True),
    "a class that is tested only": (
        table(split=lambda row: ("test", "train", "val")[row % 3 if row > 5 else 0]),
        {},
        True,
    ),
    "pictures of five bands": (clean, {"channels": 5}, True),
    "one cube of five bands among pictures": (cube, {"channels": 5}, True),
}


@pytest.fixture(scope="module")
def configs() -> tuple[CheckConfig, Config]:
    shared = ["dataset=folder", "dataset.path=x", "dataset.image_size=32"]
    return composed_as(CheckConfig, "check", shared), composed_as(Config, "config", [*shared, *TINY])


@pytest.mark.parametrize("case", CASES)
def test_what_check_calls_an_error_is_what_a_training_refuses(case, configs, tmp_path, monkeypatch):
    write, changes, wrong = CASES[case]
    write(tmp_path / "sky")
    monkeypatch.chdir(tmp_path)
    check, train = configs
    dataset = replace(check.dataset, path=str(tmp_path / "sky"), cache_dir=str(tmp_path), **changes)
    status = inspect(replace(check, dataset=dataset), tmp_path / "out", "check it")
    refusal, cache = None, ProcessCache()
    train = replace(train, dataset=dataset)
    try:
        cache.data(train)  # as the training will: most refusals come from here, and need no network
        fit(train, RunFolder.new(tmp_path / "run"), "train it", cache, TrialContext())
    except AstroclfError as error:
        refusal = str(error)
    assert (status == 2) == (refusal is not None) == wrong
    found = json.loads((tmp_path / "out" / "check.json").read_text(encoding="utf-8"))["findings"]
    assert wrong == any(each["severity"] == "error" for each in found)
    for each in found:  # what is said of the data set as a whole is said in the same words
        if each["kind"] in ("one class", "unsplittable"):
            assert refusal == each["cases"][0]["text"] or "hold no usable image" in str(refusal)


def test_near_copies_in_given_splits_are_an_error_though_a_training_takes_them_as_given(configs, tmp_path):
    table(split=lambda row: ("train", "val", "test")[row % 3])(tmp_path / "sky")
    save(tmp_path / "sky" / "galaxy" / "00.png", np.rot90(picture(1)))
    check = configs[0]
    dataset = replace(check.dataset, path=str(tmp_path / "sky"), cache_dir=str(tmp_path))
    assert inspect(replace(check, dataset=dataset), tmp_path / "out", "check it") == 2
    found = json.loads((tmp_path / "out" / "check.json").read_text(encoding="utf-8"))["findings"]
    assert [each["kind"] for each in found if each["severity"] == "error"] == ["leak"]
