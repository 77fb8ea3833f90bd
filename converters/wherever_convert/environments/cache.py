"""The environments in the user's cache: where they are, which are whole, and how they go."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wherever_contracts.errors import SettingsError
from wherever_convert.environments import Tell, quiet
from wherever_convert.environments.making import MARKER, alone, make, size_of
from wherever_convert.environments.tool_sets import TOOL_SETS, ToolSet

_REQUIREMENTS = Path(__file__).parent / "requirements"
_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Environment:
    """An environment on the disk.

    Attributes:
        name: of its set of tools.
        folder: where it is.
        ready: it is whole; otherwise its making was ended, or is under way.
        current: it is the one that would be used, rather than one of another version or Python.
        size_bytes: what its files take.
    """

    name: str
    folder: Path
    ready: bool
    current: bool
    size_bytes: int


def environments_folder() -> Path:
    """Where environments are: what WHEREVER_ENVIRONMENTS names, or a place in the user's cache."""
    said = os.environ.get("WHEREVER_ENVIRONMENTS")
    if said:
        return Path(said).expanduser().resolve()
    from platformdirs import user_cache_path  # noqa: PLC0415 (only when asked)

    return user_cache_path("wherever", appauthor=False) / "environments"


def python_of(tools: ToolSet, tell: Tell = quiet) -> Path:
    """The interpreter of a set's environment, which is made when it is not there.

    Raises:
        MissingExtraError: it cannot be made; the message says why.
    """
    folder = folder_of(tools)
    if not _is_ready(folder):
        with alone(folder, tools, tell) as descriptor:
            if not _is_ready(folder):  # whoever we waited for may have made it
                make(tools, requirements_of(tools), folder, tell, descriptor)
    return interpreter(folder)


def folder_of(tools: ToolSet) -> Path:
    """Where a set's environment is; another place for other versions, or another Python."""
    made_for = f"{sys.implementation.cache_tag} {sys.platform} {platform.machine()}"
    pinned = b"".join(path.read_bytes() for path in _pinning(tools))
    digest = hashlib.sha256(made_for.encode() + pinned).hexdigest()[:_DIGITS]
    return environments_folder() / f"{tools.name}-{digest}"


def requirements_of(tools: ToolSet) -> Path:
    """The file that pins a set's tools, for `pip install -r`."""
    return _pinning(tools)[0]


def interpreter(folder: Path) -> Path:
    """The Python of an environment."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def listed() -> list[Environment]:
    """The environments that are on the disk, by name."""
    current = {folder_of(tools) for tools in TOOL_SETS.values()}
    return sorted(_found(current), key=lambda each: (each.name, each.folder))


def remove(name: str) -> list[Environment]:
    """Remove all environments of a name; returns them.

    Raises:
        SettingsError: there is none of that name, or one is being made.
    """
    gone = [each for each in listed() if each.name == name]
    if not gone:
        there = ", ".join(sorted({each.name for each in listed()})) or "none"
        raise SettingsError(f"there is no environment {name!r} (there are: {there})")
    for each in gone:
        with alone(each.folder, None):
            (each.folder / MARKER).unlink(missing_ok=True)  # from now on nobody takes it for whole
            shutil.rmtree(each.folder, ignore_errors=True)
            each.folder.with_name(f"{each.folder.name}.log").unlink(missing_ok=True)
    return gone


def _pinning(tools: ToolSet) -> tuple[Path, Path]:
    """What is asked for, and the versions of all that comes with it."""
    asked = _REQUIREMENTS / f"{tools.name}.txt"
    return asked, asked.with_suffix(".constraints")


def _is_ready(folder: Path) -> bool:
    """Whether it was made to the end, is where it was made, and its Python is still there."""
    said = _marker(folder)
    return said.get("folder") == str(folder) and interpreter(folder).exists()


def _marker(folder: Path) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads((folder / MARKER).read_text())
    except (OSError, ValueError):
        return {}
    return said


def _found(current: set[Path]) -> Iterator[Environment]:
    root = environments_folder()
    for folder in root.iterdir() if root.is_dir() else ():
        if folder.is_dir() and len(folder.name.rpartition("-")[2]) == _DIGITS:
            yield Environment(
                name=folder.name.rpartition("-")[0],
                folder=folder,
                ready=_is_ready(folder),
                current=folder in current,
                size_bytes=_marker(folder).get("size_bytes") or size_of(folder),
            )
