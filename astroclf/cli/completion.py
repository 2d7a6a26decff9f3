"""Completion of verbs, groups, choices and keys in the shell."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from astroclf.cli.grammar import Assignment, parse
from astroclf.cli.options import OPTION_NAMES, read_options
from astroclf.cli.verb import Verb
from astroclf.cli.verbs import VERBS, find_verb
from astroclf.cli.vocabulary import Vocabulary
from astroclf.errors import AstroclfError, ConfigError

# Where nothing is printed, the shell completes the names of files. bash takes = and : for the ends of words, so that
# what stands before the last of them must not be repeated.
_BASH = r"""
_astroclf() {
    local line="${COMP_LINE:0:COMP_POINT}" IFS=$'\n'
    local word="${line##* }"
    local kept="${word%"${word##*[=:]}"}"
    COMPREPLY=($(COMP_LINE="$line" "$1" --completion words 2>/dev/null))
    COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}
complete -o nospace -o default -F _astroclf astroclf
"""
_ZSH = r"""
_astroclf() {
    local -a replies
    replies=(${(f)"$(COMP_LINE="${(j: :)words[1,CURRENT]}" "${words[1]}" --completion words 2>/dev/null)"})
    if (( $#replies )); then compadd -S '' -- "${replies[@]}"; else compset -P '*='; _files; fi
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _astroclf astroclf
"""
_FISH = r"""
complete -c astroclf -a '(COMP_LINE=(commandline -cp) astroclf --completion words 2>/dev/null)'
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def completion(what: str) -> str:
    """Return what ``--completion`` prints: a shell's script, or the ``words`` that go on with ``$COMP_LINE``.

    Raises
    ------
    ConfigError
        A shell that there is no script for.
    """
    if what == "words":
        return "\n".join(complete(os.environ.get("COMP_LINE", "")))
    if what not in SCRIPTS:
        raise ConfigError(f"--completion takes the name of your shell: {', '.join(SCRIPTS)}.")
    return SCRIPTS[what].strip()


def complete(line: str) -> list[str]:
    """Return the words that the last one of a command line can become.

    Parameters
    ----------
    line
        What was typed up to the cursor, the command's name first.
    """
    _, *words = line.split(" ")
    *before, word = [word for word in words[:-1] if word] + words[-1:] or [""]
    if not before:
        return [f"{verb} " for verb in VERBS if verb.startswith(word)]
    if before[0] not in VERBS:
        return []
    if word.startswith("-"):
        return [name for name in OPTION_NAMES if name.startswith(word)]
    return _of_verb(find_verb(before[0]), before[1:], word)


def _of_verb(verb: Verb[Any], before: list[str], word: str) -> list[str]:
    try:
        with verb.session(options := read_options(before)) as session:
            vocabulary = Vocabulary(session, verb.settings)
            choices = [w for w in options.words if Assignment.of(w).key in vocabulary.groups and parse(w) is not None]
            composed = session.compose(choices)
            given = Assignment.of(word)
            if "=" in word:
                # Of other keys nothing: it may be a path, which the shell itself completes.
                values = vocabulary.choices(given.key) or vocabulary.values(given.key)
                return [f"{given.prefix}{given.key}={value}" for value in values if value.startswith(given.value)]
            groups = [f"{group}=" for group in vocabulary.groups]
            keys = _next_parts(vocabulary.keys(composed), given.key)
            found = sorted({*groups, *keys})
            return [f"{given.prefix}{name}" for name in found if name.startswith(given.key)]
    except (AstroclfError, HydraException, OmegaConfBaseException):
        return []  # something before the cursor is wrong, and will be answered when the line is sent


def _next_parts(keys: Iterable[str], start: str) -> set[str]:
    """Return the keys that begin so, each up to its next dot."""
    depth, found = start.count(".") + 1, set()
    names = set(keys)
    for key in names:
        parts = key.split(".")
        if len(parts) > depth:
            found.add(".".join(parts[:depth]) + ".")
        elif len(parts) == depth and not any(name.startswith(f"{key}.") for name in names):
            found.add(f"{key}=")
    return found
