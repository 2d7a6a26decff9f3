"""One check from config to report: whatever is wrong with a data set, as much of it as can be seen is told."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.audit.inspection import inspect
from astroclf.config.compose import composed_as
from astroclf.errors import AstroclfError, ConfigError, DataError, WeightsError
from astroclf.settings.verbs.data import CheckConfig
from astroclf.simulation import write_galaxy10
from tests.audit.planted import CLASSES, SIDE, picture, plant_faults, save, write_clean
from tests.data.augment.recipes import recipe_values


def config(*overrides: str) -> CheckConfig:
    return composed_as(CheckConfig, "check", [*overrides, f"dataset.image_size={SIDE}"])


@pytest.fixture
def check(tmp_path: Path):
    """Check a data set, with these overrides; returns what check.json says."""

    def run_check(*overrides: str, dataset: str = "astro8", path: Path = tmp_path / "sky") -> dict[str, Any]:
        names = () if dataset != "astro8" else (f"dataset.classes=[{','.join(CLASSES)}]",)
        out = tmp_path / "out"
        status = inspect(
            config(f"dataset={dataset}", f"dataset.path={path}", f"dataset.cache_dir={tmp_path}", *names, *overrides),
            out,
            "check it",
        )
        assert (out / "report.html").stat().st_size > 2000
        saved = json.loads((out / "check.json").read_text(encoding="utf-8"))
        assert saved["status"] == status
        return saved

    return run_check


def kinds(saved: dict[str, Any]) -> dict[str, str]:
    return {found["kind"]: found["severity"] for found in saved["findings"]}


def cases(saved: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return next(found["cases"] for found in saved["findings"] if found["kind"] == kind)


def write_metadata(folder: Path, rows: list[dict[str, Any]]) -> None:
    with (folder / "metadata.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def listed(folder: Path, **columns: Any) -> list[dict[str, Any]]:
    """A row of metadata.csv for each file of a clean data set."""
    files = sorted(folder.glob("*/*.png"))
    return [{"path": str(f.relative_to(folder)), "label": f.parent.name, **columns} for f in files]


def test_looking_needs_no_torch_and_no_mlflow():
    code = "import sys, astroclf.audit.inspection; sys.exit(any(name in sys.modules for name in ('torch', 'mlflow')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_clean_data_set_has_status_0(check, tmp_path):
    write_clean(tmp_path / "sky")
    saved = check()
    assert saved["status"] == 0
    assert set(kinds(saved).values()) <= {"note"}
    assert [row["name"] for row in saved["classes"]] == list(CLASSES)
    assert sum(row["test"] for row in saved["classes"]) > 0


def test_planted_faults_are_found_and_unreadable_files_are_errors_only_where_training_refuses_them(check, tmp_path):
    write_clean(tmp_path / "sky")
    planted = plant_faults(tmp_path / "sky")
    saved = check()
    assert saved["status"] == 2
    for kind, samples in planted.items():
        assert {frozenset(case["ids"]) for case in cases(saved, kind)} == samples
    assert {kind for kind, severity in kinds(saved).items() if severity != "note"} == set(planted)
    assert {kind for kind, severity in kinds(saved).items() if severity == "error"} == {
        "truncated",
        "empty",
        "no image",
        "constant",
    }
    skipping = check("dataset.on_error=skip")
    assert skipping["status"] == 1
    assert skipping["images"] == {"listed": 79, "readable": 75}


def test_wrong_classes_do_not_keep_the_rest_from_being_looked_at(check, tmp_path):
    write_clean(tmp_path / "sky")
    save(tmp_path / "sky" / "galaxies" / "copy.png", picture(0))
    saved = check("dataset.classes=[galaxy,nebula,star,comet]")
    assert saved["status"] == 2
    assert [case["labels"] for case in cases(saved, "classes missing")] == [["comet"]]
    assert "did you mean `galaxy`" in cases(saved, "classes unknown")[0]["text"]
    assert set(cases(saved, "exact duplicates")[0]["ids"]) == {"galaxies/copy.png", "galaxy/00.png"}


def test_a_data_set_that_cannot_be_listed_is_told_in_the_report(check, tmp_path):
    write_clean(tmp_path / "sky", each=2)
    rows = listed(tmp_path / "sky", split="")
    rows[3]["split"] = "tset"
    rows[5]["label"] = ""
    write_metadata(tmp_path / "sky", rows)
    saved = check()
    assert kinds(saved) == {"unusable": "error"}
    split, label = (case["text"] for case in cases(saved, "unusable"))
    assert "line 5: the split `tset`" in split
    assert "line 7: the label is empty" in label


def test_files_none_of_which_can_be_read_are_all_named(check, tmp_path):
    for name in CLASSES:
        (tmp_path / "sky" / name).mkdir(parents=True)
        (tmp_path / "sky" / name / "a.png").write_bytes(b"")
        (tmp_path / "sky" / name / "b.fits").write_bytes(b"SIMPLE")
    saved = check()
    assert kinds(saved) == {"empty": "error", "damaged": "error"}
    assert saved["images"] == {"listed": 6, "readable": 0}


def test_numbers_of_which_next_to_nothing_would_be_seen_are_found_with_the_key_that_mends_it(check, tmp_path):
    for kind, name in enumerate(CLASSES):
        (tmp_path / "sky" / name).mkdir(parents=True)
        for number in range(12):
            dark = picture(100 * kind + number).mean(axis=2).astype(np.uint16) * 3
            dark[0, 0] = 60000 if number == 0 else 0
            cv2.imwrite(str(tmp_path / "sky" / name / f"{number}.png"), dark)
    saved = check()
    case = cases(saved, "narrow range")[0]
    assert case["numbers"] == "uint16"
    assert case["used_share"] < 0.015
    assert "65,535 (white)" in case["text"]
    assert "narrow range" not in kinds(check("dataset.tone.interval=dataset"))


def test_given_splits_that_share_a_picture_leak(check, tmp_path):
    sky = write_clean(tmp_path / "sky")
    rows = listed(sky, split="train", ra="", dec="")
    for number, row in enumerate(rows):
        row["split"] = ("train", "train", "val", "test")[number % 4]
        row["ra"], row["dec"] = 10 + number, 0
    save(sky / "galaxy" / "copy.png", picture(0))
    save(sky / "star" / "turned.png", np.rot90(picture(2001)))
    copied = {"path": "galaxy/copy.png", "label": "galaxy", "split": "test", "ra": 5, "dec": 10}
    turned = {"path": "star/turned.png", "label": "star", "split": "test", "ra": 6, "dec": 10}
    write_metadata(sky, [*rows, copied, turned])
    leaks = cases(check(), "leak")
    assert {frozenset(case["ids"]) for case in leaks} == {
        frozenset({"galaxy/00.png", "galaxy/copy.png"}),
        frozenset({"star/01.png", "star/turned.png"}),
    }
    assert {"train", "test"} == set(leaks[0]["splits"])


def test_a_wrong_model_or_path_ends_the_check_before_it_begins(check, tmp_path):
    with pytest.raises(WeightsError, match="There is no model"):
        check(f"model={tmp_path / 'nowhere'}")
    with pytest.raises(DataError, match="there is no such folder"):
        check()
    with pytest.raises(ConfigError, match="'trainer.num_workers' is 0"):
        check("trainer.num_workers=0")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A package whose network always says star, with probability 0.8."""
    from astroclf.models.classifier import Classifier
    from astroclf.models.custom6conv import Custom6Conv
    from astroclf.registry.package import write_package

    classifier = Classifier(Custom6Conv(image_size=SIDE, channels=3, weights=None), 4)
    state = {name: torch.zeros_like(tensor) for name, tensor in classifier.state_dict().items()}
    (bias,) = (name for name, tensor in state.items() if tensor.shape == (4,))
    probabilities = {"star": 0.8, "galaxy": 0.1, "nebula": 0.05, "comet": 0.05}
    state[bias] = torch.tensor(list(probabilities.values())).log()
    spec = {
        "backbone": {"_target_": "astroclf.models.custom6conv.Custom6Conv"},
        "classes": list(probabilities),
        "image_size": SIDE,
        "augment": recipe_values(),
    }
    return write_package(tmp_path / "model", spec, state)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["dataset.channels=1"], "takes images of 3 channels, but dataset.channels=1"),
        (["model=models:/sky/one"], "names no version of a model: write models:/name@alias or models:/name/3"),
    ],
)
def test_a_model_that_cannot_be_asked_is_refused_first(check, model, database_uri, overrides, says):
    with pytest.raises(AstroclfError, match=says):
        check(f"model={model}", f"tracking.uri={database_uri}", *overrides)


