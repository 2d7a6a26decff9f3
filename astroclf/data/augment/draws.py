"""Random numbers that are a pure function of (seed, epoch, row): counter-based hashes, without generator state.

A sample's augmentation so depends neither on batch size, worker count or prefetch nor on interruptions. The 64-bit
hash is SplitMix64's (Steele, Lea & Flood 2014, doi:10.1145/2660193.2660195), the 32-bit one that fills noise
fields is C. Wellons' lowbias32 (https://nullprogram.com/blog/2018/07/31/).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from statistics import NormalDist

import numpy as np

GOLDEN_64 = 0x9E3779B97F4A7C15  # odd, so that counting in its multiples visits every 64-bit value
GOLDEN_32 = 0x9E3779B9
MIX_32 = (0x7FEB352D, 0x846CA68B)
_MASK_64 = 2**64 - 1

# One constant a purpose, so that the order of samples and their augmentation share no numbers.
PURPOSE_AUGMENT = 1
PURPOSE_ORDER = 2

DRAWN = 12  # numbers of a sample's stream that `Augmentation.draw` takes; further ones are for its bands


@dataclass(frozen=True)
class Draws:
    """The random parameters of B samples; every field is a (B,) array."""

    brightness: np.ndarray  # factor
    contrast: np.ndarray  # factor
    saturation: np.ndarray  # factor
    hue: np.ndarray  # turns
    blur_sigma: np.ndarray  # pixels
    flip_horizontal: np.ndarray  # bool
    flip_vertical: np.ndarray  # bool
    quarter_turns: np.ndarray  # 0 to 3, counter-clockwise
    angle: np.ndarray  # degrees, counter-clockwise, beside the quarter turns
    zoom: np.ndarray  # magnification
    shift_x: np.ndarray  # fraction of the image's width, to the right
    shift_y: np.ndarray  # fraction of the image's height, down
    key: np.ndarray  # uint64, from which follows what depends on the image: its noise, the factors of its bands

    def __len__(self) -> int:
        return len(self.key)

    def take(self, index: slice | Sequence[int] | np.ndarray) -> Draws:
        """Return the draws of only these samples."""
        return Draws(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def mix_64(values: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finaliser to a uint64 array: every input bit flips each output bit with probability 1/2."""
    values = values ^ (values >> np.uint64(30))
    values = values * np.uint64(0xBF58476D1CE4E5B9)
    values = values ^ (values >> np.uint64(27))
    values = values * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def sample_keys(seed: int, epoch: int, rows: np.ndarray, purpose: int = PURPOSE_AUGMENT) -> np.ndarray:
    """Return a 64-bit key for every row, (B,) uint64: a function of the four arguments alone."""
    key = np.zeros(1, dtype=np.uint64)
    for part in (purpose, seed, epoch):
        key = mix_64(key + np.uint64((part * GOLDEN_64 + 1) & _MASK_64))
    counters = np.asarray(rows, dtype=np.int64).view(np.uint64) + np.uint64(1)
    return mix_64(mix_64(counters * np.uint64(GOLDEN_64)) ^ key)


def uniforms(keys: np.ndarray, count: int) -> np.ndarray:
    """Draw `count` independent uniform numbers in [0, 1) for every key, (B, count) float64 with 53 random bits."""
    slots = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN_64)
    return (mix_64(keys[:, None] + slots[None, :]) >> np.uint64(11)) * 2.0**-53


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """Draw the order of `count` samples in an epoch, (count,) int64: a function of the arguments alone."""
    return np.argsort(sample_keys(seed, epoch, np.arange(count), PURPOSE_ORDER), kind="stable")


@lru_cache(maxsize=1)
def normal_table() -> np.ndarray:
    """Return the quantiles of the standard normal at the centres of 2^16 equal probabilities, (65536,) float32.

    Looking 16 random bits up here is several times faster than Box-Muller and gives the same bits on every device;
    the values reach 4.3 standard deviations.
    """
    normal = NormalDist()
    upper = np.array([normal.inv_cdf((k + 0.5) / 65536) for k in range(32768, 65536)])
    table = np.concatenate([-upper[::-1], upper])
    return (table / table.std()).astype(np.float32)


def noise_field(key: np.uint64, size: int) -> np.ndarray:
    """Draw white Gaussian noise of unit variance, (size,) float32: a function of the key alone.

    Its twin in torch is `on_torch.noise_fields`.
    """
    low, high = np.array([key], dtype="<u8").view("<u4")
    words = np.arange((size + 1) // 2, dtype="<u4")
    words *= np.uint32(GOLDEN_32)
    words += low
    _mix_32(words)
    words ^= high  # the key's second half enters between two rounds, so that all its 64 bits count
    _mix_32(words)
    return np.take(normal_table(), words.view("<u2")[:size])


def _mix_32(words: np.ndarray) -> None:
    words ^= words >> np.uint32(16)
    words *= np.uint32(MIX_32[0])
    words ^= words >> np.uint32(15)
    words *= np.uint32(MIX_32[1])
    words ^= words >> np.uint32(16)
