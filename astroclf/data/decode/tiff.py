"""TIFF files of every form: samples of 1 to 64 bits, planar or not, BigTIFF, palettes, stacks of pages."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from astroclf.data.catalog import Note
from astroclf.data.decode.axes import check_planes, choose_planes, upright
from astroclf.data.decode.bands import check_bands
from astroclf.data.decode.limits import claim_pixels, claim_values, size_text
from astroclf.data.decode.values import EIGHT_BIT, Values, kind_of
from astroclf.errors import ImageError
from astroclf.settings.reading import ReadSettings
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import tifffile
else:
    tifffile = lazy_import("tifffile")  # takes half a second to import: only where a TIFF file is met

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR = 0, 1, 2, 3, 5, 6
COLORS_OF = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, PALETTE: 1, CMYK: 4, YCBCR: 3}  # samples that are no extras
UNREAD_COLORS = {4: "a mask", 8: "CIE Lab colors", 32803: "the raw mosaic of a camera", 34892: "raw camera colors"}
PREMULTIPLIED, TRANSPARENCY = 1, 2  # kinds of extra samples that are no bands
HARMLESS = "missing data ByteCounts"  # tifffile's remark on a file without compression, whose size tells
REDUCED_OR_MASK = 1 | 4  # NewSubfileType
OLD_REDUCED = 2  # SubfileType
ORIENTATION_TAG, OLD_SUBFILE_TAG, INK_SET_TAG = 274, 255, 332


class _Stack(NamedTuple):
    """Pages of one size and kind."""

    pages_PHWS: np.ndarray
    kind: str  # of `Values`
    colors: int  # how many of the samples make the picture; the others are bands of their own


def read_tiff(path: Path, settings: ReadSettings, channels: int) -> Values:
    """Read one TIFF file.

    One page gives its samples as bands: grey, RGB (of palettes and CMYK too), or however many there are; transparency
    is laid over black, white-is-zero turned round, orientation undone. Pages of one sample are planes of a cube.

    Raises
    ------
    ImageError
        The file is damaged, too large, of an unknown compression, or has bands or pages between which nothing decides.
    """
    with listening() as remarks:
        try:
            # Not other files that the description of this one names.
            with tifffile.TiffFile(path, is_ome=False, is_mmstack=False, is_ndtiff=False) as file:
                stacks = [_read_stack(series, path) for series in _wanted(file, path)]
        except ImageError:
            raise
        except Exception as error:  # arbitrary bytes: any parser error may come from them
            text = _without_names(str(error)) or type(error).__name__
            raise ImageError(f"{path}: damaged or truncated: {text}.", "damaged") from error
    # What is wrong with a list of pages or a tag, tifffile says and reads on.
    remarks = [(level, text) for level, text in remarks if HARMLESS not in text]
    if faults := [text for level, text in remarks if level >= logging.ERROR]:
        raise ImageError(f"{path}: damaged: {faults[0]}.", "damaged")
    values = _joined(stacks, settings, channels, path)
    return values.noted(*(Note("remark", f"{path}: tifffile remarks: {text}.") for _, text in dict.fromkeys(remarks)))


# ---- what tifffile says besides -------------------------------------------------------------------------------------


class _Listener(threading.local, logging.Filter):
    """A filter of tifffile's logger that keeps what is said of the file that this thread reads, and prints nothing."""

    remarks: list[tuple[int, str]] | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        if self.remarks is None:
            return True  # somebody else's reading
        if record.levelno >= logging.WARNING:
            self.remarks.append((record.levelno, _without_names(record.getMessage())))
        return False


_listener = _Listener()


@contextmanager
def listening() -> Iterator[list[tuple[int, str]]]:
    """Collect what tifffile remarks in this thread, as level and text, instead of printing it."""
    logging.getLogger("tifffile").addFilter(_listener)  # once, however often
    remarks: list[tuple[int, str]] = []
    _listener.remarks = remarks
    try:
        yield remarks
    finally:
        _listener.remarks = None


def _without_names(text: str) -> str:
    """Take the names of Python objects out of a message, and make it one short line."""
    text = re.sub(r"<tifffile\.[^>]*>|<(Tiff\w+)[^>]*>", r"\1", text)
    return " ".join(text.split())[:200].rstrip(". ")


# ---- from the file to arrays ----------------------------------------------------------------------------------------


def _wanted(file: Any, path: Path) -> list[Any]:
    """List the series of pages that are images of their own: no thumbnails, pyramid levels or masks."""
    listed = file.series(squeeze=False) if callable(file.series) else file.series  # tifffile 2026.5.2, and before it
    series = [each for each in listed if each.keyframe is not None and not _is_companion(each.keyframe)]
    if not series:
        raise ImageError(f"{path}: no page holds an image of its own: thumbnails or masks only.", "no image")
    for each in series:
        page = each.keyframe
        claim_pixels(page.imagewidth, page.imagelength, path)
    claim_values((sum(each.size for each in series),), path)
    return series


