"""How large an image may be, and one large image at a time over all threads: what bounds the memory of decoding."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod

from astroclf.errors import ImageError

# A 20 kB file can claim 65500 x 65500 pixels. Pillow's own limit: 0.5 GB of RGB.
MAX_PIXELS = 178_956_970
MAX_VALUES = 2**28  # 1 GB as float32: more is a survey mosaic or a damaged header, not a cut-out
MAX_BYTES = 8 * MAX_VALUES  # that a compressed file may unpack to
LARGE_VALUES = 2**24  # from so many numbers on, 4096 x 4096, images are decoded one at a time


class _Turn(threading.local):
    depth = 0  # of `one_large_at_a_time` in this thread
    held = False


_turn = _Turn()
_large = threading.Lock()  # held by the thread whose large image is in memory


@contextmanager
def one_large_at_a_time() -> Iterator[None]:
    """Let no other thread hold a large image until the one that is read in this block is done with."""
    _turn.depth += 1
    try:
        yield
    finally:
        _turn.depth -= 1
        if _turn.held and _turn.depth == 0:
            _turn.held = False
            _large.release()


def claim_pixels(width: int, height: int, where: object) -> None:
    """Refuse a picture of too many pixels by what its header says; wait for one's turn if it is large.

    Raises
    ------
    ImageError
        There are more than `MAX_PIXELS`.
    """
    if width * height > MAX_PIXELS:
        raise _too_large(where, f"{width} x {height} pixels", MAX_PIXELS)
    _wait_if_large(width * height)


def claim_values(shape: Sequence[int], where: object) -> None:
    """Refuse an array of too many numbers by what its header says; wait for one's turn if it is large.

    Raises
    ------
    ImageError
        There are more than `MAX_VALUES`, or none at all.
    """
    if 0 in shape:
        raise ImageError(f"{where}: the image has an axis of size zero ({size_text(shape)}).", "no image")
    if prod(map(int, shape)) > MAX_VALUES:
        raise _too_large(where, f"{size_text(shape)} values", MAX_VALUES)
    _wait_if_large(prod(map(int, shape)))


def size_text(shape: Sequence[int]) -> str:
    """Write the lengths of an array's axes."""
    return " x ".join(map(str, shape))


def _wait_if_large(values: int) -> None:
    if values >= LARGE_VALUES and _turn.depth and not _turn.held:
        _large.acquire()
        _turn.held = True


def _too_large(where: object, what: str, limit: int) -> ImageError:
    return ImageError(
        f"{where}: {what} are more than the limit of {limit:,}: a damaged header, or a mosaic to be cut into cut-outs "
        "first.",
        "too large",
    )
