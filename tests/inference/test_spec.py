"""A damaged or strange ``model.json`` ends in one paragraph, whatever is wrong with it, and allocates nothing."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from astroclf.errors import WeightsError
from astroclf.inference.spec import SPEC_FILE, read_spec
from astroclf.models.classifier import Classifier
from astroclf.models.custom6conv import Custom6Conv
from astroclf.registry.package import load_package, write_package
from tests.data.augment.recipes import recipe_values

HEAD = {"refinement": True, "attention": False, "uncertainty": True, "hidden": 16, "dropout": 0.3}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: type[nn.Module]) -> Path:
    spec = {
        "backbone": {"_target_": "astroclf.models.tiny.Tiny", "weights": "imagenet"},
        "head": HEAD,
        "classes": ["Merging", "Round Smooth"],
        "image_size": 32,
        "augment": recipe_values(mean=[0.4] * 3, std=[0.2] * 3),
        "calibration": {"temperature": [0.7], "bias": [], "confidence": {"norm": 3, "slope": 4.0, "intercept": -1.0}},
        "conformal": {"coverage": 0.9, "thresholds": [0.5, 0.0], "ranks": [2, 1]},
        "metrics": {"test/accuracy": 0.9},
    }
    state = Classifier(tiny_backbone(), 2, **HEAD).state_dict()
    return write_package(tmp_path_factory.mktemp("spec") / "model", spec, state)


@pytest.fixture
def changed(package: Path) -> Iterator[Callable[[dict[str, Any]], Path]]:
    """Changes keys of ``model.json``, such as ``head.hidden``."""
    whole = (package / SPEC_FILE).read_text()

    def change(changes: dict[str, Any]) -> Path:
        plain = json.loads(whole)
        for name, value in changes.items():
            *sections, key = name.split(".")
            place = plain
            for section in sections:
                place = place[section]
            place[key] = value
        (package / SPEC_FILE).write_text(json.dumps(plain))
        return package

    yield change
    (package / SPEC_FILE).write_text(whole)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_size": -32}, "'image_size' is -32; it must be at least 1 and below 16384"),
        ({"image_size": 10**9}, "'image_size' is 1000000000; it must be at least 1 and below 16384"),
        ({"image_size": 10**400}, "'image_size' is 1000"),
        ({"image_size": "32"}, "'image_size' cannot be '32'"),
        ({"image_size": True}, "'image_size' cannot be True"),
        ({"image_size": 32.0}, "'image_size' cannot be 32.0"),
        ({"channels": 0}, "'channels' is 0; it must be at least 1"),
        ({"channels": 4}, "augment.mean has 3 values, but the images have 4 band"),
        ({"tta_views": 3}, "'tta_views' cannot be 3"),
        ({"activation": "relu"}, "'activation' cannot be 'relu'"),
        ({"classes": []}, "'classes' must be names, each of them once"),
        ({"classes": ["Merging", "Merging"]}, "'classes' must be names, each of them once"),
        ({"classes": ["Merging", 3]}, "'classes' cannot be \\['Merging', 3\\]"),
        ({"classes": "Merging"}, "'classes' cannot be 'Merging'"),
        ({"classes": ["a", "b", "c"], "conformal": {}}, "scores.weight has shape .2, 16. instead of .3, 16."),
        ({"tta_veiws": 8}, "'tta_veiws' is no key of a model. Did you mean 'tta_views'"),
        ({"head.hidden": 20_000}, "has shape .16, 8. instead of .20000, 8."),
        ({"head.hidden": 10**12}, "does not describe a network|has shape"),
        ({"head.hidden": -16}, "does not describe a network"),
        ({"head.hidden": "16"}, "'head.hidden' cannot be '16'"),
        ({"head.refinement": "no"}, "'head.refinement' cannot be 'no'"),
        ({"head.dropout": 7.0}, "does not describe a network.*probability"),
        ({"head.width": 16}, "'head.width' is no key of Classifier"),
        ({"head": None}, "'head' cannot be None"),
        ({"backbone.depth": 18}, "'backbone.depth' is no key of Tiny"),
        ({"backbone": ["ResNet18"]}, "'backbone' cannot be"),
        ({"augment.output_size": 10**9}, "'augment.output_size' is 1000000000; it must be at least 1"),
        ({"augment.blur_kernel": 2.5}, "'augment.blur_kernel' cannot be 2.5"),
        ({"augment.mean": ["black"]}, "'augment.mean' cannot be"),
        ({"augment.std": [0.0]}, "augment.std=.0.0. cannot work"),
        ({"augment": {}}, "it lacks augment.reference_size"),
        ({"calibration": [0.7]}, "'calibration' cannot be"),
        ({"calibration.temperature": 0.7}, "'calibration.temperature' cannot be 0.7"),
        ({"calibration.temperature": [0.0]}, "calibration: 'temperature' must be numbers from 0.05 to 20"),
        ({"calibration.temperature": [10**400]}, "calibration: 'temperature' must be numbers"),
        ({"calibration.temperature": [1.0, 1.0, 1.0]}, "'calibration.temperature' has 3 numbers, and the model 2"),
        ({"calibration.bias": [1.0]}, "'calibration.bias' has 1 numbers, and the model 2"),
        ({"calibration": {"confidence": {"norm": 3}}}, "it lacks calibration.confidence.slope"),
        ({"calibration": {"confidence": 3}}, "'calibration.confidence' cannot be 3"),
        ({"calibration": {"bias": [0.0, 0.0]}}, "it lacks calibration.temperature"),
        ({"calibration.confidence.norm": 99}, "calibration.confidence: 'norm' must be from 1 to 10"),
        ({"calibration.confidence.slope": 10**400}, "calibration.confidence: 'slope' must be above 0"),
        (
            {"calibration.confidence": {"temperature": [1.0, 0.0], "bias": []}},
            "confidence: 'temperature' must be numbers",
        ),
        ({"calibration.confidence": {"temperature": [1.0] * 3, "bias": []}}, "confidence.temperature' has 3 numbers"),
        ({"calibration.scale": 1.0}, "'calibration.scale' is no key of Calibration"),
        ({"calibration.novelty": {"middle": 1.0, "limit": 1.0}}, "calibration.novelty: 'limit' must be above 'middle'"),
        ({"conformal.coverage": 1}, "conformal: 'coverage' must be between 0 and 1"),
        ({"conformal.thresholds": [0.5]}, "'conformal.thresholds' has 1 numbers, and the model 2 classes"),
        ({"conformal.thresholds": [0.5, -1.1]}, "conformal: 'thresholds' must be numbers from -1 to 1"),
        ({"conformal.ranks": [1, 3]}, "conformal: 'ranks' must be from 1 to the number of classes"),
        ({"conformal.ranks": [1.0, 2.0]}, "'conformal.ranks' cannot be"),
        ({"weights_sha256": None}, "'weights_sha256' cannot be None"),
        ({"format": True}, "has format True; this version"),
    ],
)
def test_a_value_that_no_model_has_is_refused_by_its_key(
    changed: Callable[..., Path], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(WeightsError, match=said) as raised:
        load_package(changed(changes), device="cpu")
    assert "\n" not in str(raised.value)
    assert SPEC_FILE in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "it holds"),
        ("NaN", "no valid JSON: NaN is no number"),
        ("[" * 100_000, "no valid JSON"),
        ("\x00", "no valid JSON"),
        ('{"format": ' + "1" * 5000 + "}", "no valid JSON"),
    ],
)
def test_a_file_that_is_no_json_of_a_model_is_damaged(changed: Callable[..., Path], text: str, said: str) -> None:
    folder = changed({})
    (folder / SPEC_FILE).write_text(text)
    with pytest.raises(WeightsError, match=f"is damaged .{said}"):
        read_spec(folder)
    (folder / SPEC_FILE).write_bytes(b"\xff\xfe{}")
    with pytest.raises(WeightsError, match="is damaged"):
        read_spec(folder)


def test_absurd_sizes_allocate_nothing(changed: Callable[..., Path]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for changes in ({"head.hidden": 20_000}, {"head.hidden": 10**12}, {"head.hidden": 10**30}):
        with pytest.raises(WeightsError):
            load_package(changed(changes), device="cpu")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000, "kB; two layers of 20,000 take 1.6 GB"


def test_a_first_layer_as_wide_as_an_absurd_image_is_not_built(tmp_path: Path) -> None:
    spec = {
        "backbone": {"_target_": "astroclf.models.custom6conv.Custom6Conv"},
        "classes": ["a", "b"],
        "image_size": 64,
        "augment": recipe_values(),
    }
    folder = write_package(tmp_path / "model", spec, Classifier(Custom6Conv(image_size=64), 2).state_dict())
    plain = json.loads((folder / SPEC_FILE).read_text())
    (folder / SPEC_FILE).write_text(json.dumps(plain | {"image_size": 16_000}))
    with pytest.raises(WeightsError, match=r"has shape \(512, 1024\) instead of \(512, 64000000\)"):
        load_package(folder, device="cpu")


def test_tensors_that_claim_more_than_their_file_holds_are_refused(changed: Callable[..., Path]) -> None:
    folder = changed({"head.hidden": 20_000})
    weights = folder / "weights.pt"
    whole = weights.read_bytes()
    state = torch.load(weights, weights_only=True)
    torch.save({name: torch.zeros(1).expand(20_000, 20_000) for name in state}, weights)
    changed({"weights_sha256": hashlib.sha256(weights.read_bytes()).hexdigest()})
    try:
        with pytest.raises(WeightsError, match="its tensors claim more numbers than it holds"):
            load_package(folder, device="cpu")
    finally:
        weights.write_bytes(whole)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([0, -1, 3, 10**9, 10**12, 10**400]),
    st.floats(allow_nan=True), st.text(max_size=5),
)  # fmt: skip
ODD = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))


@st.composite
def damage(draw: st.DrawFn) -> Callable[[str], bytes]:
    """Something that may happen to the text of ``model.json``."""
    kind, value, place = draw(st.sampled_from(["value", "key", "cut", "byte"])), draw(ODD), draw(st.integers(0, 10**6))

    def strike(text: str) -> bytes:
        if kind in ("cut", "byte"):
            content, at = text.encode(), place % len(text)
            return content[:at] if kind == "cut" else content[:at] + bytes([place % 256]) + content[at + 1 :]
        plain = json.loads(text)
        keys = [(plain, key) for key in plain]
        keys += [(section, key) for section in plain.values() if isinstance(section, dict) for key in section]
        section, key = keys[place % len(keys)]
        section[key if kind == "value" else f"{key}s"] = value
        return json.dumps(plain).encode()

    return strike


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(strike=damage())
def test_any_damage_ends_in_one_paragraph_or_in_a_model_that_works(
    changed: Callable[..., Path], strike: Callable[[str], bytes]
) -> None:
    folder = changed({})
    path = folder / SPEC_FILE
    path.write_bytes(strike(path.read_text()))
    try:
        table = load_package(folder, device="cpu").classify(np.zeros((2, 8, 8, 3), np.uint8))
    except WeightsError as error:
        said = str(error)
    else:
        said = "a paragraph"
        assert len(table) == 2
    assert "\n" not in said
    assert len(said) < 1200
