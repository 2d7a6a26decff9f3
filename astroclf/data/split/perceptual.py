"""A perceptual hash of small pictures that knows shifts, quarter turns and mirror images.

The hash of a picture is its spectrum (the lowest spatial frequencies, phases from the centre) after its contrast was
made equal everywhere: faint stars and the grain of the sky then count as much as the bright object in the middle, which
is alike in all cut-outs of round galaxies. In a spectrum, what a copy may have undergone is simple: a shift changes
phases only, a turn or a mirror image moves coefficients, half a turn conjugates them, brightness cancels.
"""

from __future__ import annotations

import math
import zlib
from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

from astroclf.data.cache.packed import Images
from astroclf.data.catalog import THUMBNAIL_SIDE
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import run_ahead

MAX_FREQUENCY = 12  # of a hash, cycles a picture: above it, JPEG and half a pixel of shift leave little
SEARCH_FREQUENCY = 8  # likewise of the amplitudes by which a search begins
MAX_SHIFT, SHIFT_STEP = 3.0, 0.5  # pixels by which, and how finely, copies may be shifted

FINE_SIGMA, COARSE_SIGMA = 1.0, 4.0  # pixels: grain below the one and glow above the other are taken away
SURROUNDINGS_SIGMA = 2.5  # pixels: the surroundings in which contrast is made equal
NOISE_LEVEL = 4.0  # grey levels: contrast well below that is not raised, it is rounding and JPEG
FEATURELESS_CONTRAST = 0.02  # root mean square of what is equalised: below it a picture shows nothing
# A picture is too empty to be recognised if fewer pixels than these differ from its median by so many grey levels: two
# compact radio sources on black are alike, and are not the same. 48 VLA cut-outs have 8 to 50 such pixels, of 541 real
# pictures of comets, stars and nebulae the emptiest has 114.
TELLING_LEVELS, TELLING_PIXELS = 8, 64
BLACK_LEVEL = 2  # grey levels up to which rows and columns along the edges are padding
TAPER_SHARE = 0.2  # of the picture's side, over which its edges fade: what a shift brings in or loses
SAME_FRAME_OVERLAP = 0.9  # of what is not padding: a copy is not cut to another shape

HASHED_AT_ONCE = 256  # pictures

_FREQUENCIES = np.arange(-MAX_FREQUENCY, MAX_FREQUENCY + 1)
# From the centre: turns and mirror images act on spectra as on pictures.
_PLACES = np.arange(THUMBNAIL_SIDE) - (THUMBNAIL_SIDE - 1) / 2
_WAVES = np.exp(-2j * np.pi / THUMBNAIL_SIDE * np.outer(_FREQUENCIES, _PLACES)).astype(np.complex64)
_RADIUS = np.rint(np.hypot(_FREQUENCIES[:, None], _FREQUENCIES))
_SAME_RING = (_RADIUS.ravel()[:, None] == _RADIUS.ravel()).astype(np.float32)
_RING_MEAN = _SAME_RING / _SAME_RING.sum(axis=0)  # (K * K, K * K): amplitudes to their mean at equal frequency


class Hashes(NamedTuple):
    """Perceptual hashes of N pictures, 1.5 kB each; all zero for a picture that shows next to nothing.

    Half of a real picture's spectrum is kept, (K · K - 1) / 2 coefficients: the other half is its conjugate.
    """

    spectra: np.ndarray  # (N, 2, K * K // 2) float16, of norm 1 / √2: real and imaginary parts; K = 2 MAX_FREQUENCY + 1
    amplitudes: np.ndarray  # (N, S * S // 2) float16, likewise, less their mean; S = 2 SEARCH_FREQUENCY + 1
    frames: np.ndarray  # (N, 2) uint8: height and width of what is not padding

    def take(self, rows: slice | np.ndarray) -> Hashes:
        """Return the hashes of these rows."""
        return Hashes(*(part[rows] for part in self))


