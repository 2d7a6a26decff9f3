"""One look for all figures: a column's width, quiet axes, and colors that the color-blind can tell apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from astroclf.util.atomic import atomic_path
from astroclf.util.fonts import BASE_FONT, drawable, families
from astroclf.util.pictures import as_rgb

# Okabe & Ito (2008), "Color Universal Design": distinct under all common color-vision deficiencies.
BLUE, ORANGE, GREEN, PURPLE, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8F98", "#22252B"
DPI = 160

_STYLE: Any = {
    "font.family": BASE_FONT,
    "text.parse_math": False,  # a dollar sign in a name is one
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": "#B4B8C0",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E6E8EC",
    "grid.linewidth": 0.8,
    "xtick.color": "#5A606B",
    "ytick.color": "#5A606B",
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def figure(
    path: str | Path,
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    layout: str = "constrained",
    **options: Any,
) -> Iterator[Any]:
    """Yield the axes of a new figure (inches) and write it as PNG to `path`, atomically, when the block ends.

    Drawn on a canvas of its own: nothing of pyplot's global state is touched, so that figures can be made in any thread
    and notebooks keep their backend.
    """
    with mpl.rc_context(_STYLE):
        drawing = Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]
        FigureCanvasAgg(drawing)
        yield drawing.subplots(rows, columns, **options)
        for text in drawing.findobj(Text):
            text.set_fontfamily(families(text.get_text()))
        with atomic_path(path) as temporary:
            drawing.savefig(temporary, format="png", dpi=DPI)


def shorten(name: str, length: int = 25) -> str:
    """Cut a name so that it fits beside an axis."""
    return name if len(name) <= length else name[: length - 1].rstrip() + "…"


def class_labels(classes: Sequence[str], length: int = 25) -> list[str]:
    """Return what stands for each class in a figure: its name, cut so that it fits.

    A name that no font can draw, or that looks like another one when it is cut, has its place in the label order before
    it.
    """
    labels = [shorten(drawable(name), length) for name in classes]
    alike = Counter(labels)
    return [
        label if drawable(name) == name and alike[label] == 1 else f"{place}: {label}"
        for place, (name, label) in enumerate(zip(classes, labels, strict=True))
    ]


def show_image(axes: Axes, image_HWC: Any, title: str = "", color: str = INK) -> None:
    """Show a picture of any number of bands, without axes."""
    axes.imshow(as_rgb(image_HWC), interpolation="nearest")
    axes.set_axis_off()
    if title:
        axes.set_title(drawable(title), fontsize=7, fontweight="normal", color=color, loc="center", pad=3)
