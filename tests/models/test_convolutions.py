"""Convolutions on a CPU in bf16: two ways of computing them, which are the same, and which way is taken when."""

from __future__ import annotations

import json
import stat

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from astroclf.models import convolutions
from astroclf.models.blocks import run_stage
from astroclf.models.convolutions import MATRIX, OWN, Convolutions, machine

SHAPES = {  # input and output channels, kernel, stride, padding, side
    "3x3": (24, 40, 3, 1, 1, 7),
    "3x3, every second": (24, 40, 3, 2, 1, 8),
    "3x3, of two pixels": (24, 40, 3, 1, 1, 2),
    "1x1": (24, 40, 1, 1, 0, 5),
    "1x1, every second": (24, 40, 1, 2, 0, 6),
    "7x7, every second": (3, 16, 7, 2, 3, 32),
    "3x3, unpadded": (24, 40, 3, 1, 0, 6),
    "1x1, padded": (8, 8, 1, 1, 2, 4),
    "oblong": (8, 16, (3, 5), (2, 1), (1, 2), 9),
}


class Always(dict):
    """Choices that were all made before."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.asked = way, []

    def __contains__(self, key: object) -> bool:
        return True

    def __getitem__(self, key: str) -> str:
        self.asked.append(key)
        return self.way


def always(way: str) -> Convolutions:
    chosen = Convolutions()
    chosen.choices = Always(way)
    return chosen


def layer(shape: str, bias: bool = False) -> tuple[nn.Conv2d, torch.Tensor]:
    inputs, outputs, kernel, stride, padding, side = SHAPES[shape]
    torch.manual_seed(0)
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=bias).to(memory_format=torch.channels_last)
    return conv, torch.randn(4, inputs, side, side).to(memory_format=torch.channels_last)


def computed(conv: nn.Conv2d, x: torch.Tensor, mode: Convolutions | None) -> list[torch.Tensor]:
    """Return the output, and the gradients of images, weights and bias; without a mode, in float32."""
    x = x.clone().requires_grad_()
    conv.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=mode is not None), mode or torch.enable_grad():
        out = conv(x)
        torch.manual_seed(1)
        out.backward(torch.randn(out.shape).to(out.dtype))
    return [out.detach().float(), x.grad, *(parameter.grad for parameter in conv.parameters())]


def error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_matrix_product_is_as_exact_as_torchs_own(shape, bias):
    conv, x = layer(shape, bias)
    exact, own, matrix = (computed(conv, x, each) for each in (None, always(OWN), always(MATRIX)))
    for truth, ours, theirs in zip(exact, matrix, own, strict=True):
        assert ours.shape == truth.shape
        assert ours.dtype == theirs.dtype
        assert error(ours, truth) < max(1.3 * error(theirs, truth), 1e-4)
        assert error(ours, truth) < 0.01


@pytest.mark.parametrize("shape", SHAPES)
def test_torchs_own_way_has_the_bits_it_has_without(shape):
    conv, x = layer(shape, bias=True)
    x.requires_grad_()

    def bits() -> list[torch.Tensor]:
        conv.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            out = conv(x)
        out.sum().backward()
        return [out, *(parameter.grad.clone() for parameter in conv.parameters())]

    with always(OWN):
        inside = bits()
    assert all(torch.equal(one, two) for one, two in zip(inside, bits(), strict=True))


class Masks(TorchDispatchMode):
    """Notes of which gradients torch's own kernel is asked: of images, weights and bias."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.seen.append(tuple(args[-1]))
        return func(*args, **(kwargs or {}))


def test_no_gradient_is_computed_twice():
    """For that of the bias alone, oneDNN computes that of the weights as well."""
    conv, x = layer("3x3", bias=True)
    for of_weights, asked in ((MATRIX, (True, False, False)), (OWN, (True, True, True))):
        chosen = Convolutions()
        chosen.way = lambda key, ways, way=of_weights: way if convolutions.OF_WEIGHTS in key else OWN
        with Masks() as masks:
            computed(conv, x, chosen)
        assert masks.seen == [asked]


def test_the_output_is_laid_out_as_torchs():
    conv, x = layer("3x3")
    with torch.autocast("cpu", torch.bfloat16), always(MATRIX):
        assert conv(x).is_contiguous(memory_format=torch.channels_last)