def hash_pictures(
    pictures_NTT: Images, rows: np.ndarray | None = None, *, num_workers: int = 0, progress: bool = False
) -> tuple[Hashes, np.ndarray]:
    """Compute the hashes of grey pictures, (N, T, T) uint8, or of these rows of them.

    Returns
    -------
    hashes : Hashes
    checksums : (N,) uint32
        Of the pictures, by which some can be chosen whatever their order.
    """
    rows = np.arange(len(pictures_NTT)) if rows is None else rows
    count = len(rows)
    hashes = Hashes(
        np.empty((count, 2, _RADIUS.size // 2), np.float16),
        np.empty((count, (2 * SEARCH_FREQUENCY + 1) ** 2 // 2), np.float16),
        np.empty((count, 2), np.uint8),
    )
    checksums = np.empty(count, np.uint32)

    def hash_some(start: int) -> int:
        some = slice(start, start + HASHED_AT_ONCE)
        pictures_BTT = np.asarray(pictures_NTT[rows[some]])
        contrast, frames = zip(*map(_equal_contrast, pictures_BTT), strict=True)
        spectra, amplitudes = _hash_contrast(np.stack(contrast))
        telling = _is_telling(pictures_BTT)[:, None]
        halves = _half_plane(spectra) * telling
        hashes.spectra[some] = np.stack([halves.real, halves.imag], axis=1)
        hashes.amplitudes[some] = _half_plane(amplitudes) * telling
        hashes.frames[some] = frames
        checksums[some] = [zlib.crc32(picture.tobytes()) for picture in pictures_BTT]
        return len(pictures_BTT)

    with ProgressBar("Hashing images", count, enabled=progress) as bar:
        for done in run_ahead(hash_some, range(0, count, HASHED_AT_ONCE), num_workers):
            bar.advance(done)
    return hashes, checksums


def turned(hashes: Hashes) -> list[Hashes]:
    """Apply those four of the square's eight symmetries to the pictures that half a turn does not connect."""
    parts = hashes.spectra.astype(np.float32)
    spectra, amplitudes = _whole_plane(parts[:, 0] + 1j * parts[:, 1]), _whole_plane(hashes.amplitudes)
    across = hashes.frames[:, ::-1]
    moved = (
        (np.rot90(spectra, axes=(1, 2)), np.rot90(amplitudes, axes=(1, 2)), across),
        (spectra[:, :, ::-1], amplitudes[:, :, ::-1], hashes.frames),
        (spectra.transpose(0, 2, 1), amplitudes.transpose(0, 2, 1), across),
    )
    return [hashes, *(_halved(*each) for each in moved)]


def likeness(first: Hashes, second: Hashes) -> np.ndarray:
    """Compute the correlations of amplitudes, (N, M): at least as large as the similarity of copies, and quick."""
    return (2 * first.amplitudes.astype(np.float32)) @ second.amplitudes.astype(np.float32).T


def similarity(first: Hashes, second: Hashes) -> np.ndarray:
    """Compute the correlations of pictures row by row, (n,) at most 1, shifted and turned by 180° as fits best.

    Pictures whose frames differ by more than `SAME_FRAME_OVERLAP` allows have -1.
    """
    one, other = (hashes.spectra[:, 0] + np.complex64(1j) * hashes.spectra[:, 1] for hashes in (first, second))
    best = np.full(len(one), -1.0, np.float32)
    for spectrum in (other, other.conj()):
        cross = one * spectrum.conj()
        np.maximum(best, (np.concatenate([cross.real, cross.imag], axis=1) @ _shift_waves()).max(axis=1), out=best)
    overlap = np.prod(np.minimum(first.frames, second.frames) / np.maximum(first.frames, second.frames), axis=1)
    return np.where(overlap >= SAME_FRAME_OVERLAP, np.minimum(best, 1), np.float32(-1))


def _equal_contrast(picture: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the structure between a fine and a coarse scale, of equal strength everywhere, and the frame's shape."""
    shown = _extent(picture.max(axis=1) > BLACK_LEVEL), _extent(picture.max(axis=0) > BLACK_LEVEL)
    image = picture[shown].astype(np.float32)
    detail = cv2.GaussianBlur(image, (0, 0), FINE_SIGMA) - cv2.GaussianBlur(image, (0, 0), COARSE_SIGMA)
    detail /= np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), SURROUNDINGS_SIGMA) + NOISE_LEVEL**2)
    contrast = np.zeros((THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.float32)
    contrast[shown] = detail * _taper(image.shape[0])[:, None] * _taper(image.shape[1])
    return contrast, image.shape


def _is_telling(pictures_BTT: np.ndarray) -> np.ndarray:
    """Find the pictures that hold enough to be recognised by, (B,) bool."""
    values = pictures_BTT.reshape(len(pictures_BTT), -1)
    lower, upper = ((values.shape[1] - 1) // 2, values.shape[1] // 2)
    in_order = np.sort(values, axis=1, kind="stable")  # of bytes: by counting, a fiftieth of the time of np.median
    twice_median = in_order[:, lower].astype(np.int16) + in_order[:, upper]
    deviation = np.abs(2 * values.astype(np.int16) - twice_median[:, None])
    return np.count_nonzero(deviation > 2 * TELLING_LEVELS, axis=1) >= TELLING_PIXELS


def _extent(occupied: np.ndarray) -> slice:
    """Return the slice from the first to the last true entry; all where there is none."""
    where = np.flatnonzero(occupied)
    return slice(where[0], where[-1] + 1) if len(where) else slice(0, len(occupied))


@cache
def _taper(side: int) -> np.ndarray:
    edge = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    return (np.sin(np.pi / 2 * np.minimum(edge / (TAPER_SHARE * side), 1)) ** 2).astype(np.float32)


def _hash_contrast(contrast_BTT: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute spectra and amplitudes.

    Dividing by what is typical of a frequency makes fine structure count as coarse does.
    """
    spectra = _transform(_transform(contrast_BTT).transpose(0, 2, 1)).transpose(0, 2, 1)
    spectra[:, MAX_FREQUENCY, MAX_FREQUENCY] = 0
    amplitudes = np.abs(spectra)
    typical = np.maximum((amplitudes.reshape(len(amplitudes), -1) @ _RING_MEAN).reshape(amplitudes.shape), 1e-6)
    inner = slice(MAX_FREQUENCY - SEARCH_FREQUENCY, MAX_FREQUENCY + SEARCH_FREQUENCY + 1)
    ratios = np.sqrt(amplitudes / typical)[:, inner, inner]
    ratios -= ratios.mean(axis=(1, 2), keepdims=True)
    ratios[:, SEARCH_FREQUENCY, SEARCH_FREQUENCY] = 0
    shows = np.sqrt(np.mean(contrast_BTT**2, axis=(1, 2), keepdims=True)) >= FEATURELESS_CONTRAST
    return _of_norm_1(spectra / np.sqrt(typical)) * shows, _of_norm_1(ratios) * shows


def _transform(arrays_BHW: np.ndarray) -> np.ndarray:
    """Return the spectra along the last axis, (B, T, K): one large product, for many small ones wait for each other."""
    flat = arrays_BHW.reshape(-1, arrays_BHW.shape[2])
    return (flat @ _WAVES.T).reshape(*arrays_BHW.shape[:2], len(_WAVES))


def _of_norm_1(arrays: np.ndarray) -> np.ndarray:
    return arrays / np.maximum(np.linalg.norm(arrays, axis=(1, 2), keepdims=True), 1e-12)


def _half_plane(spectra: np.ndarray) -> np.ndarray:
    """Return half of each spectrum, (N, K, K) to (N, K * K // 2): a real picture's other half is its conjugate."""
    return spectra.reshape(len(spectra), spectra.shape[1] * spectra.shape[2])[:, : spectra.shape[1] ** 2 // 2]


def _whole_plane(halves: np.ndarray) -> np.ndarray:
    """Return whole spectra, or amplitudes, of their halves, (N, K * K // 2) to (N, K, K); zero in the centre."""
    side = math.isqrt(2 * halves.shape[1] + 1)
    centre = np.zeros((len(halves), 1), halves.dtype)
    return np.concatenate([halves, centre, halves[:, ::-1].conj()], axis=1).reshape(-1, side, side)


def _halved(spectra: np.ndarray, amplitudes: np.ndarray, frames: np.ndarray) -> Hashes:
    halves = _half_plane(spectra)
    parts = np.stack([halves.real, halves.imag], axis=1).astype(np.float16)
    return Hashes(parts, _half_plane(amplitudes).astype(np.float16), frames)


@cache
def _shift_waves() -> np.ndarray:
    """Return the matrix that turns real and imaginary parts of half a cross spectrum into correlations by shift."""
    steps = np.arange(-MAX_SHIFT, MAX_SHIFT + SHIFT_STEP / 2, SHIFT_STEP)
    half = _RADIUS.size // 2
    vertical, horizontal = (grid.ravel()[:half] for grid in np.meshgrid(_FREQUENCIES, _FREQUENCIES, indexing="ij"))
    moves = np.multiply.outer(vertical, np.repeat(steps, len(steps)))
    moves += np.multiply.outer(horizontal, np.tile(steps, len(steps)))
    angles = 2 * np.pi / THUMBNAIL_SIDE * moves
    return 2 * np.concatenate([np.cos(angles), -np.sin(angles)]).astype(np.float32)
