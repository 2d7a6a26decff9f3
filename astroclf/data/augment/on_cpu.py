"""The executor for main memory: OpenCV on uint8 pixels, several samples at once in threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from astroclf.data.augment.draws import noise_field
from astroclf.data.augment.jpeg import compress, tables_of
from astroclf.data.augment.plan import GREY_WEIGHTS, Steps
from astroclf.data.augment.survey import LEAST_NOISE, MOST_NOISE, QUIET_MEAN, QUIET_SHARE, TABLE, Survey
from astroclf.data.augment.trivial import apply_to_one
from astroclf.data.decode.bands import in_fours
from astroclf.util.threads import available_cores

_WARP_FLAGS = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


def apply(images_BHWC: np.ndarray, steps: Steps, threads: int | None = None) -> np.ndarray:
    """Carry the steps out on uint8 images; float32 (B, H', W', C). `threads` None: one per core."""
    # One image is too little work to split: OpenCV's own threads would only fight with ours for the cores.
    cv2.setNumThreads(1)
    count, bands = images_BHWC.shape[0], images_BHWC.shape[3]
    images_out = np.empty((count, *steps.output, bands), dtype=np.float32)
    table = np.ascontiguousarray(_normalisation_table(steps))

    def work(first: int, stride: int) -> None:
        for i in range(first, count, stride):
            _apply_to_one(images_BHWC[i], steps, i, table, images_out[i])

    threads = min(available_cores() if threads is None else threads, count)
    if threads <= 1:
        work(0, 1)
    else:
        with ThreadPoolExecutor(threads, thread_name_prefix="astroclf-augment") as pool:
            list(pool.map(work, range(threads), [threads] * threads))
    return images_out


def background(image_HWC: np.ndarray) -> np.ndarray:
    """Estimate the background of each band, (C,) uint8: the lower median of the pixels on the image's border.

    Its twin in torch is `on_torch.backgrounds`, equal to the bit.
    """
    edges = (image_HWC[0], image_HWC[-1], image_HWC[1:-1, 0], image_HWC[1:-1, -1])
    border = np.concatenate(edges[: 1 if len(image_HWC) == 1 else 4])
    middle = (len(border) - 1) // 2
    return np.partition(border, middle, axis=0)[middle]


def sky_noise(image_HWC: np.ndarray) -> np.ndarray:
    """Estimate the noise of the background in each band, (C,) float64, steps of 255.

    Of the differences between neighbours on the image's border, which a gradient and an object's halo hardly touch, the
    smallest 80 % are averaged. Where noise is correlated, as in JPEG files, it is more than that. Its twin in torch is
    `on_torch.sky_noises`.
    """
    edges = (image_HWC[0], image_HWC[-1], image_HWC[:, 0], image_HWC[:, -1])
    steps_LC = np.abs(np.concatenate([np.diff(edge.astype(np.int16), axis=0) for edge in edges]))
    quiet = int(QUIET_SHARE * len(steps_LC))
    if not quiet:
        return np.full(image_HWC.shape[2], LEAST_NOISE)
    means = np.partition(steps_LC, quiet - 1, axis=0)[:quiet].mean(axis=0, dtype=np.float64)
    return np.clip(means / (QUIET_MEAN * np.sqrt(2)), LEAST_NOISE, MOST_NOISE)


def _apply_to_one(image_HWC: np.ndarray, steps: Steps, i: int, table: np.ndarray, out_HWC: np.ndarray) -> None:
    top, left, height, width = steps.crop
    # Contiguous, because cv2.transform is six times slower on a view.
    image = np.ascontiguousarray(image_HWC[top : top + height, left : left + width])
    image = _changed(image, steps, i)
    survey = steps.survey if steps.survey is not None and steps.survey.chosen_B[i] else None
    if survey is not None and survey.quality_B is not None and survey.quality_B[i] < 100:
        image = _as_jpeg(image, survey.quality_B[i])
    noise_C = sky_noise(image) if survey is not None else None
    outside_C = background(image) if steps.filled or survey is not None else np.zeros(image.shape[2], np.uint8)
    if steps.color_BCC is not None and not steps.color_last:
        colors = _color_map(image, steps, i)
        image = _with_bands(cv2.transform(image, colors), image)
        if steps.filled or survey is not None:  # as a pixel of the image would be
            outside_C = cv2.transform(outside_C[None, None], colors).reshape(-1)
    if steps.blur_BL is not None:
        # GaussianBlur rounds its kernel to 1/256 for uint8 images and is off by more than 1; sepFilter2D is not.
        kernel = steps.blur_BL[i]
        image = _with_bands(cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101), image)
    if steps.area is not None:
        image = _average_down(image, steps.area)
    if steps.warp_B23 is not None:
        image = _warp(image, steps.warp_B23[i], steps.output, outside_C)
    if steps.color_BCC is not None and steps.color_last:
        colors = _color_map(image, steps, i)
        image = _with_bands(cv2.transform(image, colors), image)
        if survey is not None:
            outside_C = cv2.transform(outside_C[None, None], colors).reshape(-1)
    if survey is not None and noise_C is not None:
        seen = _observed(image, survey, i, outside_C, noise_C).reshape(len(out_HWC), -1)
        across = out_HWC.shape[1]  # rows of whole pixels: NumPy is slow where its innermost axis is three bands
        np.multiply(seen, np.tile(steps.scale_C, across), out=out_HWC.reshape(seen.shape))
        out_HWC += np.tile(steps.offset_C, across).reshape(across, -1)
    else:
        cv2.LUT(image, table, dst=out_HWC)
    if steps.noise_keys_B is not None:
        field = noise_field(steps.noise_keys_B[i], out_HWC.size).reshape(out_HWC.shape[0], -1)
        field *= np.tile(steps.noise_C, out_HWC.shape[1])
        out_HWC += field.reshape(out_HWC.shape)
    if steps.gaps_B5 is not None:
        _blank(out_HWC, steps.gaps_B5[i], steps.offset_C)


def _changed(image_HWC: np.ndarray, steps: Steps, i: int) -> np.ndarray:
    """Return the image after TrivialAugment's change, if there is to be one."""
    if steps.changes_B is None or steps.strengths_B is None:
        return image_HWC
    return apply_to_one(image_HWC, int(steps.changes_B[i]), float(steps.strengths_B[i]), background(image_HWC))


