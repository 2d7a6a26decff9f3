"""What the inputs of a verb name that asks a model about images, counted before anything is decoded."""

from __future__ import annotations

import sys

from astroclf.errors import DataError
from astroclf.inference.inputs import Inputs, Survey
from astroclf.inference.preparation import Preparation
from astroclf.settings.verbs.asking import AskedImages
from astroclf.util.logs import log


def surveyed_inputs(config: AskedImages, preparation: Preparation) -> tuple[Inputs, Survey]:
    """List what ``inputs=`` names, and say how many images that are and what is left out.

    Raises
    ------
    ConfigError
        A word names nothing.
    DataError
        There is no image, or a table or array that cannot be read.
    """
    inputs = Inputs(config.words, preparation.reading, preparation.channels, config.column, sys.stdin.buffer)
    survey = inputs.survey()
    log.info("%s", survey.account())
    if not survey.count:
        raise DataError(f"inputs={' '.join(config.words)[:200]} holds no image: {survey.account()}")
    return inputs, survey
