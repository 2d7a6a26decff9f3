"""Help pages: of a verb, with its own choices and keys, and of the whole command."""

from __future__ import annotations

import shutil
import sys
import textwrap
from typing import Any

from omegaconf import DictConfig, OmegaConf

from astroclf.cli.vocabulary import Vocabulary
from astroclf.config.resume import dotted_keys

_COLUMN = 40  # where comments begin
_OPTIONS = (
    ("-m, --multirun", "run each of several values in turn, such as seed=0,1,2"),
    ("-c job, --cfg job", "print the configuration instead of using it"),
    ("--hydra-help", "Hydra's own options"),
    ("--version", "print the version"),
)


def help_page(vocabulary: Vocabulary, composed: DictConfig, program: str) -> str:
    """Return the help of a verb: its choices, and its keys with their values in a composition.

    Parameters
    ----------
    composed
        Of the words beside ``--help``, its ``hydra`` node included.
    program
        How the verb is called, such as ``astroclf train``.
    """
    texts, chosen = composed.hydra.help, composed.hydra.runtime.choices
    parts = [texts.header.rstrip(), f"Usage: {program} [OPTION] [KEY=VALUE]..."]
    choices = [
        _line(f"{group}={_shown(chosen.get(group))}", f"of {', '.join(vocabulary.choices(group))}")
        for group in vocabulary.groups
    ]
    if choices:
        parts.append("\n".join(["Choices, each of a file in conf/<group>", *choices]))
    parts.append("\n".join(["Keys, with the values that they have now", *_key_lines(vocabulary, composed)]))
    parts.append("\n".join(["Options", *(_line(*option) for option in _OPTIONS)]))
    parts.append(texts.footer.rstrip())
    return "\n\n".join(parts)


def _key_lines(vocabulary: Vocabulary, composed: DictConfig) -> list[str]:
    comments = vocabulary.own_comments()
    for group, choice in composed.hydra.runtime.choices.items():
        if group in vocabulary.groups and choice is not None:
            said = vocabulary.comments(str(group), str(choice))
            comments |= {key: comment for key, comment in said.items() if comment}  # a recipe's values may have none
    settable = vocabulary.keys(composed)
    return [
        _line(f"{key}={_shown(_value(composed, key))}", comments.get(key, ""))
        for key in dotted_keys(composed)
        if key in settable and not key.startswith("hydra.") and not _is_section(composed, key)
    ]


def _is_section(composed: DictConfig, key: str) -> bool:
    """Return whether a key holds keys of its own, which are shown instead."""
    return not OmegaConf.is_missing(composed, key) and OmegaConf.is_dict(OmegaConf.select(composed, key))


def _value(composed: DictConfig, key: str) -> Any:
    return OmegaConf.select(composed, key, throw_on_missing=False, default="???")


def _shown(value: Any) -> str:
    """Return a value as it is typed."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if OmegaConf.is_list(value):
        return f"[{','.join(map(_shown, value))}]"
    return str(value)


def _line(left: str, right: str) -> str:
    """Return two columns, the right one broken only for a terminal, so that `grep` finds whole lines."""
    text = f"  {left:<{_COLUMN - 4}}  {right}".rstrip()
    if not sys.stdout.isatty():
        return text
    width = max(60, min(shutil.get_terminal_size().columns, 140))
    return textwrap.fill(text, width, subsequent_indent=" " * _COLUMN, break_long_words=False, break_on_hyphens=False)