def _as_jpeg(image_HWC: np.ndarray, quality: int) -> np.ndarray:
    planes_BCHW = np.ascontiguousarray(image_HWC.transpose(2, 0, 1), dtype=np.float32)[None]
    shown_BCHW = compress(planes_BCHW, tables_of(np.array([quality]), np.float32))
    return np.ascontiguousarray(shown_BCHW[0].transpose(1, 2, 0), dtype=np.uint8)


def _observed(image_HWC: np.ndarray, survey: Survey, i: int, sky_C: np.ndarray, noise_C: np.ndarray) -> np.ndarray:
    """Return what another survey would have taken, brightness 0 to 255 in float32."""
    height, width = image_HWC.shape[:2]
    skies = survey.fluxes[sky_C]
    fluxes = skies + survey.gains_BC[i] * (survey.fluxes[:, None] - skies)
    flux = _with_bands(cv2.LUT(image_HWC, fluxes[None].astype(np.float32)), image_HWC)
    if survey.kernels_BL is not None:
        kernel = survey.kernels_BL[i]

        def blur(part: np.ndarray) -> np.ndarray:
            return cv2.sepFilter2D(part, -1, kernel, kernel, borderType=cv2.BORDER_REFLECT_101).reshape(part.shape)

        flux = in_fours(blur, flux)
    noise = noise_C / survey.rises[sky_C] * survey.averaged
    field = noise_field(survey.noise_keys_B[i], flux.size).reshape(height, -1)
    field *= np.tile((survey.added_BC[i] * noise).astype(np.float32), width)
    across, down = survey.slopes_B2[i]
    if across or down:
        field += (across * _ramp(width)[:, None] * noise).astype(np.float32).reshape(-1)
        field += np.tile((down * _ramp(height)[:, None] * noise).astype(np.float32), width)
    flux += field.reshape(flux.shape)
    np.clip(flux, 0, 1, out=flux)
    flux *= TABLE - 1
    flux += 0.5
    return cv2.LUT(flux.astype(np.uint16), survey.brightness)


