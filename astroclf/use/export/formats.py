"""The three formats of programs: how each is written, with what it says of itself, and how it is run again."""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from astroclf.errors import AstroclfError
from astroclf.use.export.program import Answers, Program
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import onnx
    import onnxruntime
else:
    onnx = lazy_import("onnx")
    onnxruntime = lazy_import("onnxruntime")

INPUT = "images"
ABOUT = "astroclf.json"  # what a torch file says of itself
Runner = Callable[[np.ndarray], Answers]


class Format(ABC):
    """One file format that holds a program.

    Attributes
    ----------
    title : str
        What people call it.
    packages : sequence of str
        What it needs beyond astroclf's own dependencies.
    """

    title: str

    packages: Sequence[str]

    def require(self) -> None:
        """Refuse, by an AstroclfError, where a package is missing that writes or checks this format."""
        missing = [name for name in self.packages if importlib.util.find_spec(name) is None]
        if missing:
            raise AstroclfError(
                f"{self.title} needs {' and '.join(missing)}, which astroclf does not install by itself: "
                f"`pip install {' '.join(missing)}`, or install astroclf with its extra `export`. "
                "format=torch_export needs nothing more than torch."
            )

    @abstractmethod
    def write(self, program: Program, example: Tensor, about: Mapping[str, str], path: Path) -> None:
        """Write a program that takes batches of any length.

        Parameters
        ----------
        example
            Input of two images: an axis of length 1 would be taken for a constant.
        about
            What the file is to say of itself.
        """

    @abstractmethod
    def runner(self, path: Path) -> Runner:
        """Load a file, as whoever gets it would, and return what runs it on a batch."""

    @abstractmethod
    def usage(self, file: str, example: str, outputs: Sequence[str]) -> str:
        """Return lines of Python that run a file on `example`, an expression, for all its outputs."""


class Onnx(Format):
    """ONNX, for onnxruntime and whatever else reads it."""

    title, packages = "ONNX", ("onnx", "onnxscript", "onnxruntime")

    def write(self, program: Program, example: Tensor, about: Mapping[str, str], path: Path) -> None:
        """Write the program as this kind of file."""
        with _quiet():
            exported = torch.onnx.export(
                program,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[INPUT],
                output_names=list(program.outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
        assert exported is not None
        model = exported.model_proto
        onnx.helper.set_model_props(model, dict(about))
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())

    def runner(self, path: Path) -> Runner:
        """Load such a file."""
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda images: Answers(**dict(zip(names, session.run(names, {INPUT: images}), strict=True)))

    def usage(self, file: str, example: str, outputs: Sequence[str]) -> str:
        """Return lines of Python that run such a file."""
        return (
            "import json\n\nimport onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("{file}")\n'
            f'{", ".join(outputs)} = session.run(None, {{"{INPUT}": {example}}})\n'
            'classes = json.loads(session.get_modelmeta().custom_metadata_map["classes"])'
        )


class TorchExport(Format):
    """The file of torch.export, for torch without astroclf, and for what compiles it ahead of time."""

    title, packages = "torch.export", ()

    def write(self, program: Program, example: Tensor, about: Mapping[str, str], path: Path) -> None:
        """Write the program as this kind of file."""
        with _quiet(), torch.no_grad():
            exported = torch.export.export(program, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
            with open(path, "wb") as file:  # by its path, torch would hide why a disk refuses
                torch.export.save(exported, file, extra_files={ABOUT: json.dumps(about)})

    def runner(self, path: Path) -> Runner:
        """Load such a file."""
        with _quiet():
            return of_module(torch.export.load(path).module())

    def usage(self, file: str, example: str, outputs: Sequence[str]) -> str:
        """Return lines of Python that run such a file."""
        return (
            "import json\n\nimport torch\n\n"
            f'about = {{"{ABOUT}": ""}}\n'
            f'program = torch.export.load("{file}", extra_files=about).module()\n'
            f"{', '.join(outputs)} = program(torch.from_numpy({example}))\n"
            f'classes = json.loads(json.loads(about["{ABOUT}"])["classes"])'
        )


class TorchScript(Format):
    """TorchScript, for C++ programs that were written for it; torch has deprecated it."""

    title, packages = "TorchScript", ()

    def write(self, program: Program, example: Tensor, about: Mapping[str, str], path: Path) -> None:
        """Write the program as this kind of file."""
        log.warning("TorchScript is deprecated by torch; format=torch_export is what takes its place.")
        with _quiet(), torch.no_grad():
            traced = torch.jit.trace(program, example, check_trace=False)
            buffer = io.BytesIO()
            torch.jit.save(traced, buffer, _extra_files={ABOUT: json.dumps(about)})
        path.write_bytes(buffer.getvalue())

    def runner(self, path: Path) -> Runner:
        """Load such a file."""
        with _quiet():
            return of_module(torch.jit.load(str(path), map_location="cpu"))

    def usage(self, file: str, example: str, outputs: Sequence[str]) -> str:
        """Return lines of Python that run such a file."""
        return (
            "import json\n\nimport torch\n\n"
            f'about = {{"{ABOUT}": ""}}\n'
            f'program = torch.jit.load("{file}", _extra_files=about)\n'
            f"{', '.join(outputs)} = program(torch.from_numpy({example}))\n"
            f'classes = json.loads(json.loads(about["{ABOUT}"])["classes"])'
        )


PROGRAMS: dict[str, Format] = {"onnx": Onnx(), "torch_export": TorchExport(), "torchscript": TorchScript()}


def of_module(module: Callable[[Tensor], tuple[Tensor, ...]]) -> Runner:
    """Return what runs a program that takes tensors on a batch of arrays."""

    def run(images: np.ndarray) -> Answers:
        with torch.no_grad():
            return Answers(*(answer.numpy() for answer in module(torch.from_numpy(images))))

    return run


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what exporters tell of their own work: deprecations, and guesses that the check makes sure of."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stdout(io.StringIO()):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
