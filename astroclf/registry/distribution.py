"""The wheel of astroclf that goes with a model, and what else must be installed to use one.

A name such as ``astroclf`` in a list of requirements is looked up in a public index, where anybody could have claimed
it. So models name the wheel that lies beside them.
"""

from __future__ import annotations

import base64
import email
import hashlib
import importlib.metadata
import re
import tomllib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from astroclf.errors import AstroclfError
from astroclf.settings.yaml_files import config_dir
from astroclf.util.atomic import atomic_path
from astroclf.util.version import __version__

_NAME = "astroclf"
WHEEL = f"{_NAME}-{__version__}-py3-none-any.whl"
_PACKAGE = Path(__file__).parents[1]
_SCRIPT = "[console_scripts]\nastroclf = astroclf.__main__:main\n"
_TAGS = "Wheel-Version: 1.0\nGenerator: astroclf\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # of all files: the same sources give the same wheel


def write_wheel(folder: Path) -> Path:
    """Write the wheel of the astroclf that runs, from its own files; it is made without a network or build tools.

    Raises
    ------
    AstroclfError
        Nothing says what it depends on: it runs neither from a checkout nor from an installation.
    """
    about = f"{_NAME}-{__version__}.dist-info"
    contents = {name: file.read_bytes() for name, file in _files()}
    texts = {"METADATA": _metadata(), "WHEEL": _TAGS, "entry_points.txt": _SCRIPT}
    contents |= {f"{about}/{name}": text.encode() for name, text in texts.items()}
    record = [f"{name},sha256={_digest(content)},{len(content)}" for name, content in contents.items()]
    record.append(f"{about}/RECORD,,")
    contents[f"{about}/RECORD"] = ("\n".join(record) + "\n").encode()
    with atomic_path(folder / WHEEL) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, content)
    return folder / WHEEL


def requirements() -> list[str]:
    """Return what using a model needs beside astroclf, each package in the version that is installed here."""
    lines = email.message_from_string(_metadata()).get_all("Requires-Dist", [])
    return [_pinned(line) for line in lines if "extra ==" not in line]


def _pinned(requirement: str) -> str:
    match = re.match(r"[\w.-]+", requirement)
    assert match is not None
    try:
        found = importlib.metadata.version(match[0])
    except importlib.metadata.PackageNotFoundError:
        return requirement
    return f"{match[0]}=={found.partition('+')[0]}"  # without the +cu130 of a local build


def _files() -> Iterator[tuple[str, Path]]:
    """Yield the files of the package, with their places in a wheel."""
    sources = {_NAME: _PACKAGE, f"{_NAME}/conf": config_dir()}
    if config_dir().is_relative_to(_PACKAGE):
        del sources[f"{_NAME}/conf"]
    for place, source in sources.items():
        for path in sorted(source.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{place}/{path.relative_to(source).as_posix()}", path


def _metadata() -> str:
    """Return the METADATA of the astroclf that runs.

    In a checkout pyproject.toml says what holds: an editable installation may be older, or be of another checkout.
    """
    try:
        project = tomllib.loads((_PACKAGE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        if project["name"] == _NAME:
            return _written_out(project)
    except (OSError, KeyError, ValueError):
        pass
    try:
        text = importlib.metadata.distribution(_NAME).read_text("METADATA")
    except importlib.metadata.PackageNotFoundError:
        text = None
    if text is None:
        raise AstroclfError(
            f"The wheel of astroclf cannot be made: {_PACKAGE} belongs to no checkout and to no installation, so that "
            "nothing says what it depends on. Install astroclf, then try again."
        )
    return text


def _written_out(project: Mapping[str, Any]) -> str:
    """Write the ``[project]`` of a pyproject.toml as METADATA (core metadata 2.4, PEP 639)."""
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {__version__}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {line}" for line in project["dependencies"]),
    ]
    for extra, dependencies in project.get("optional-dependencies", {}).items():
        lines.append(f"Provides-Extra: {extra}")
        lines += [f"Requires-Dist: {line}; extra == '{extra}'" for line in dependencies]
    return "\n".join(lines) + "\n"


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
