"""The verbs that there are, and what the command says when none is given."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from astroclf.errors import ConfigError
from astroclf.util.text import nearest

if TYPE_CHECKING:
    from astroclf.cli.verb import Verb

VERBS = {
    "train": "train, test, record and register a model; -m searches for a better one",
    "find_lr": "measure which learning rate suits an experiment, before it is trained",
    "pretrain": "let a network learn from images without labels, for trainings that begin with it",
    "pick": "compare pretrained networks on your images, before one of them is trained",
    "evaluate": "say how good a model is on labelled images, and whether another one is better",
    "predict": "ask a trained model about images, and write its answers as a table",
    "explain": "show where a trained model looked in images, as heat maps of the classes",
    "explore": "show images on a map as a model sees them, their neighbours, and what to label next",
    "export": "write a trained model as others take it: ONNX, torch, Hugging Face folder, bundle",
    "check": "say what is wrong with a data set, before a training is spent on it",
    "prepare": "decode a data set into the cache, before a training needs it",
    "stores": "list what the cache holds, and remove what is not needed any more",
    "doctor": "try what a training needs where it will run: databases, files, disks, device",
    "simulate": "write a simulated data set, in the file formats of the real ones",
    "runs": "list the runs that there are with their figures; compare two of them",
    "promote": "show which registered model is champion and why; promote and roll back by hand",
}


_OF_THE_COMMAND = ("hydra", "omegaconf")  # what reads a command line, of the extra `train`


def find_verb(name: str) -> Verb[Any]:
    """Return a verb by its name: each is `VERB` of the module of its name.

    Raises
    ------
    ConfigError
        There is none; the message names the one that was meant, or all. Or only what predicts is installed.
    """
    if name not in VERBS:
        raise _unknown(name)
    try:
        verb: Verb[Any] = importlib.import_module(f"astroclf.{name}").VERB
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _OF_THE_COMMAND:
            raise
        raise ConfigError(
            f"astroclf {name} needs {error.name}, which is not installed: here is only what it takes to use a model "
            "from Python, `astroclf.load(...).predict(...)`. For the commands install astroclf with its extra `train`, "
            "such as `pip install 'astroclf-….whl[train]'` or, in a checkout, `pip install '.[train]'`."
        ) from error
    return verb


def _unknown(name: str) -> ConfigError:
    if "=" in name or name.startswith("-"):
        return ConfigError(f"Say first what to do, as in astroclf train {name}. The verbs are {', '.join(VERBS)}.")
    return ConfigError(f"There is no verb '{name}'. {nearest(name, VERBS)}")


def overview() -> str:
    """Return the help of the whole command."""
    verbs = "\n".join(f"  astroclf {name:<10} {text}" for name, text in VERBS.items())
    return f"""\
astroclf trains, searches, judges and ships classifiers of astronomical images.

{verbs}

What a verb does is said with key=value, such as astroclf train dataset=galaxy10 loss=cb_focal
astroclf VERB --help lists the keys of a verb; python -m astroclf.VERB is the same command.
eval "$(astroclf --completion bash)" completes verbs, keys and choices in this shell (also zsh, fish)."""
