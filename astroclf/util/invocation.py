"""Who started this process, what they typed, and how commands are written so that they can be typed again."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from astroclf.util.ranks import launch


def use_utf8() -> None:
    """Make Python read names of files as UTF-8 where its locale knows ASCII alone, as that of ``LC_ALL=C`` does.

    The process starts again for it: what such names are read as is settled before any code runs. The terminal keeps its
    encoding.
    """
    if sys.getfilesystemencoding() != "ascii" or sys.flags.ignore_environment:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", "ascii")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


@dataclass(frozen=True)
class Command:
    """A command of astroclf; as text it can be pasted into a shell, in the same folder.

    Attributes
    ----------
    program
        Such as ``astroclf train``.
    arguments
        The words after it, as the shell gives them.
    sources
        Those of them that every other command needs to read the same yaml files, and to log in the same way.
    """

    program: str
    arguments: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write it for the shell, in one line."""
        return " ".join([self.program, *map(shell_word, self.arguments)])

    def with_arguments(self, *arguments: str) -> Command:
        """Return a command with other arguments, and the sources of this one."""
        return replace(self, arguments=(*self.sources, *arguments))

    def with_settled(self, verb: str, other: str, without: Collection[str], words: Sequence[str]) -> Command:
        """Return the same experiment for another verb: some keys left out, and `words`, which settle them, behind."""
        kept = [word for word in self.arguments if word.lstrip("+").partition("=")[0] not in without]
        return Command(self.program.replace(verb, other), (*kept, *words))


_typed: list[Command] = []  # by whoever started this process


def typed_command() -> Command:
    """Return the command that this process carries out; of a sweep's worker, the sweep's."""
    return _typed[-1] if _typed else Command("astroclf train")


def set_typed_command(command: Command) -> None:
    """Keep what was typed, for whatever is written down from now on."""
    _typed[:] = [command]


def shell_word(word: str) -> str:
    """Write a word for bash or zsh, in quotes; a line break and what is no text become escapes: all is one line."""
    if word.isprintable():
        return shlex.quote(word)
    plain = set(range(32, 127)) - set(b"'\\")
    parts = [chr(byte) if byte in plain else f"\\x{byte:02x}" for byte in os.fsencode(word)]
    return f"$'{''.join(parts)}'"


def program(verb: str) -> str:
    """Return how a verb was called, for messages that say what to type: ``astroclf train``, where nothing else is."""
    module, of = _module(), launch()
    python, script = (of.launcher, f"{of.launcher} --no-python ") if of.is_shared else ("python", "")
    if module == f"astroclf.{verb}":
        return f"{python} -m {module}"
    return f"{python} -m astroclf {verb}" if module == "astroclf" else f"{script}astroclf {verb}"


def _module() -> str | None:
    """Return the name that stands after ``python -m``; None for a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return None if spec is None else spec.name.removesuffix(".__main__")


def user_name() -> str:
    """Return the name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user id has no name
        return "unknown"
