"""The OpenCV and the torch executor do the same to the same draws."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astroclf.data.augment import on_cpu, on_torch
from astroclf.data.augment.draws import noise_field, sample_keys
from astroclf.data.augment.plan import plan
from astroclf.data.augment.recipe import Augmentation
from astroclf.util.programs import Programs
from tests.data.augment.recipes import recipe
from tests.on_gpu import DEVICES, gpu

EVERYTHING: dict[str, Any] = {
    "crop": [170, 240],
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.4,
    "hue": 0.5,
    "blur_kernel": 3,
    "hflip": 0.5,
    "vflip": 0.5,
    "rotation": [0, 360],
    "zoom": [0.8, 1.3],
    "shift": 0.1,
    "noise": 0.01,
}
SURVEY: dict[str, Any] = {
    "degrade": 0.7,
    "softening": 0.02,
    "seeing": 40.0,
    "depth": 0.75,
    "dimming": 0.5,
    "zero_point": 0.1,
    "gradient": 3.0,
    "jpeg": 40,
    "gaps": 0.5,
}
SUBSETS = [
    EVERYTHING,
    EVERYTHING | {"color": "after_geometry"},
    {key: EVERYTHING[key] for key in ("crop", "brightness", "contrast", "saturation", "hue")},
    {key: EVERYTHING[key] for key in EVERYTHING if key != "blur_kernel"} | {"color": "after_geometry"},
    {key: EVERYTHING[key] for key in ("blur_kernel", "noise")},
    {key: EVERYTHING[key] for key in ("hflip", "rotation", "zoom", "shift")},
    {"dihedral": True, "brightness": 0.1, "contrast": 0.1},
    {},
    SURVEY,
    {"trivial": True, "dihedral": True},
    SURVEY | {"softening": 0.1, "dihedral": True, "zoom": [0.6, 1.6], "brightness": 0.1, "contrast": 0.1},
    EVERYTHING | SURVEY | {"softening": None, "color": "after_geometry"},
]


def tolerance(options: dict[str, Any]) -> int:
    """Steps of 255: color after the geometry, and flux, stretch what OpenCV's uint8 pixels were rounded by before."""
    return 4 if options.get("color") == "after_geometry" or options.get("degrade") else 2


def both(
    augmentation: Augmentation, pixels: np.ndarray, evaluate: bool, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Outputs of both executors, BHWC, in units of one step of 255."""
    draws = None if evaluate else augmentation.draw(seed, 0, np.arange(len(pixels)))
    steps = plan(augmentation, pixels.shape, draws)
    by_opencv = on_cpu.apply(pixels, steps)
    by_torch = on_torch.apply(torch.from_numpy(pixels), steps)
    assert by_torch.is_contiguous(memory_format=torch.channels_last)
    return by_opencv / steps.scale_C, by_torch.permute(0, 2, 3, 1).numpy() / steps.scale_C


@settings(max_examples=80, deadline=None)
@given(
    options=st.sampled_from(SUBSETS),
    size=st.integers(9, 48),
    output=st.none() | st.integers(7, 48),
    bands=st.sampled_from([1, 2, 3, 3, 3, 4, 5, 6, 7, 12]),
    evaluate=st.booleans(),
    seed=st.integers(0, 2**32),
)
def test_executors_agree_on_white_noise(
    options: dict[str, Any], size: int, output: int | None, bands: int, evaluate: bool, seed: int
) -> None:
    """White noise is the hardest image: a neighbouring pixel can differ by 255."""
    pixels = np.random.default_rng(seed).integers(0, 256, (3, size, size, bands), dtype=np.uint8)
    augmentation = recipe(**options, output_size=output, mean=np.linspace(0.3, 0.6, bands).tolist())
    by_opencv, by_torch = both(augmentation, pixels, evaluate, seed)
    assert np.abs(by_opencv - by_torch).max() < tolerance(options)


@pytest.mark.parametrize(("size", "exact"), [(32, True), (64, True), (33, False), (50, False)])
def test_symmetries_agree_exactly(size: int, exact: bool) -> None:
    """To the last bit where the size is a power of two; else to the rounding of grid_sample's coordinates."""
    pixels = np.random.default_rng(1).integers(0, 256, (64, size, size, 3), dtype=np.uint8)
    augmentation = recipe(dihedral=True)
    draws = augmentation.draw(0, 0, np.arange(64))
    steps = plan(augmentation, pixels.shape, draws)
    by_opencv = on_cpu.apply(pixels, steps)
    by_torch = on_torch.apply(torch.from_numpy(pixels), steps).permute(0, 2, 3, 1).numpy()
    assert len(np.unique(draws.quarter_turns + 4 * draws.flip_horizontal)) == 8
    np.testing.assert_allclose(by_torch, by_opencv, rtol=0, atol=1e-6 if exact else 1e-4)


@pytest.mark.parametrize("color", ["before_geometry", "after_geometry"])
def test_torch_batch_is_its_samples_one_by_one(color: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    augmentation = recipe(**EVERYTHING, color=color)
    together = on_torch.apply(
        torch.from_numpy(pixels), plan(augmentation, pixels.shape, augmentation.draw(0, 0, np.arange(8)))
    )
    for i in range(8):
        steps = plan(augmentation, (1, 32, 32, 3), augmentation.draw(0, 0, np.array([i])))
        alone = on_torch.apply(torch.from_numpy(pixels[i : i + 1]), steps)
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(8, 8, 3), (5, 5, 1), (7, 7, 3)])
def test_noise_fields_are_equal_bit_for_bit(shape: tuple[int, int, int]) -> None:
    keys = sample_keys(9, 9, np.arange(6))
    by_torch = on_torch.noise_fields(keys, shape, torch.device("cpu")).numpy()
    by_numpy = np.stack([noise_field(key, int(np.prod(shape))).reshape(shape) for key in keys])
    np.testing.assert_array_equal(by_torch, by_numpy)


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (2, 2), (3, 5), (24, 24), (17, 40)])
def test_backgrounds_are_equal_bit_for_bit(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (7, *shape, 4), dtype=np.uint8)
    by_torch = on_torch.backgrounds(torch.from_numpy(pixels)).numpy()
    by_numpy = np.stack([on_cpu.background(image) for image in pixels])
    np.testing.assert_array_equal(by_torch, by_numpy)
    assert by_torch.dtype == np.uint8