def _ramp(side: int) -> np.ndarray:
    return (np.arange(side) + 0.5) / side - 0.5


def _blank(image_HWC: np.ndarray, box_5: np.ndarray, black_C: np.ndarray) -> None:
    top, left, bottom, right, is_round = box_5.tolist()
    inside = slice(max(top, 0), max(bottom, 0)), slice(max(left, 0), max(right, 0))
    if not is_round:
        image_HWC[inside] = black_C
        return
    y, x = np.ogrid[inside]
    y, x = y[: image_HWC.shape[0] - inside[0].start], x[:, : image_HWC.shape[1] - inside[1].start]
    image_HWC[inside][(2 * y + 1 - top - bottom) ** 2 + (2 * x + 1 - left - right) ** 2 < (bottom - top) ** 2] = black_C


def _color_map(image_HWC: np.ndarray, steps: Steps, i: int) -> np.ndarray:
    """Return photometry as the matrix (C, C + 1) that cv2.transform takes; the last column is added."""
    assert steps.color_BCC is not None
    bands = image_HWC.shape[2]
    added = np.zeros(bands)
    if steps.pivot_BC is not None:
        means = cv2.mean(image_HWC)[:bands] if bands <= 4 else image_HWC.mean(axis=(0, 1))
        added += steps.pivot_BC[i] * (GREY_WEIGHTS @ np.asarray(means) if bands == 3 else np.asarray(means))
    return np.concatenate([steps.color_BCC[i], added[:, None]], axis=1)


def _average_down(image_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    def resize(part: np.ndarray) -> np.ndarray:
        return cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA).reshape(*size, part.shape[2])

    return in_fours(resize, image_HWC)


def _warp(image_HWC: np.ndarray, map_23: np.ndarray, size: tuple[int, int], outside_C: np.ndarray) -> np.ndarray:
    """Transform an image, `outside_C` around it; a rim of repeated pixels keeps that from bleeding in."""
    moved = map_23.copy()
    moved[:, 2] += 1  # for the rim

    def warp(part: np.ndarray, outside: list[int]) -> np.ndarray:
        bands = part.shape[2]
        if bands == 2:  # these alone OpenCV resamples at coordinates rounded to 1/32 of a pixel
            part, outside = np.concatenate([part, part], axis=2), outside * 2
        rimmed = cv2.copyMakeBorder(part, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        warped = cv2.warpAffine(rimmed, moved, size[::-1], flags=_WARP_FLAGS, borderValue=outside)
        return warped.reshape(*size, part.shape[2])[:, :, :bands]

    outside = outside_C.tolist()
    if len(outside) == 3:  # OpenCV resamples four bands twice as fast as three
        rgba = warp(cv2.cvtColor(image_HWC, cv2.COLOR_RGB2RGBA), [*outside, 0])
        return cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB)
    fours = range(0, len(outside), 4)
    parts = [warp(np.ascontiguousarray(image_HWC[:, :, at : at + 4]), outside[at : at + 4]) for at in fours]
    return np.concatenate(parts, axis=2)


def _normalisation_table(steps: Steps) -> np.ndarray:
    """Return the normalised value of every brightness 0 to 255, as cv2.LUT takes it: for all bands, or for each."""
    table = np.arange(256, dtype=np.float32)[:, None] * steps.scale_C + steps.offset_C
    same = np.ptp(steps.scale_C) == 0 and np.ptp(steps.offset_C) == 0
    return table[:, 0] if same else table[None]


def _with_bands(result: np.ndarray, like_HWC: np.ndarray) -> np.ndarray:
    """Put back the last axis of a one-band image, which OpenCV drops."""
    return result.reshape(like_HWC.shape)
