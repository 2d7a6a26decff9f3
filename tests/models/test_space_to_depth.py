from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from astroclf.models import space_to_depth
from astroclf.models.precision import choose_precision
from astroclf.models.resnet18_d4 import D4Conv
from astroclf.models.space_to_depth import ImageConv2d, filters_of, squares_of
from tests.on_gpu import DEVICES


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize("kernel", [(3, 3), (4, 4), (6, 6), (7, 7), (7, 4)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 2), (3, 3), (1, 2)])
def test_a_convolution_of_squares_is_one_of_pixels_with_stride_2(
    bands: int, kernel: tuple[int, int], padding: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, bands, 8, 12, dtype=torch.float64)
    weight = torch.randn(5, bands, *kernel, dtype=torch.float64, requires_grad=True)
    plain = F.conv2d(images, weight, stride=2, padding=padding)
    found = F.conv2d(squares_of(images, kernel, padding), filters_of(weight, padding))
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(
        *(torch.autograd.grad(each.square().sum(), weight, retain_graph=True)[0] for each in (found, plain))
    )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("sides", "in_squares"), [((32, 48), True), ((31, 48), False)])
def test_many_images_on_a_gpu_are_convolved_so_and_no_others(
    sides: tuple[int, int], in_squares: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = []
    monkeypatch.setattr(space_to_depth, "squares_of", lambda *given: taken.append(1) or squares_of(*given))
    torch.manual_seed(0)
    precision = choose_precision("auto", torch.device(device))
    images = torch.randn(16, 3, *sides, device=device).contiguous(memory_format=torch.channels_last)
    layers: list[nn.Module] = [ImageConv2d(3, 8, 7, 2, padding=3), D4Conv(3, 2, 6, of_image=True)]
    for layer in layers:
        layer.to(device)
        found = []
        for pays_from in (16 * 32 * 48 + 1, 16):
            monkeypatch.setattr(space_to_depth, "PAYS_FROM", pays_from)
            with precision.autocast():
                maps = layer(images)
            of_weights = torch.autograd.grad(maps.float().square().sum(), [layer.weight])[0]
            found.append((maps, of_weights))
        torch.testing.assert_close(found[1], found[0], rtol=0.02, atol=0.02 * float(found[0][1].abs().max()))
    assert len(taken) == (2 if in_squares and device == "cuda" else 0)


def test_on_a_cpu_it_is_torchs_own() -> None:
    torch.manual_seed(0)
    layer = ImageConv2d(3, 8, 7, 2, padding=3, bias=False)
    images = torch.randn(2, 3, 16, 16)
    assert torch.equal(layer(images), nn.Conv2d.forward(layer, images))
    assert torch.equal(layer(images), layer.plain()(images))
    assert type(layer.plain()) is nn.Conv2d