def test_a_model_of_other_numbers_than_the_data_set_holds_is_refused(check, tmp_path, model):
    write_clean(tmp_path / "sky", each=4)
    spec = json.loads((model / "model.json").read_text())
    spec["tones"] = {"FITS": {"interval": "zscale", "stretch": "asinh"}}
    (model / "model.json").write_text(json.dumps(spec))
    with pytest.raises(AstroclfError, match="learned from FITS files, and the data set holds 8-bit pictures"):
        check(f"model={model}")


def test_labels_that_the_model_doubts_are_ranked(check, tmp_path, model):
    write_clean(tmp_path / "sky", each=4)
    saved = check(f"model={model}")
    doubted = cases(saved, "suspicious labels")
    assert len(doubted) == 8
    assert {case["predicted"] for case in doubted} == {"star"}
    assert [case["labels"][0] for case in doubted] == ["nebula"] * 4 + ["galaxy"] * 4
    assert doubted[0]["confidence"] == pytest.approx(0.8, abs=1e-3)
    (listed,) = tmp_path.rglob("suspects.csv")
    header, first, *others = listed.read_text().splitlines()
    assert header == "id,label,suggested_label,label_probability,suggested_probability,class_accuracy"
    assert first.startswith(f"{doubted[0]['ids'][0]},nebula,star,")
    assert len(others) == 7
    assert "not known" in saved["dataset"]["model"]


