"""An exported program with the page beside it that says how it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from astroclf.data.augment.plan import per_band, plan
from astroclf.inference.predictor import Predictor
from astroclf.inference.spec import ModelSpec
from astroclf.use.export.check import Trial, check_program, shown_to
from astroclf.use.export.formats import Format
from astroclf.use.export.program import Program
from astroclf.util.atomic import atomic_path, write_text
from astroclf.util.version import __version__

_NOVELTY = """\
- `novelty`, float32 (N,): how unlike the training images an image is. 0 is the median of the validation images. Beyond
  1, which few of those exceed, take the image for one of another kind, whatever its probabilities are.
"""


def write_program(
    predictor: Predictor, format: Format, preprocessing: str, trials: Sequence[Trial], output: Path
) -> str:
    """Write a model as a program, once it is certain that it says what the model says, and the page beside it.

    Parameters
    ----------
    trials
        The images that they are compared on.

    Returns
    -------
    str
        What was written, in words.

    Raises
    ------
    AstroclfError
        They differ; nothing is written.
    """
    example = torch.from_numpy(shown_to(predictor, preprocessing, np.asarray(trials[0].images)[:2]))
    program = Program(predictor, preprocessing)
    about = described(predictor.spec, preprocessing, program.outputs)
    page = output.with_name(f"{output.name}.md")
    with atomic_path(output) as temporary:
        format.write(program, example, about, temporary)
        agreement = check_program(predictor, format.runner(temporary), preprocessing, trials)
        write_text(page, readme(predictor.spec, format, output.name, preprocessing, program.outputs, agreement))
    return f"{format.title}, preprocessing {preprocessing}; {agreement}. {page.name} says how it is used."


def described(spec: ModelSpec, preprocessing: str, outputs: Sequence[str]) -> dict[str, str]:
    """Return what the file says of itself, each value a text."""
    return {
        "classes": json.dumps(list(spec.classes)),
        "input": taken(spec, preprocessing),
        "outputs": json.dumps(list(outputs)),
        **({"novelty_limit": "1"} if "novelty" in outputs else {}),
        "preprocessing": preprocessing,
        "test_time_views": str(spec.tta_views),
        "calibrated": str(bool(spec.calibration)).lower(),
        "weights_sha256": spec.weights_sha256,
        "astroclf": __version__,
        **{name: str(value) for name, value in spec.facts.items() if name.endswith("_fingerprint")},
    }


def taken(spec: ModelSpec, preprocessing: str) -> str:
    """Return what a program takes, in words."""
    if preprocessing == "inside":
        return f"uint8 (N, {spec.image_size}, {spec.image_size}, {spec.channels}), brightness 0 to 255"
    size = spec.network.image_size
    return f"float32 (N, {spec.channels}, {size}, {size}), normalised"


def readme(
    spec: ModelSpec, format: Format, name: str, preprocessing: str, outputs: Sequence[str], agreement: str
) -> str:
    """Write the page beside a program."""
    classes = "\n".join(f"{place}. {label}" for place, label in enumerate(spec.classes))
    example = "images" if preprocessing == "inside" else "normalised"
    return f"""\
# {name}

A classifier of astronomical images, exported by astroclf {__version__} to {format.title}. When it was written, it was
compared with the model itself: {agreement}.

## Input

`images`: {taken(spec, preprocessing)}; N is any number.

{_fitting(spec)}
{"" if preprocessing == "inside" else _normalising(spec)}
## Output

- `probabilities`, float32 (N, {len(spec.classes)}): of each class, in the order below{
        ", calibrated" if spec.calibration else ""
    }.
- `confidence`, float32 (N,): the estimated probability that the most probable class is right.
- `uncertainty`, float32 (N,): the estimated probability that it is wrong.
{_NOVELTY if "novelty" in outputs else ""}
{"The mean over the eight symmetries of the square is taken inside." if spec.tta_views > 1 else ""}

Classes, from column 0:

{classes}

## Use

```python
{format.usage(name, example, outputs)}
```
"""


def _fitting(spec: ModelSpec) -> str:
    side = spec.image_size
    return (
        f"An image of another size is scaled until its longest side has {side} pixels (area averaging where it "
        "shrinks, bilinear where it grows), and padded with 0 to a square, half of it on each side. Files whose "
        "numbers are not brightnesses from 0 to 255 (FITS, 16-bit) become grey by the rules under `reading` and "
        "`tones` of the model's `model.json`; `astroclf predict` does that."
    )


def _normalising(spec: ModelSpec) -> str:
    steps = plan(spec.augmentation, (1, spec.image_size, spec.image_size, spec.channels), None)
    top, left, height, width = steps.crop
    mean, std = (per_band(spec.augmentation, name, spec.channels).round(6).tolist() for name in ("mean", "std"))
    return f"""
Then, beside this file (preprocessing=beside):

1. cut rows {top} to {top + height} and columns {left} to {left + width} out;
2. resize that to {steps.output[0]} × {steps.output[1]} pixels, if it has another size (area averaging where a side
   shrinks, then bilinear where one grows), and round to whole brightnesses;
3. divide by 255, subtract {mean}, divide by {std} (one number a channel), and put the channels first.
"""
