"""The gate's first question: a registered model, loaded as its users load it, repeats what its test said."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from astroclf.errors import WeightsError
from astroclf.inference.ensemble import Ensemble, ForMembers
from astroclf.inference.predictor import Predictor
from astroclf.models.precision import Precision
from astroclf.registry.conditions import Condition
from astroclf.registry.load import load

BATCH_SIZES = (1, 3, 17)
IMAGE_COUNT = max(BATCH_SIZES)

# Probabilities may differ by this much. In the number format of the test the order of additions differs, and BatchNorm
# is folded into weights that half precision rounds anew: of 180 test images the worst moved by 0.024 in bf16, on a CPU.
# A GPU picks its kernels, and TF32, by the batch size. Another model's answers differ by tenths.
MAX_DIFFERENCE = {"fp32": 2e-3, "bf16": 0.05, "fp16": 0.05}
# Users load the model in the fastest format of their machine, which need not be that of the test. Rounding to bf16
# moved single probabilities of a well-trained ResNet18 by up to 0.015, and a class's by 0.001 on average; this average
# is what is held to the limit.
MAX_MEAN_DIFFERENCE_AS_LOADED = 0.02


def picked(count: int) -> np.ndarray:
    """Pick the 17 of `count` test images that are looked at, spread evenly, since files are often sorted by class."""
    return np.linspace(0, count - 1, IMAGE_COUNT).round().astype(int)


def reproduces(
    model: str,
    uri: str,
    images: ForMembers,
    expected_NA: np.ndarray,
    classes: Sequence[str],
    precision: Precision,
) -> Condition:
    """Load a model by its registered name and compare what it says with its test.

    As users load it, it is asked at batch sizes 1, 3 and 17; in the number format of the test at 17.

    Parameters
    ----------
    images : (N, S, S, C) uint8
        Test images; see `picked`. Of an ensemble a list of such, as each member takes them.
    expected_NA : (N, C + 1) float
        What the test said of them: the probabilities, then the uncertainty.
    classes
        Of the test, in label order.
    precision
        Device and number format of the test.
    """
    try:
        predictor = load(model, uri, device=str(precision.device))
        if predictor.classes != tuple(classes):
            return Condition(
                "reproduced", False, f"loaded from the registry it knows other classes: {predictor.classes}"
            )
        users = predictor.precision.name
        loaded = {size: _answers(predictor, images, size) for size in BATCH_SIZES}
        tested_NA = loaded[IMAGE_COUNT]
        if precision.name != users:  # at one size: no user runs it so, and on a CPU each costs seconds
            in_test_format = load(model, uri, device=str(precision.device), precision=precision.name)
            tested_NA = _answers(in_test_format, images, IMAGE_COUNT)
    except WeightsError as error:
        return Condition("reproduced", False, f"it does not load from the registry: {error}")
    except torch.OutOfMemoryError:
        return Condition("reproduced", False, f"the device has no memory for {IMAGE_COUNT} images at once")
    among_sizes = max(float(np.abs(answers - loaded[1]).max()) for answers in loaded.values())
    in_format = float(np.abs(tested_NA - expected_NA).max())
    as_loaded = max(float(np.abs(answers - expected_NA).mean(axis=0).max()) for answers in loaded.values())
    faults = [
        f"{what}: {found:.2g} ({allowed:g} allowed)"
        for what, found, allowed in (
            ("its answers depend on the batch size", among_sizes, MAX_DIFFERENCE[users]),
            (f"in {precision.name}, as tested, they differ", in_format, MAX_DIFFERENCE[precision.name]),
            (f"in {users}, as users load it, they differ on average", as_loaded, MAX_MEAN_DIFFERENCE_AS_LOADED),
        )
        if not found <= allowed  # NaN is not
    ]
    if faults:
        said = f"loaded from the registry it does not repeat the probabilities of its test: {'; '.join(faults)}"
        return Condition("reproduced", False, said)
    said = (
        f"loaded back, {len(expected_NA)} test images at batch sizes {_listed(BATCH_SIZES)}: probabilities differ from "
        f"the test's by at most {in_format:.2g} in {precision.name} as tested, by {as_loaded:.2g} on average in "
        f"{users} as users load it"
    )
    return Condition("reproduced", True, said)


def _answers(predictor: Predictor | Ensemble, images: ForMembers, batch_size: int) -> np.ndarray:
    if isinstance(predictor, Ensemble):
        said = predictor.classify(images, batch_size)
    else:
        said = predictor.classify(np.asarray(images), batch_size)
    return np.column_stack([said.probabilities, said.uncertainty]).astype(np.float64)


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} and {last}"