def _is_companion(page: Any) -> bool:
    return bool(page.subfiletype & REDUCED_OR_MASK) or page.tags.valueof(OLD_SUBFILE_TAG) == OLD_REDUCED


def _read_stack(series: Any, path: Path) -> _Stack:
    page = series.keyframe
    if page.photometric in UNREAD_COLORS or page.photometric not in COLORS_OF:
        what = UNREAD_COLORS.get(page.photometric, f"colors of kind {int(page.photometric)}")
        raise ImageError(f"{path}: it holds {what}, which are not read: save it as RGB or grey.", "no image")
    if page.photometric == YCBCR and page.compression != 7:
        raise ImageError(f"{path}: it holds colors as YCbCr, which are not read: save it as RGB.", "no image")
    if page.dtype is None or page.dtype.kind not in "biuf":
        raise ImageError(f"{path}: its numbers are complex or of a kind that is not known.", "no image")
    if series.dataoffset is not None:  # one run of numbers, of which not every page may have a directory
        pages = series.asarray(maxworkers=1)
    else:
        read = [_read_page(each, path) for each in series.pages]
        pages = np.stack(read) if len(read) > 1 else read[0][None]
    shape, axes = _all_axes(series)
    pages_PHWS = _arranged(pages.reshape(shape), axes)
    orientation = page.tags.valueof(ORIENTATION_TAG, 1)
    return _interpreted(upright(pages_PHWS, orientation, rows=1), page, path)


def _read_page(page: Any, path: Path) -> np.ndarray:
    """Read the numbers of one page, in its own shape, without any interpretation of their meaning."""
    if 0 in page.databytecounts:
        raise ImageError(f"{path}: incomplete: some of its strips or tiles hold no data.", "truncated")
    compression = page.keyframe.compression
    if compression not in tifffile.TIFF.DECOMPRESSORS:
        known = compression in iter(tifffile.COMPRESSION)
        name = tifffile.COMPRESSION(compression).name.replace("_", " ") if known else f"method {compression}"
        raise ImageError(
            f"{path}: compressed by {name}, which is not read: save it with another compression, such as deflate.",
            "no decoder",
        )
    return page.asarray(squeeze=False, maxworkers=1).reshape(page.keyframe.shape)