def test_the_faster_way_is_taken_for_each_direction(monkeypatch):
    conv, x = layer("3x3")
    slow = {convolutions.OF_WEIGHTS: OWN, convolutions.FORWARD: MATRIX, convolutions.OF_IMAGES: MATRIX}
    asked = []

    def timed(way):
        asked.append(way)
        direction, name = divmod(len(asked) - 1, 2)
        direction = [convolutions.FORWARD, convolutions.OF_IMAGES, convolutions.OF_WEIGHTS][direction]
        return 2.0 if [OWN, MATRIX][name] == slow[direction] else 1.0

    monkeypatch.setattr(convolutions, "_seconds", timed)
    mode = Convolutions()
    computed(conv, x, mode)
    computed(conv, x, mode)
    assert len(asked) == 6
    assert {key.split(":")[0]: way for key, way in mode.choices.items()} == {
        convolutions.FORWARD: OWN, convolutions.OF_IMAGES: OWN, convolutions.OF_WEIGHTS: MATRIX,
    }  # fmt: skip


@pytest.mark.parametrize("gain", [0.95, 0.5])
def test_a_small_gain_is_left_to_chance(monkeypatch, gain):
    times = iter([1.0, gain] * 3)
    monkeypatch.setattr(convolutions, "_seconds", lambda way: next(times))
    mode = Convolutions()
    computed(*layer("3x3"), mode)
    assert set(mode.choices.values()) == ({MATRIX} if gain < 0.9 else {OWN})


def test_what_other_runs_chose_is_remembered(tmp_path, monkeypatch):
    file = tmp_path / "cache" / "convolutions.json"
    first = Convolutions(file)
    computed(*layer("3x3"), first)
    assert json.loads(file.read_text()) == {machine(): first.choices}
    assert len(first.choices) == 3
    other = {key: OWN if way == MATRIX else MATRIX for key, way in first.choices.items()}
    file.write_text(json.dumps({machine(): other, "another machine": {"a": OWN}}))
    monkeypatch.setattr(convolutions, "_seconds", lambda way: pytest.fail("it was timed before"))
    second = Convolutions(file)
    computed(*layer("3x3"), second)
    assert second.choices == other


def test_choices_of_other_machines_are_kept(tmp_path):
    file = tmp_path / "convolutions.json"
    file.write_text(json.dumps({"another machine": {"a": OWN}}))
    computed(*layer("1x1"), Convolutions(file))
    assert json.loads(file.read_text())["another machine"] == {"a": OWN}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"machine": []}', b"\xff\xfe".decode("latin1")])
def test_a_file_of_something_else_is_replaced(tmp_path, content):
    file = tmp_path / "convolutions.json"
    file.write_text(content)
    mode = Convolutions(file)
    computed(*layer("1x1"), mode)
    assert json.loads(file.read_text()) == {machine(): mode.choices}


def test_a_way_that_no_longer_exists_is_timed_anew(tmp_path):
    file = tmp_path / "convolutions.json"
    mode = Convolutions(file)
    computed(*layer("1x1"), mode)
    file.write_text(json.dumps({machine(): dict.fromkeys(mode.choices, "winograd")}))
    again = Convolutions(file)
    computed(*layer("1x1"), again)
    assert set(again.choices.values()) <= {OWN, MATRIX}


def test_a_place_that_cannot_be_written_is_done_without(tmp_path):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    mode = Convolutions(blocked / "convolutions.json")
    computed(*layer("1x1"), mode)
    assert len(mode.choices) == 3
    assert blocked.stat().st_mode & stat.S_IFREG


@pytest.mark.parametrize("case", ["groups", "dilation", "same padding", "float32", "no gradients", "large"])
def test_what_does_not_fit_is_torchs(case):
    conv, x = layer("3x3")
    if case == "groups":
        conv = nn.Conv2d(24, 24, 3, groups=24)
    elif case == "dilation":
        conv = nn.Conv2d(24, 8, 3, dilation=2)
    elif case == "same padding":
        conv = nn.Conv2d(24, 8, 3, padding="same")
    elif case == "large":
        x = torch.randn(16, 24, 224, 224)
    mode = always(MATRIX)
    in_bf16 = torch.autocast("cpu", torch.bfloat16, enabled=case != "float32")
    with torch.set_grad_enabled(case != "no gradients"), mode, in_bf16:
        conv(x)
    assert mode.choices.asked == []


def test_frozen_weights_get_no_gradient():
    conv, x = layer("3x3")
    conv.weight.requires_grad_(False)
    mode = always(MATRIX)
    x.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), mode:
        conv(x).sum().backward()
    assert conv.weight.grad is None
    assert [key.split(":")[0] for key in mode.choices.asked] == [convolutions.FORWARD, convolutions.OF_IMAGES]


def test_gradient_checkpointing_goes_with_it():
    conv, x = layer("3x3")

    def gradient(grad_checkpointing: bool) -> torch.Tensor:
        conv.zero_grad()
        with always(MATRIX), torch.autocast("cpu", torch.bfloat16):
            out = run_stage([conv, nn.BatchNorm2d(40), nn.ReLU()], x, grad_checkpointing)
        out.square().sum().backward()
        return conv.weight.grad

    plain = gradient(False).clone()
    assert error(gradient(True), plain) < 0.01
