"""How a Python file of a user's is imported without leaving bytecode beside it."""

from __future__ import annotations

import sys
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    ModuleSpec,
    SourceFileLoader,
)
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any


def spec_of(name: str, path: Path) -> ModuleSpec | None:
    """The spec of a file as a module; from now on its neighbours leave no bytecode either.

    What they import from elsewhere is compiled once, as usual.

    Args:
        name: of the module.
        path: of the file.

    Returns:
        None when it is no Python file.
    """
    folder = str(path.parent)
    readers = (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Source, SOURCE_SUFFIXES)
    sys.path_importer_cache[folder] = FileFinder(folder, *readers)
    spec = spec_from_file_location(name, path)
    if spec is not None and isinstance(spec.loader, SourceFileLoader):
        spec.loader = _Source(name, str(path))
    return spec


class _Source(SourceFileLoader):
    """Compiles a file each time."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0) -> None:
        """Keep no bytecode."""
