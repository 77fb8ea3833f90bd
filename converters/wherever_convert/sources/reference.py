"""`FILE.py:NAME`: an object that a Python file makes, converted in a process of its own."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import Format
from wherever_convert.environments.cache import python_of
from wherever_convert.environments.imports import imported_by, is_installed
from wherever_convert.environments.tool_sets import frameworks_in, needed_for, set_with
from wherever_convert.sources import Request, Source, SourceModel, all_sources, as_path
from wherever_convert.sources.objects import ObjectSource, export_in_child, read_export

_OWN = "wherever_convert.env."
_REFERENCE = re.compile(r"(?P<file>.+\.py):(?P<name>[A-Za-z_]\w*)")


class PythonReference(Source):
    """Runs the user's own file, and converts the object, or what the function there returns."""

    title = "FILE.py:NAME, an object or a function that returns one (the file is run)"
    formats: tuple[Format, ...] = ("onnx", "tflite")

    def recognises(self, source: object) -> bool:
        """True for `FILE.py:NAME`."""
        path = as_path(source)
        return path is not None and _REFERENCE.fullmatch(str(path)) is not None

    def load(self, source: object, request: Request) -> SourceModel:
        """Convert in a process of its own, so that the file cannot disturb this one."""
        match = _REFERENCE.fullmatch(str(source))
        if match is None or not Path(match["file"]).is_file():
            raise ConversionError(f"{source}: there is no such file")
        path = Path(match["file"]).resolve()
        with tempfile.TemporaryDirectory(prefix="export-", dir=request.scratch) as scratch:
            model = _exported(path, match["name"], request, Path(scratch))
        origin = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        return replace(model, facts={**model.facts, **origin})


def _exported(path: Path, name: str, request: Request, folder: Path) -> SourceModel:
    python = request.python or _python_for(path, request)
    known = {each.exporter: each for each in all_sources() if isinstance(each, ObjectSource)}
    here = python == Path(sys.executable)
    request.tell(f"running {path.name} for {name}")
    job = {
        "file": str(path),
        "name": name,
        # elsewhere there is nothing but our own scripts
        "exporters": [each for each in known if here or each.startswith(_OWN)],
        "supported": "; ".join(each.title for each in known.values()),
    }
    outcome = export_in_child(job, request, folder, f"converting {path.name}:{name}", python)
    return read_export(known[outcome["exporter"]].finish(outcome, folder, request), folder)


def _python_for(path: Path, request: Request) -> Path:
    """This interpreter where it has what the file imports, or that of an environment that has."""
    frameworks = frameworks_in(imported_by(path))
    if all(map(is_installed, needed_for(frameworks))):
        return Path(sys.executable)
    tools = set_with(frameworks)
    if tools is None:
        raise ConversionError(
            f"{path.name} imports {' and '.join(sorted(frameworks))}, which are not all installed "
            f"here, and which no environment of wherever's has together: name the Python that "
            f"runs it (--python)"
        )
    return python_of(tools, request.tell)
