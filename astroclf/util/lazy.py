"""Modules that are imported when they are first used, so that a mistyped key is answered before torch is loaded.

Imports stand at the top of a file, where the arrows between rooms can be seen. One that start-up cannot afford stands
there too, in this form, which type checkers and the import test read as a plain import::

    if TYPE_CHECKING:
        import torch
        from astroclf.run import train
    else:
        torch = lazy_import("torch")
        train = lazy_import("astroclf.run.train")

Only attribute access loads the module: a name in an annotation (with ``from __future__ import annotations``) does not,
a decorator or base class at the top of a file does. Code that `torch.compile` traces needs the real module.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class LazyModule(ModuleType):
    """A stand-in for a module that is imported when an attribute of it is first read, set or deleted.

    Every access goes to the real module, so what is patched there is seen here, and the other way round.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(importlib.import_module(self.__name__), name, value)

    def __delattr__(self, name: str) -> None:
        delattr(importlib.import_module(self.__name__), name)

    def __dir__(self) -> list[str]:
        return dir(importlib.import_module(self.__name__))


def lazy_import(name: str) -> Any:
    """Return a stand-in for a module, ours or a library's, that is imported when it is first used.

    Parameters
    ----------
    name
        Its full dotted name, such as ``torch`` or ``matplotlib.pyplot``.

    Raises
    ------
    ImportError
        On first use, and not here, if there is no such module.
    """
    return LazyModule(name)
