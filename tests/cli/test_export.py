"""``astroclf export`` as people type it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from astroclf.export import main


def test_the_ending_says_the_form(tiny_package: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(tiny_package), str(tmp_path / "m.ts"), "check_images=4"]) == 0
    assert "m.ts: TorchScript, preprocessing inside; labels equal" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.ts", "m.ts.md"]


@pytest.mark.parametrize("words", [["m.ts"], ["hub", "format=huggingface"], ["m.zip"]])
def test_it_is_compared_with_the_model_on_images_of_the_user_s_too(
    words: list[str], tiny_package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("night").mkdir()
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"night/{number}.png")
    Path("night", "2.png").write_bytes(b"\x89PNG\r\n")
    assert main([str(tiny_package), *words, "inputs=night", "check_images=3"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert re.search(r"(the same|within \de-\d\d) on 3 drawn images and ", said)
    assert re.search(r"(the same|within \de-\d\d) on 2 of your 5 images \(1 cannot be read\)\.", said)
    assert "night/2.png: damaged" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m"], "does not say in which form: end it in .onnx (onnx)"),
        (["m.onnx", "format=bundle"], "ends as a file of format=onnx, and format=bundle"),
        (["m.onnx", "format=onxn"], "format"),
        (["m.onnx", "preprocesing=beside"], "preprocessing"),
        (["there.onnx"], "there.onnx exists already. Name another output, or give overwrite=true."),
        (["mine", "format=bundle", "overwrite=true"], "mine is a folder that no export has made"),
        (["m.ts", "inputs=mien"], "inputs=mien: there is neither a file nor a folder"),
        (["m.ts", "inputs=mine"], "inputs=mine holds no image: 0 images; left out: 1"),
    ],
)
def test_what_cannot_work_is_said_in_a_paragraph_and_nothing_is_written(
    words, said, tiny_package, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    Path("there.onnx").write_text("something")
    Path("mine").mkdir()
    Path("mine", "thesis.tex").write_text("years of work")
    before = sorted(tmp_path.rglob("*"))
    assert main([str(tiny_package), *words]) == 1
    assert said in " ".join(capsys.readouterr().err.split())
    assert sorted(tmp_path.rglob("*")) == before


def test_an_export_is_written_over_only_if_that_is_asked_for(tiny_package: Path, tmp_path: Path) -> None:
    words = [str(tiny_package), str(tmp_path / "hub"), "format=huggingface"]
    assert main(words) == 0
    (tmp_path / "hub" / "README.md").write_text("old")
    assert main(words) == 1
    assert main([*words, "overwrite=true"]) == 0
    assert (tmp_path / "hub" / "README.md").read_text() != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["hub"]