def test_threads_do_not_change_a_bit() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    augmentation = recipe(**EVERYTHING)
    steps = plan(augmentation, pixels.shape, augmentation.draw(0, 0, np.arange(9)))
    np.testing.assert_array_equal(on_cpu.apply(pixels, steps, 1), on_cpu.apply(pixels, steps, 4))


@pytest.mark.parametrize("options", [options for options in SUBSETS if not options.get("trivial")])
def test_numbers_that_are_sent_in_one_copy_arrive_as_they_are(options: dict[str, Any]) -> None:
    """As a recording reads them, here without one."""
    kinds = []

    def replay(kind: Any, given: Any, function: Any) -> torch.Tensor:
        kinds.append(kind)
        return function([each.clone() for each in given])

    pixels = torch.from_numpy(np.random.default_rng(6).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8))
    augmentation = recipe(**options)
    for epoch in range(2):
        steps = plan(augmentation, tuple(pixels.shape), augmentation.draw(0, epoch, np.arange(4)))
        assert torch.equal(on_torch.apply(pixels, steps, replay), on_torch.apply(pixels, steps))  # type: ignore[arg-type]
    assert kinds[0] == kinds[1]
    hash(kinds[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("options", [EVERYTHING, {"dihedral": True, "contrast": 0.1}, EVERYTHING | SURVEY])
def test_compiled_they_do_the_same(
    options: dict[str, Any], device: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if device == "cpu":  # as it is traced; a program for a CPU takes half a minute to make
        monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    programs = Programs("The augmentation")
    pixels = torch.from_numpy(np.random.default_rng(6).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)).to(device)
    augmentation = recipe(**options)
    for epoch in range(3):
        steps = plan(augmentation, tuple(pixels.shape), augmentation.draw(0, epoch, np.arange(4)))
        found, expected = on_torch.apply(pixels, steps, programs), on_torch.apply(pixels, steps)
        assert found.is_contiguous(memory_format=torch.channels_last)
        assert (found - expected).abs().max() < 0.1 * 2 / 255
    assert len(programs) == (0 if "degrade" in options else 1)
    assert "cannot be compiled" not in caplog.text


@gpu
@pytest.mark.parametrize("options", SUBSETS)
def test_cuda_agrees_with_opencv(options: dict[str, Any]) -> None:
    pixels = torch.from_numpy(np.random.default_rng(4).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8))
    augmentation = recipe(**options)
    draws = augmentation.draw(0, 0, np.arange(16))
    by_cuda = augmentation(pixels.cuda(), draws)
    assert by_cuda.is_cuda
    assert by_cuda.is_contiguous(memory_format=torch.channels_last)
    off = (by_cuda.cpu() - augmentation(pixels, draws)).abs().max()
    assert off < tolerance(options) * 2 / 255  # std 0.5: a step is 2/255
