"""The executor for accelerators: the same steps in batched torch operations, without waiting for the device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from torch.nn import functional as F

from astroclf.data.augment.draws import GOLDEN_32, MIX_32, normal_table
from astroclf.data.augment.jpeg import Tables, compress, tables_of
from astroclf.data.augment.plan import GREY_WEIGHTS, Steps, area_weights
from astroclf.data.augment.survey import LEAST_NOISE, MOST_NOISE, QUIET_MEAN, QUIET_SHARE, Survey
from astroclf.data.augment.trivial import apply_to_all
from astroclf.util.programs import Programs
from astroclf.util.replay import Replay

Given = Mapping[str, torch.Tensor]


@torch.no_grad()
def apply(images_BHWC: torch.Tensor, steps: Steps, recorded: Replay | Programs | None = None) -> torch.Tensor:
    """Carry the steps out on uint8 images; float32 (B, C, H', W') channels_last on the same device.

    Sums over a few terms are written out instead of using matrix products: those may run in TF32 on a GPU, whose
    10-bit mantissa moves coordinates by a quarter of a pixel.

    Parameters
    ----------
    recorded
        On a GPU: what records or compiles the steps where they come again, if no kernel follows from draws.
    """
    arrays = Arrays(steps)
    compiles = isinstance(recorded, Programs)
    if recorded is None or steps.changes_B is not None or (compiles and steps.survey is not None):
        return _apply(images_BHWC, steps, arrays.on(images_BHWC.device))
    kind = arrays.layout, steps.crop, steps.area, steps.filled, steps.output
    given = [images_BHWC, arrays.packed_on(images_BHWC.device)]
    if compiles:
        given += [backgrounds(_cropped(images_BHWC, steps))] if steps.filled else []  # compiled, sorting is slow

    def made(places: Sequence[torch.Tensor]) -> torch.Tensor:
        return _apply(places[0], steps, arrays.unpacked(places[1]), *places[2:], in_one=compiles)

    output = recorded(kind, given, made)
    return output if compiles else output.clone()


def _cropped(images_BHWC: torch.Tensor, steps: Steps) -> torch.Tensor:
    top, left, height, width = steps.crop
    return images_BHWC[:, top : top + height, left : left + width]


def _apply(
    images_BHWC: torch.Tensor,
    steps: Steps,
    given: Given,
    outside_BC: torch.Tensor | None = None,
    *,
    in_one: bool = False,
) -> torch.Tensor:
    """Carry the steps out, kernel by kernel.

    Parameters
    ----------
    outside_BC
        `backgrounds` of the images, if they are known.
    in_one
        Whether this is traced for a program, which lays its output out itself.
    """
    device = images_BHWC.device
    cropped_BHWC = _cropped(images_BHWC, steps)
    with torch.autocast(device.type, enabled=False):
        if steps.changes_B is not None and steps.strengths_B is not None:
            shown_BC = backgrounds(cropped_BHWC)
            cropped_BHWC = apply_to_all(cropped_BHWC, steps.changes_B, steps.strengths_B, shown_BC)
        survey = steps.survey
        if survey is not None and survey.quality_B is not None:
            cropped_BHWC = _as_jpeg(cropped_BHWC, given)
        noise_BC = sky_noises(cropped_BHWC) if survey is not None else None
        values_BHWC = cropped_BHWC.float()
        outside_BC = _outside(cropped_BHWC, steps) if outside_BC is None else outside_BC.float()
        if steps.color_BCC is not None and not steps.color_last:
            color = _color_map(cropped_BHWC, given)
            values_BHWC = color(values_BHWC)
            if outside_BC is not None:  # as a pixel of the image would be
                outside_BC = color(outside_BC[:, None, None])[:, 0, 0]
        values_BCHW = values_BHWC.permute(0, 3, 1, 2)
        if steps.blur_BL is not None:
            values_BCHW = _blur(values_BCHW, given["blur_BL"])
        if steps.area is not None:
            values_BCHW = _average_down(values_BCHW, steps.area)
        if steps.warp_B23 is not None:
            filling_BC = outside_BC if steps.filled else None
            values_BCHW = _warp(values_BCHW, given["warp_B23"], steps.output, filling_BC)
        if steps.color_BCC is not None and steps.color_last:
            values_BHWC = values_BCHW.permute(0, 2, 3, 1)
            color = _color_map(values_BHWC.round(), given)  # whole steps, for a mean that is exact in any order
            values_BCHW = color(values_BHWC).permute(0, 3, 1, 2)
            if survey is not None and outside_BC is not None:
                outside_BC = color(outside_BC[:, None, None])[:, 0, 0]
        if survey is not None and outside_BC is not None and noise_BC is not None:
            observed_BCHW = _observed(values_BCHW, survey, given, outside_BC, noise_BC)
            values_BCHW = torch.where(given["chosen_B"][:, None, None, None], observed_BCHW, values_BCHW)
        offset_BCHW = _bands(given["offset_C"])
        out = None if in_one else torch.empty_like(values_BCHW, memory_format=torch.channels_last)
        values_BCHW = torch.addcmul(offset_BCHW, values_BCHW, _bands(given["scale_C"]), out=out)
        if steps.noise_keys_B is not None:
            noise_BHWC = _noise_fields(given["noise_keys_B"], (*steps.output, values_BCHW.shape[1]))
            values_BCHW = values_BCHW + noise_BHWC.permute(0, 3, 1, 2) * _bands(given["noise_C"])
        if steps.gaps_B5 is not None:
            lacking_B1HW = _within(given["gaps_B5"], steps.output)
            values_BCHW = torch.where(lacking_B1HW, offset_BCHW, values_BCHW)
    return values_BCHW.contiguous(memory_format=torch.channels_last)


def _outside(cropped_BHWC: torch.Tensor, steps: Steps) -> torch.Tensor | None:
    return backgrounds(cropped_BHWC).float() if steps.filled or steps.survey is not None else None


class Arrays:
    """The numbers of some steps, which go to the device in one copy: each takes a GPU longer to begin than to do.

    Attributes
    ----------
    layout
        Name, type, shape and place in bytes of each.
    """

    def __init__(self, steps: Steps) -> None:
        survey = steps.survey
        of_survey = {}
        if survey is not None:
            of_survey = {name: getattr(survey, name) for name in _OF_SURVEY} | {"survey_keys_B": survey.noise_keys_B}
        if survey is not None and survey.quality_B is not None:
            of_survey |= {"quality_B": survey.quality_B, "compressed_B": survey.chosen_B & (survey.quality_B < 100)}
        named = {**{name: getattr(steps, name) for name in _OF_STEPS}, **of_survey}
        self._arrays = {name: _as_sent(array) for name, array in named.items() if array is not None}
        self._bytes, layout = 0, []
        for name, array in self._arrays.items():
            layout.append((name, array.dtype.str, array.shape, self._bytes))
            self._bytes += -(-array.nbytes // _ALIGNED) * _ALIGNED
        self.layout = tuple(layout)

    def on(self, device: torch.device) -> dict[str, torch.Tensor]:
        """Return the numbers as tensors on a device."""
        if device.type == "cpu":
            return {name: torch.from_numpy(array) for name, array in self._arrays.items()}
        return self.unpacked(self.packed_on(device))

    def packed_on(self, device: torch.device) -> torch.Tensor:
        """Return all of them as bytes on a device, (L,) uint8."""
        packed = np.zeros(self._bytes, np.uint8)
        for (_, _, _, start), array in zip(self.layout, self._arrays.values(), strict=True):
            packed[start : start + array.nbytes] = array.reshape(-1).view(np.uint8)
        return send(packed, device)

    def unpacked(self, packed: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the numbers that are in these bytes, without a copy."""
        tensors = {}
        for name, dtype, shape, start in self.layout:
            kind = torch.from_numpy(np.empty(0, dtype)).dtype
            part = packed[start : start + math.prod(shape) * kind.itemsize]
            tensors[name] = part.view(kind).view(shape)
        return tensors


