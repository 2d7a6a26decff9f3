"""``astroclf export`` as people type it."""

from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.export import main


def test_the_ending_says_the_form(tiny_package: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main([str(tiny_package), str(tmp_path / "m.ts"), "check_images=4"]) == 0
    assert "m.ts: TorchScript, preprocessing inside; labels equal" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.ts", "m.ts.md"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m"], "does not say in which form: end it in .onnx (onnx)"),
        (["m.onnx", "format=bundle"], "ends as a file of format=onnx, and format=bundle"),
        (["m.onnx", "format=onxn"], "format"),
        (["m.onnx", "preprocesing=beside"], "preprocessing"),
        (["there.onnx"], "there.onnx exists already. Name another output, or give overwrite=true."),
        (["mine", "format=bundle", "overwrite=true"], "mine is a folder that no export has made"),
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
