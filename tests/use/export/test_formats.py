"""Files of exported programs, as whoever gets them runs them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from astroclf.errors import AstroclfError
from astroclf.registry.package import load_package
from astroclf.use.export.check import check_program, drawn_images, trials_of
from astroclf.use.export.formats import PROGRAMS, Runner, of_module
from astroclf.use.export.program import Answers, Program
from astroclf.use.export.programs import write_program
from tests.data.augment.recipes import recipe_values
from tests.tiny import with_profile, write_tiny_package


def run_the_page(page: Path, images: np.ndarray) -> dict[str, Any]:
    """Run the lines of Python that a page gives, as somebody who has nothing but the page and `images`."""
    found = {"images": images}
    exec(page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0], found)
    return found


def test_a_torchscript_file_says_what_it_is(tiny_package, tmp_path, monkeypatch):
    output = tmp_path / "m.ts"
    predictor = load_package(tiny_package, device="cpu", precision="fp32")
    said = write_program(predictor, PROGRAMS["torchscript"], "inside", trials_of(predictor, 8, ()), output)
    assert said.startswith("TorchScript, preprocessing inside; labels equal")
    extra = {"astroclf.json": ""}
    with pytest.warns((FutureWarning, DeprecationWarning), match="deprecated"):
        torch.jit.load(str(output), _extra_files=extra)
    about = json.loads(extra["astroclf.json"])
    assert json.loads(about["classes"]) == ["Merging", "Round Smooth", "Sb (barred)"]
    assert about["input"] == "uint8 (N, 32, 32, 3), brightness 0 to 255"
    page = (tmp_path / "m.ts.md").read_text()
    assert "2. Sb (barred)" in page
    monkeypatch.chdir(tmp_path)
    with pytest.warns((FutureWarning, DeprecationWarning), match="deprecated"):
        found = run_the_page(tmp_path / "m.ts.md", np.zeros((2, 32, 32, 3), np.uint8))
    assert found["classes"] == json.loads(about["classes"])
    assert found["probabilities"].shape == (2, 3)


def test_what_says_something_else_is_not_written(tiny_package, tmp_path, monkeypatch):
    form = PROGRAMS["torchscript"]

    def off(path: Path) -> Runner:
        right = type(form).runner(form, path)
        return lambda images: Answers(*(answer * np.float32(1.001) for answer in right(images)[:3]))

    monkeypatch.setattr(form, "runner", off)
    predictor = load_package(tiny_package, device="cpu", precision="fp32")
    with pytest.raises(AstroclfError, match=r"Nothing was written: on 8 drawn images .* 0 other labels"):
        write_program(predictor, form, "inside", trials_of(predictor, 8, ()), tmp_path / "m.ts")
    assert list(tmp_path.iterdir()) == []


def test_what_is_off_on_the_user_s_own_images_alone_is_not_written_and_the_image_is_named(
    tiny_package, tmp_path, monkeypatch
):
    folder, form = tmp_path / "night", PROGRAMS["torchscript"]
    folder.mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    predictor = load_package(tiny_package, device="cpu", precision="fp32")
    drawn, own = trials_of(predictor, 8, [str(folder)])
    assert own.said == "your 3 images"

    def off(path: Path) -> Runner:
        right = type(form).runner(form, path)

        def run(images: np.ndarray) -> Answers:
            is_last = (images == own.images[2]).all(axis=(1, 2, 3))
            return Answers(*(part + 1e-3 * is_last.reshape(-1, *[1] * (part.ndim - 1)) for part in right(images)[:3]))

        return run

    monkeypatch.setattr(form, "runner", off)
    with pytest.raises(AstroclfError, match=r"on your 3 images .* up to 1\.0e-03 \(most for .*night/2\.png\)"):
        write_program(predictor, form, "inside", [drawn, own], tmp_path / "m.ts")
    assert [path.name for path in tmp_path.iterdir()] == ["night"]


def test_answers_that_are_no_numbers_are_refused(tiny_package):
    predictor = load_package(tiny_package, device="cpu", precision="fp32")
    broken: Runner = lambda images: Answers(*(np.full((len(images), 3)[:axes], np.nan) for axes in (2, 1, 1)))  # noqa: E731
    with pytest.raises(AstroclfError, match="Nothing was written"):
        check_program(predictor, broken, "inside", trials_of(predictor, 4, ()))


def test_another_novelty_is_refused(tiny_package, tmp_path):
    predictor = load_package(with_profile(tiny_package, tmp_path / "known"), device="cpu", precision="fp32")
    right = of_module(Program(predictor, "inside"))

    def off(images: np.ndarray) -> Answers:
        answers = right(images)
        return answers._replace(novelty=answers.novelty + np.float32(0.1))

    assert "(novelty within" in check_program(predictor, right, "inside", trials_of(predictor, 4, ()))
    with pytest.raises(AstroclfError, match=r"other novelties, which differ by up to .* \(at most 0\.001"):
        check_program(predictor, off, "inside", trials_of(predictor, 4, ()))


def test_a_missing_package_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(AstroclfError, match=r"ONNX needs onnxruntime.* `pip install onnxruntime`"):
        PROGRAMS["onnx"].require()


@pytest.mark.slow  # the exporters need seconds for each
@pytest.mark.parametrize("preprocessing", ["inside", "beside"])
@pytest.mark.parametrize("name", ["onnx", "torch_export"])
@pytest.mark.parametrize(
    ("channels", "tta_views", "activation", "changes"),
    [
        (1, 8, "sigmoid", {"crop": [170, 240], "output_size": 24}),
        (3, 1, "softmax", {}),
        (5, 8, "softmax", {"output_size": 48}),
    ],
)
def test_every_format_gives_the_model_s_answers(
    name, preprocessing, channels, tta_views, activation, changes, tmp_path, tiny_backbone
):
    augment = recipe_values(mean=[0.4], std=[0.2], **changes)
    described = {"channels": channels, "tta_views": tta_views, "activation": activation, "augment": augment}
    package = write_tiny_package(tmp_path / "model", **described)
    if channels == 3:  # `noise` is of three
        package = with_profile(package, tmp_path / "known")
    predictor = load_package(package, device="cpu", precision="fp32")
    output = tmp_path / f"m.{name}"
    write_program(predictor, PROGRAMS[name], preprocessing, trials_of(predictor, 200, ()), output)  # it compares


@pytest.mark.slow
@pytest.mark.parametrize("knows", [True, False], ids=["that knows novelty", "of before"])
def test_an_onnx_file_is_run_without_astroclf(knows, tiny_package, tmp_path, monkeypatch):
    package = with_profile(tiny_package, tmp_path / "known") if knows else tiny_package
    predictor = load_package(package, device="cpu", precision="fp32")
    write_program(predictor, PROGRAMS["onnx"], "inside", trials_of(predictor, 200, ()), tmp_path / "m.onnx")
    monkeypatch.chdir(tmp_path)
    images = drawn_images(predictor.spec, 5)
    found = run_the_page(tmp_path / "m.onnx.md", images)
    probabilities, confidence, uncertainty = (found[name] for name in ("probabilities", "confidence", "uncertainty"))
    said = predictor.classify(images)
    np.testing.assert_allclose(probabilities, said.probabilities, atol=1e-5)
    np.testing.assert_allclose(confidence, said.confidence, atol=1e-5)
    np.testing.assert_allclose(uncertainty, said.uncertainty, atol=1e-5)
    about = found["session"].get_modelmeta().custom_metadata_map
    assert json.loads(about["outputs"]) == [output.name for output in found["session"].get_outputs()]
    assert ("novelty" in found, about.get("novelty_limit")) == ((True, "1") if knows else (False, None))
    if knows:
        np.testing.assert_allclose(found["novelty"], said.novelty, rtol=1e-3, atol=1e-3)
    assert found["classes"] == list(predictor.classes)
    assert (about["preprocessing"], about["test_time_views"]) == ("inside", "1")