def test_samples_in_the_models_training_split_are_marked(check, tmp_path, model):
    write_clean(tmp_path / "sky")
    prints = check()["dataset"]
    spec = json.loads((model / "model.json").read_text())
    spec["facts"] = {"train_fingerprint": prints["train_fingerprint"], "data_fingerprint": prints["data_fingerprint"]}
    (model / "model.json").write_text(json.dumps(spec))
    saved = check(f"model={model}")
    marked = [case for case in cases(saved, "suspicious labels") if case["trained_on"]]
    train = {row["name"]: row["train"] for row in saved["classes"]}
    assert len(marked) == train["galaxy"] + train["nebula"]
    assert "trained on the train split" in saved["dataset"]["model"]


def test_a_model_of_other_classes_is_told_apart(check, tmp_path, model):
    write_clean(tmp_path / "sky", each=4)
    (tmp_path / "sky" / "star").rename(tmp_path / "sky" / "asteroid")
    saved = check(f"model={model}", "dataset.classes=found")
    assert [case["labels"] for case in cases(saved, "other model")] == [["asteroid"]]
    assert {case["labels"][0] for case in cases(saved, "suspicious labels")} == {"galaxy", "nebula"}


def test_galaxy10_reports_the_pair_that_contradicts_itself(check, tmp_path):
    import h5py

    write_galaxy10(tmp_path / "g.h5", samples=80, image_size=32, seed=0)
    with h5py.File(tmp_path / "g.h5", "r+") as file:
        file["images"][7] = file["images"][3]
        file["ans"][7] = (int(file["ans"][3]) + 1) % 10
    saved = check(dataset="galaxy10", path=tmp_path / "g.h5")
    (pair,) = cases(saved, "exact duplicates")
    assert (pair["ids"], pair["conflict"]) == (["row-000003", "row-000007"], True)
    assert saved["files"] == {"formats": {"HDF5 RGB 8-bit": 80}, "sizes": {"32x32": 80}}
    with h5py.File(tmp_path / "g.h5", "r+") as file:
        file["ans"][5] = 99
    assert "the label 99 in row 5" in cases(check(dataset="galaxy10", path=tmp_path / "g.h5"), "unusable")[0]["text"]


def test_a_data_set_is_compared_with_other_images_of_no_classes(check, tmp_path):
    write_clean(tmp_path / "sky", each=5)
    for number in range(12):
        save(tmp_path / "other" / f"{number}.png", cv2.blur(picture(9000 + number), (5, 5)))
    (tmp_path / "other" / "broken.png").write_bytes(b"nothing")
    saved = check(f"reference={tmp_path / 'other'}")
    assert saved["reference"]["other"] == "other"
    assert (saved["reference"]["images"], saved["reference"]["other_images"]) == (15, 12)
    assert "times" in saved["reference"]["said"]
    with (tmp_path / "out" / "shift.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert rows[0]["statistic"] in ("noise", "detail")
    assert float(rows[0]["ks"]) > 0.9
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Beside other images" in page
    assert saved["reference"]["said"][:40] in page


def test_a_reference_that_is_not_there_is_refused_before_anything_is_decoded(check, tmp_path):
    write_clean(tmp_path / "sky", each=2)
    with pytest.raises(ConfigError, match=r"reference=.*othr names no images"):
        check(f"reference={tmp_path / 'othr'}")
    assert not list(tmp_path.glob("stores*"))


def test_a_reference_without_an_image_is_refused(check, tmp_path):
    write_clean(tmp_path / "sky", each=4)
    (tmp_path / "other").mkdir()
    with pytest.raises(DataError, match=r"reference=.*other holds no image"):
        check(f"reference={tmp_path / 'other'}")
