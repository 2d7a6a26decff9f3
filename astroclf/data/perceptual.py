"""A perceptual hash of small pictures that knows shifts, quarter turns and mirror images.

The hash of a picture is its spectrum (the lowest spatial frequencies, centred) after its contrast was made equal
everywhere: faint stars and the grain of the sky count as much as the bright object in the middle, which is alike in
every cut-out of a round galaxy. In the spectrum all that a copy may have undergone is simple: a shift changes phases
only, a turn or a mirror image moves coefficients, half a turn conjugates them, brightness cancels.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

SIDE = 64  # of the pictures, in pixels
BAND = 12  # frequencies of the hash, cycles a picture: above them, JPEG and half a pixel of shift leave little
SEARCH_BAND = 8  # of these, the ones whose amplitudes alone are compared first
SHIFT, STEP = 3.0, 0.5  # pixels of a picture: by how much, and how finely, copies may be shifted

FINE, COARSE, AROUND = 1.0, 6.0, 8.0  # sigma in pixels: grain below `FINE` and glow above `COARSE` are taken away
NOISE = 2.0  # grey levels: contrast well below this is not raised, it is rounding and JPEG
TAPER = 0.2  # of the picture's side, over which its edges fade: what a shift brings in or loses
FEATURELESS = 0.05  # root mean square of the equalised contrast below which a picture shows nothing
BLOCK = 256  # pictures at a time

_FREQUENCIES = np.arange(-BAND, BAND + 1)
_PLACES = np.arange(SIDE) - (SIDE - 1) / 2  # from the centre: turns and mirror images act on spectra as on pictures
_WAVES = np.exp(-2j * np.pi / SIDE * np.outer(_FREQUENCIES, _PLACES)).astype(np.complex64)
_RADIUS = np.rint(np.hypot(_FREQUENCIES[:, None], _FREQUENCIES))
_SAME_RING = (_RADIUS.ravel()[:, None] == _RADIUS.ravel()).astype(np.float32)
_RING_MEAN = _SAME_RING / _SAME_RING.sum(axis=0)  # (K * K, K * K), K = 2 BAND + 1: of amplitudes of equal frequency


class Hashes(NamedTuple):
    """Perceptual hashes of N pictures."""

    spectra: np.ndarray  # (N, 2 BAND + 1, 2 BAND + 1) complex64, of norm 1; all zero for a picture that shows nothing
    amplitudes: np.ndarray  # (N, 2 SEARCH_BAND + 1, 2 SEARCH_BAND + 1) float32, of mean 0 and norm 1, likewise


def hash_pictures(pictures_NTT: np.ndarray) -> Hashes:
    """The hashes of grey pictures, (N, SIDE, SIDE) uint8."""
    count = len(pictures_NTT)
    spectra = np.empty((count, *_RADIUS.shape), np.complex64)
    amplitudes = np.empty((count, 2 * SEARCH_BAND + 1, 2 * SEARCH_BAND + 1), np.float32)
    for start in range(0, count, BLOCK):
        rows = slice(start, min(start + BLOCK, count))
        contrast = np.stack([_equal_contrast(picture) for picture in pictures_NTT[rows]])
        spectra[rows], amplitudes[rows] = _hash_contrast(contrast)
    return Hashes(spectra, amplitudes)


def _hash_contrast(contrast_BTT: np.ndarray) -> Hashes:
    spectra = _WAVES @ contrast_BTT @ _WAVES.T
    spectra[:, BAND, BAND] = 0
    amplitudes = np.abs(spectra)
    typical = np.maximum((amplitudes.reshape(len(amplitudes), -1) @ _RING_MEAN).reshape(amplitudes.shape), 1e-6)
    inner = slice(BAND - SEARCH_BAND, BAND + SEARCH_BAND + 1)
    ratios = np.sqrt(amplitudes / typical)[:, inner, inner]
    ratios -= ratios.mean(axis=(1, 2), keepdims=True)
    ratios[:, SEARCH_BAND, SEARCH_BAND] = 0
    shows = np.sqrt(np.mean(contrast_BTT**2, axis=(1, 2), keepdims=True)) >= FEATURELESS
    return Hashes(_of_norm_1(spectra / np.sqrt(typical)) * shows, _of_norm_1(ratios) * shows)


def _equal_contrast(picture: np.ndarray) -> np.ndarray:
    """The structure between `FINE` and `COARSE` pixels, of equal strength everywhere; black padding does not count."""
    shown = _extent(picture.any(axis=1)), _extent(picture.any(axis=0))
    image = picture[shown].astype(np.float32)
    detail = cv2.GaussianBlur(image, (0, 0), FINE) - cv2.GaussianBlur(image, (0, 0), COARSE)
    detail /= np.sqrt(cv2.GaussianBlur(detail**2, (0, 0), AROUND)) + NOISE
    contrast = np.zeros((SIDE, SIDE), np.float32)
    contrast[shown] = detail * _taper(image.shape[0])[:, None] * _taper(image.shape[1])
    return contrast


def _extent(occupied: np.ndarray) -> slice:
    """From the first to the last true entry; all where there is none."""
    where = np.flatnonzero(occupied)
    return slice(where[0], where[-1] + 1) if len(where) else slice(len(occupied))


@cache
def _taper(side: int) -> np.ndarray:
    edge = np.minimum(np.arange(side), np.arange(side)[::-1]) + 0.5
    return (np.sin(np.pi / 2 * np.minimum(edge / (TAPER * side), 1)) ** 2).astype(np.float32)


def _of_norm_1(arrays: np.ndarray) -> np.ndarray:
    return arrays / np.maximum(np.linalg.norm(arrays, axis=(1, 2), keepdims=True), 1e-12)


def turned(spectra: np.ndarray) -> list[np.ndarray]:
    """Of the square's eight symmetries the four that half a turn does not connect, applied to (N, K, K)."""
    return [spectra, np.rot90(spectra, axes=(1, 2)), spectra[:, :, ::-1], spectra.transpose(0, 2, 1)]


def half_plane(spectra: np.ndarray) -> np.ndarray:
    """(N, K, K) to (N, (K * K - 1) / 2): of a real picture's spectrum, the other half is the conjugate of this one."""
    flat = spectra.reshape(len(spectra), -1)
    return flat[:, : flat.shape[1] // 2]


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(n,) correlation, at most 1, of pictures with these spectra (n, K, K), shifted and turned by 180° as fits best."""
    one, other = half_plane(first), half_plane(second)
    best = np.full(len(one), -1.0, np.float32)
    for spectrum in (other, other.conj()):
        cross = one * spectrum.conj()
        waves = np.concatenate([cross.real, cross.imag], axis=1)
        np.maximum(best, (waves @ _SHIFTS).max(axis=1), out=best)
    return best


def _shift_waves() -> np.ndarray:
    """(K * K - 1, shifts): what turns a cross spectrum (real parts, imaginary parts) into correlations."""
    steps = np.arange(-SHIFT, SHIFT + STEP / 2, STEP)
    vertical, horizontal = np.meshgrid(np.arange(-BAND, BAND + 1), np.arange(-BAND, BAND + 1), indexing="ij")
    half = (2 * BAND + 1) ** 2 // 2
    phase = (
        2
        * np.pi
        / SIDE
        * (
            np.multiply.outer(vertical.ravel()[:half], np.repeat(steps, len(steps)))
            + np.multiply.outer(horizontal.ravel()[:half], np.tile(steps, len(steps)))
        )
    )
    return 2 * np.concatenate([np.cos(phase), -np.sin(phase)]).astype(np.float32)


_SHIFTS = _shift_waves()
