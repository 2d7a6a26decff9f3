"""Functions of tensors on a GPU as compiled programs: traced once, and made into few kernels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING

from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import torch
    from torch.fx.experimental import proxy_tensor
else:
    torch = lazy_import("torch")
    proxy_tensor = lazy_import("torch.fx.experimental.proxy_tensor")

Function = Callable[["Sequence[torch.Tensor]"], "torch.Tensor"]


class Programs:
    """What is done to tensors of the same kind again and again, compiled when it is first done.

    Unlike a `Replay`, it gives other bits than the function itself, by rounding, and takes seconds to make; where it
    cannot be made, that is said, and the function is called as it is.

    Parameters
    ----------
    name
        What cannot be compiled, in the sentence that says so.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._made: dict[Hashable, Function] = {}

    def __len__(self) -> int:
        """Count the kinds of which there is a program."""
        return len(self._made)

    def __call__(self, kind: Hashable, given: Sequence[torch.Tensor], function: Function) -> torch.Tensor:
        """Return what `function` makes of tensors on the device.

        Parameters
        ----------
        kind
            As a `Replay` has it.
        function
            Decides nothing by the numbers in what it is given.
        """
        kind = kind, tuple((each.shape, each.dtype) for each in given)
        if kind in self._made:
            return self._made[kind](given)
        output = function(given)  # first as it is: so what it keeps between calls is nothing of a trace
        try:
            program = _program(function, given)
            output = program(given)
        except Exception as error:  # of the compiler, of what it calls, of the driver
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            log.warning("%s cannot be compiled, and is computed step by step: %s", self._name, reason)
            program = function
        self._made[kind] = program
        return output


def _program(function: Function, given: Sequence[torch.Tensor]) -> Function:
    traced = proxy_tensor.make_fx(lambda *tensors: function(tensors))(*given)
    compiled = torch.compile(traced, dynamic=False, fullgraph=True)
    return lambda tensors: compiled(*tensors)