def _all_axes(series: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape of a series and the letters of its axes, those of length 1 among them."""
    if hasattr(series, "get_shape"):  # tifffile before 2026.5.2, the newest for Python 3.11 among them
        return series.get_shape(squeeze=False), series.get_axes(squeeze=False)
    return series.shape, series.axes


def _arranged(pages: np.ndarray, axes: str) -> np.ndarray:
    """Bring the axes that tifffile names to (P, H, W, S)."""
    samples = [axes.index("S")] if "S" in axes else []
    last = [axes.index("Y"), axes.index("X"), *samples]
    pages = pages.transpose([axis for axis in range(pages.ndim) if axis not in last] + last)
    return pages.reshape(-1, *pages.shape[pages.ndim - len(last) :][:2], pages.shape[-1] if samples else 1)


# ---- from numbers to brightness -------------------------------------------------------------------------------------


def _interpreted(pages_PHWS: np.ndarray, page: Any, path: Path) -> _Stack:
    """Undo what the photometric interpretation says: bands in which more is brighter."""
    bits = page.bitspersample if isinstance(page.bitspersample, int) else 8 * page.dtype.itemsize
    colors = COLORS_OF[page.photometric]
    if pages_PHWS.shape[3] < colors:
        raise ImageError(f"{path}: damaged: {pages_PHWS.shape[3]} samples where its colors need {colors}.", "damaged")
    if page.photometric == PALETTE:
        return _Stack(_looked_up(pages_PHWS[..., 0], page.colormap, path), EIGHT_BIT, 3)
    white: float = 1
    if pages_PHWS.dtype == bool or (pages_PHWS.dtype.kind == "u" and bits < 8):
        greys = np.rint(np.linspace(0, 255, 2**bits)).astype(np.uint8)
        pages_PHWS = greys[pages_PHWS.astype(np.uint8)]
        white = 255
    elif pages_PHWS.dtype.kind == "u":
        white = 2**bits - 1
    elif pages_PHWS.dtype.kind == "i":
        white = -1  # -1 - x turns the range of a signed type round
    elif pages_PHWS.dtype == np.float16:
        pages_PHWS = pages_PHWS.astype(np.float32)
    kind = f"uint{bits}" if pages_PHWS.dtype == np.uint16 and bits < 16 else kind_of(pages_PHWS.dtype)
    if page.photometric == WHITE_IS_ZERO:
        pages_PHWS = np.concatenate([white - pages_PHWS[..., :1], pages_PHWS[..., 1:]], axis=3, dtype=pages_PHWS.dtype)
    if page.photometric == CMYK:
        if page.tags.valueof(INK_SET_TAG, 1) != 1:
            raise ImageError(f"{path}: it holds inks other than CMYK, which are not read: save it as RGB.", "no image")
        ink = pages_PHWS[..., :4].astype(np.float64)
        light = (white - ink[..., :3]) * (white - ink[..., 3:]) / white
        pages_PHWS = np.concatenate([_like(light, pages_PHWS), pages_PHWS[..., 4:]], axis=3)
        colors = 3
    return _Stack(_over_black(pages_PHWS, page, colors, white), kind, colors)


def _looked_up(indices_PHW: np.ndarray, colormap: np.ndarray | None, path: Path) -> np.ndarray:
    if colormap is None:
        raise ImageError(f"{path}: damaged: it has a palette without colors.", "damaged")
    eight_bit = colormap if colormap.max() < 256 else colormap >> 8  # some programs write 8 bits into these 16
    return np.moveaxis(eight_bit.astype(np.uint8), 0, -1)[indices_PHW]


def _over_black(pages_PHWS: np.ndarray, page: Any, colors: int, white: float) -> np.ndarray:
    """Lay the colors over black by their transparency; extra samples of no declared meaning stay."""
    extras = [int(kind) for kind in page.extrasamples]
    place = next((i for i, kind in enumerate(extras) if kind in (PREMULTIPLIED, TRANSPARENCY)), None)
    if place is None:
        return pages_PHWS
    alpha = colors + place
    lit = pages_PHWS[..., :colors]
    if extras[place] == TRANSPARENCY:
        lit = _like(lit.astype(np.float64) * (pages_PHWS[..., alpha, None] / white), pages_PHWS)
    return np.concatenate([lit, pages_PHWS[..., colors:alpha], pages_PHWS[..., alpha + 1 :]], axis=3)


def _like(numbers: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (np.rint(numbers) if other.dtype.kind in "iu" else numbers).astype(other.dtype)


# ---- from pages to bands --------------------------------------------------------------------------------------------


def _joined(stacks: Sequence[_Stack], settings: ReadSettings, channels: int, path: Path) -> Values:
    """Make one image of all pages, or refuse where nothing says how."""
    pages = [(page_HWS, stack) for stack in stacks for page_HWS in stack.pages_PHWS]
    if len(pages) == 1:
        return _of_one_page(*pages[0], settings, channels, path)
    if settings.planes:
        check_planes(len(pages), settings.planes, path)
        pages = [pages[place] for place in settings.planes]
    shapes = list(dict.fromkeys(page_HWS.shape for page_HWS, _ in pages))
    kinds = list(dict.fromkeys(stack.kind for _, stack in pages))
    if len(pages) > 1 and (len(shapes) > 1 or len(kinds) > 1 or shapes[0][2] > 1):
        of = " and ".join(map(size_text, shapes[:3]))
        raise ImageError(
            f"{path}: it has {len(pages)} pages of {of} (rows x columns x samples; {', '.join(kinds)}), which make no "
            "one image: choose a page with dataset.planes, such as [0].",
            "wrong bands",
        )
    if len(pages) == 1:
        bands_PHW = np.moveaxis(pages[0][0], 2, 0)
    else:
        bands_PHW = np.stack([page_HWS[..., 0] for page_HWS, _ in pages])
        if not settings.planes:
            bands_PHW = choose_planes(bands_PHW, settings, {1, 3, channels}, path)
    check_bands(len(bands_PHW), channels, str(path), f"{len(pages)} page{'s' * (len(pages) > 1)}")
    return Values(np.moveaxis(bands_PHW, 0, 2), kinds[0])


def _of_one_page(page_HWS: np.ndarray, stack: _Stack, settings: ReadSettings, channels: int, path: Path) -> Values:
    samples = page_HWS.shape[2]
    notes: tuple[Note, ...] = ()
    if samples > stack.colors == 3 and samples != channels and not settings.planes:
        text = f"it has {samples - 3} samples beyond red, green and blue, which are left out"
        notes = (Note("extra samples", f"{path}: {text}."),)
        page_HWS = page_HWS[..., :3]
    bands_PHW = choose_planes(np.moveaxis(page_HWS, 2, 0), settings, {1, 3, channels}, path)
    check_bands(len(bands_PHW), channels, str(path), f"{samples} samples")
    return Values(np.moveaxis(bands_PHW, 0, 2), stack.kind, notes)