_ALIGNED = 16  # bytes: what any type can begin at
_OF_STEPS = (
    "color_BCC", "pivot_BC", "blur_BL", "warp_B23", "gaps_B5", "scale_C", "offset_C", "noise_keys_B", "noise_C",
)  # fmt: skip
_OF_SURVEY = (
    "chosen_B", "kernels_BL", "gains_BC", "added_BC", "slopes_B2", "fluxes", "rises",
)  # fmt: skip


def _as_sent(array: np.ndarray) -> np.ndarray:
    """Return an array as tensors have it: float64 as float32, keys in halves."""
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype == np.uint64:
        array = np.ascontiguousarray(array, dtype="<u8").view("<i4").reshape(-1, 2)
    return np.ascontiguousarray(array)


def send(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """Send a small array to the device (float64 as float32), through pinned memory so that the host need not wait."""
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _bands(values_C: torch.Tensor) -> torch.Tensor:
    return values_C[None, :, None, None]


def _as_jpeg(images_BHWC: torch.Tensor, given: Given) -> torch.Tensor:
    tables, quality_B = _jpeg_tables(images_BHWC.device), given["quality_B"]
    tables = tables._replace(luma_B88=tables.luma_B88[quality_B], chroma_B88=tables.chroma_B88[quality_B])
    shown_BCHW = compress(images_BHWC.permute(0, 3, 1, 2).double(), tables)
    shown_BHWC = shown_BCHW.permute(0, 2, 3, 1).to(torch.uint8)
    return torch.where(given["compressed_B"][:, None, None, None], shown_BHWC, images_BHWC)


@lru_cache(maxsize=8)
def _jpeg_tables(device: torch.device) -> Tables[torch.Tensor]:
    """Return the tables of all qualities, in float64: its matrix products no GPU shortens to TF32."""
    _, *tables = tables_of(np.arange(101), np.float64)
    return Tables(partial(_places, device=device), *(torch.from_numpy(table).to(device) for table in tables))


@lru_cache(maxsize=64)
def _places(places: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(places, device=device)


def sky_noises(images_BHWC: torch.Tensor) -> torch.Tensor:
    """Estimate the noise of the background of each image and band, (B, C) float32: the twin of `on_cpu.sky_noise`."""
    edges = (images_BHWC[:, 0], images_BHWC[:, -1], images_BHWC[:, :, 0], images_BHWC[:, :, -1])
    steps_BLC = torch.cat([edge.short().diff(dim=1).abs() for edge in edges], dim=1)
    quiet = int(QUIET_SHARE * steps_BLC.shape[1])
    if not quiet:
        return torch.full((len(images_BHWC), images_BHWC.shape[3]), LEAST_NOISE, device=images_BHWC.device)
    means_BC = steps_BLC.sort(dim=1).values[:, :quiet].sum(dim=1).float() / quiet
    return (means_BC / (QUIET_MEAN * 2**0.5)).clamp(LEAST_NOISE, MOST_NOISE)


def _observed(
    values_BCHW: torch.Tensor, survey: Survey, given: Given, sky_BC: torch.Tensor, noise_BC: torch.Tensor
) -> torch.Tensor:
    """Return what another survey would have taken of each image, brightness 0 to 255."""
    device = values_BCHW.device
    height, width = values_BCHW.shape[2:]
    sky_BC = sky_BC.round().long()
    skies_BC11, gains_BC11 = given["fluxes"][sky_BC][:, :, None, None], given["gains_BC"][:, :, None, None]
    noise_BC11 = (noise_BC / given["rises"][sky_BC] * survey.averaged)[:, :, None, None]
    flux_BCHW = skies_BC11 + gains_BC11 * (_flux(values_BCHW / 255, survey.softening) - skies_BC11)
    if survey.kernels_BL is not None:
        flux_BCHW = _blur(flux_BCHW, given["kernels_BL"])
    field_BHWC = _noise_fields(given["survey_keys_B"], (height, width, values_BCHW.shape[1]))
    flux_BCHW += field_BHWC.permute(0, 3, 1, 2) * (noise_BC11 * given["added_BC"][:, :, None, None])
    across_B1, down_B1 = given["slopes_B2"][:, :, None].unbind(1)
    ramp_BHW = (across_B1 * _ramp(width, device))[:, None, :] + (down_B1 * _ramp(height, device))[:, :, None]
    flux_BCHW += ramp_BHW[:, None] * noise_BC11
    return 255 * _brightness(flux_BCHW.clamp_(0, 1), survey.softening)


def _flux(unit: torch.Tensor, softening: float | None) -> torch.Tensor:
    """Turn brightness 0 to 1 to flux: the inverse of `_brightness`, and the twin of `survey.flux_of_brightness`."""
    return unit if softening is None else softening * torch.sinh(unit * math.asinh(1 / softening))


def _brightness(flux: torch.Tensor, softening: float | None) -> torch.Tensor:
    return flux if softening is None else torch.asinh(flux / softening) / math.asinh(1 / softening)


def _ramp(side: int, device: torch.device) -> torch.Tensor:
    return (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side - 0.5


def _within(boxes_B5: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return a mask of the pixels in the boxes and circles of `survey.gap_boxes`, (B, 1, H, W) bool."""
    top, left, bottom, right, is_round = boxes_B5[:, :, None, None, None].unbind(1)
    y = torch.arange(size[0], device=boxes_B5.device)[:, None]
    x = torch.arange(size[1], device=boxes_B5.device)[None, :]
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    near = (2 * y + 1 - top - bottom) ** 2 + (2 * x + 1 - left - right) ** 2 < (bottom - top) ** 2
    return inside & (near | (is_round == 0))


def _color_map(images_BHWC: torch.Tensor, given: Given) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the photometry of each image, as a function of values (B, H, W, C)."""
    device = images_BHWC.device
    bands = images_BHWC.shape[3]
    matrix = given["color_BCC"][:, None, None]  # (B, 1, 1, C out, C in)
    added = torch.zeros(1, device=device)
    if "pivot_BC" in given:
        # Integer sums are exact in any order, so the mean does not depend on how the device splits the batch.
        pixels = images_BHWC.shape[1] * images_BHWC.shape[2]
        means_BC = images_BHWC.sum(dim=(1, 2), dtype=torch.int64).to(torch.float32) / pixels
        if bands == 3:
            means_BC = (means_BC * _grey_weights(device)).sum(dim=1, keepdim=True)
        added = (means_BC * given["pivot_BC"])[:, None, None]

    def color(values_BHWC: torch.Tensor) -> torch.Tensor:
        if bands == 3:
            mixed = torch.addcmul(added, values_BHWC[..., 0:1], matrix[..., 0])
            for band in range(1, bands):
                mixed.addcmul_(values_BHWC[..., band : band + 1], matrix[..., band])
        else:
            mixed = torch.addcmul(added, values_BHWC, torch.diagonal(matrix, dim1=-2, dim2=-1))
        return mixed.clamp_(0, 255)

    return color


def _blur(values_BCHW: torch.Tensor, kernels_BL: torch.Tensor) -> torch.Tensor:
    size = kernels_BL.shape[1]
    rim = size // 2
    height, width = values_BCHW.shape[2:]
    padded = F.pad(values_BCHW, (rim, rim, rim, rim), mode="reflect")
    weights = kernels_BL[:, :, None, None, None]
    rows = padded[:, :, :height] * weights[:, 0]
    for k in range(1, size):
        rows.addcmul_(padded[:, :, k : k + height], weights[:, k])
    blurred = rows[:, :, :, :width] * weights[:, 0]
    for k in range(1, size):
        blurred.addcmul_(rows[:, :, :, k : k + width], weights[:, k])
    return blurred


@lru_cache(maxsize=8)
def _grey_weights(device: torch.device) -> torch.Tensor:
    return send(GREY_WEIGHTS, device)


def _average_down(values_BCHW: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    height, width = values_BCHW.shape[2:]
    if height != size[0]:
        values_BCHW = _area_weights(height, size[0], values_BCHW.device) @ values_BCHW
    if width != size[1]:
        values_BCHW = values_BCHW @ _area_weights(width, size[1], values_BCHW.device).T
    return values_BCHW


@lru_cache(maxsize=16)
def _area_weights(source: int, output: int, device: torch.device) -> torch.Tensor:
    return send(area_weights(source, output), device)


def backgrounds(images_BHWC: torch.Tensor) -> torch.Tensor:
    """Estimate the background of each image and band, (B, C) uint8, equal to `on_cpu.background` bit for bit."""
    edges = [images_BHWC[:, 0], images_BHWC[:, -1], images_BHWC[:, 1:-1, 0], images_BHWC[:, 1:-1, -1]]
    border_BLC = torch.cat(edges[: 1 if images_BHWC.shape[1] == 1 else 4], dim=1)
    # Sorted, because torch knows no deterministic median on a GPU.
    return border_BLC.sort(dim=1).values[:, (border_BLC.shape[1] - 1) // 2]


def _warp(
    values_BCHW: torch.Tensor, maps_B23: torch.Tensor, size: tuple[int, int], outside_BC: torch.Tensor | None
) -> torch.Tensor:
    height, width = values_BCHW.shape[2:]
    device = values_BCHW.device
    x_out = torch.arange(size[1], device=device, dtype=torch.float32)[None, None, :]
    y_out = torch.arange(size[0], device=device, dtype=torch.float32)[None, :, None]
    m = maps_B23[:, :, :, None, None]
    # In -1 to 1, as grid_sample has them; what the size of the batch has is made in as few passes as can be.
    coordinates = []
    for row, side in enumerate((width, height)):
        along_B1W = (2 * (m[:, row, 0] * x_out + m[:, row, 2]) + 1) / side - 1
        coordinates.append(along_B1W + 2 * m[:, row, 1] * y_out / side)
    grid = torch.stack(coordinates, dim=-1)
    sampled = F.grid_sample(values_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
    # Repeated pixels for one pixel around the image, then a linear passage to what lies outside: what OpenCV makes of a
    # rim of repeated pixels with that around it. (Padding here would cost the exactness of quarter turns.)
    near_x, near_y = (
        torch.rsub(each.abs_(), (side + 3) / 2, alpha=side / 2).clamp_(0, 1)
        for each, side in zip(coordinates, (width, height), strict=True)
    )
    inside_B1HW = near_x.mul_(near_y)[:, None]
    if outside_BC is None:
        return sampled.mul_(inside_B1HW)
    return torch.lerp(outside_BC[:, :, None, None], sampled, inside_B1HW)


# ---- noise: the torch twin of draws.noise_field -------------------------------------------------------------------


@lru_cache(maxsize=8)
def _normal_table(device: torch.device) -> torch.Tensor:
    return torch.from_numpy(normal_table()).to(device)


def noise_fields(keys_B: np.ndarray, shape_HWC: tuple[int, int, int], device: torch.device) -> torch.Tensor:
    """Draw white Gaussian noise of unit variance, (B, H, W, C) float32, equal to `draws.noise_field` bit for bit."""
    return _noise_fields(send(_as_sent(keys_B), device), shape_HWC)


def _noise_fields(halves_B2: torch.Tensor, shape_HWC: tuple[int, int, int]) -> torch.Tensor:
    device, size = halves_B2.device, int(np.prod(shape_HWC))
    low, high = halves_B2[:, :1], halves_B2[:, 1:]
    words = torch.arange((size + 1) // 2, device=device, dtype=torch.int32)[None] * _signed(GOLDEN_32) + low
    words = _mix_32(_mix_32(words) ^ high)
    index = torch.stack([words & 0xFFFF, _shifted(words, 16)], dim=-1).reshape(len(halves_B2), -1)[:, :size]
    return _normal_table(device)[index.reshape(len(halves_B2), *shape_HWC)]


def _mix_32(words: torch.Tensor) -> torch.Tensor:
    words = (words ^ _shifted(words, 16)) * _signed(MIX_32[0])
    words = (words ^ _shifted(words, 15)) * _signed(MIX_32[1])
    return words ^ _shifted(words, 16)


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift int32 right as if unsigned: its own shift repeats the sign bit."""
    return (words >> bits) & ((1 << (32 - bits)) - 1)


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word
