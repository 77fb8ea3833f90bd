"""Write an object as ONNX: one that `FILE.py:NAME` names, or one that a file of data holds."""

from __future__ import annotations

import inspect
import sys
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from wherever_convert.env.exporters import exporter, find
from wherever_convert.env.script import RefusedError, fail_in_words, main
from wherever_convert.env.user_file import spec_of


def export(job: dict[str, Any]) -> dict[str, Any]:
    """Export the object.

    Args:
        job: `file` and `name` of an object that one of the `exporters` (modules) takes, or `model`,
            a file that the one of them reads; `folder`, where files are written; `formats`;
            `supported`, in words; and perhaps `example`, an .npy file with rows.

    Returns:
        What the exporter says of its files, and the `exporter`.
    """
    if "model" in job:
        name = job["exporters"][0]
        given = cast("Any", exporter(name)).load(Path(job["model"]))
    else:
        given = made(Path(job["file"]), job["name"])
        name = _exporter_of(given, job)
    example = np.load(job["example"], allow_pickle=False) if "example" in job else None
    formats, folder = frozenset(job["formats"]), Path(job["folder"])
    return {**exporter(name).export(given, example, formats, folder), "exporter": name}


def made(path: Path, name: str) -> object:
    """Run the file, and return its object `name`, or what its function `name` returns."""
    sys.path.insert(0, str(path.parent))
    spec = spec_of(path.stem, path)
    if spec is None or spec.loader is None:
        raise RefusedError(f"{path.name} is no Python file")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module  # classes that are defined there may look themselves up
    try:
        spec.loader.exec_module(module)
        found = _attribute(module, path, name)
        return found() if inspect.isfunction(found) else found
    except RefusedError:
        raise
    except ModuleNotFoundError as error:
        raise RefusedError(
            f"{path.name} imports {error.name}, which is not there for {sys.executable}: name the "
            f"Python that runs the file (--python)"
        ) from error
    except (Exception, SystemExit) as error:
        raise RefusedError(f"{path.name} failed: {fail_in_words(error)}") from error


def _attribute(module: ModuleType, path: Path, name: str) -> Any:
    if not hasattr(module, name):
        public = [each for each in sorted(vars(module)) if not each.startswith("_")]
        raise RefusedError(
            f"{path.name} has no {name!r} (it has: {', '.join(public) or 'nothing'})"
        )
    return getattr(module, name)


def _exporter_of(given: object, job: dict[str, Any]) -> str:
    if isinstance(given, str | Path):
        raise RefusedError(f"{job['name']} is {str(given)!r}, not a model")
    chosen = find(given, job["exporters"])
    if chosen is None:
        kind = f"{type(given).__module__}.{type(given).__qualname__}"
        raise RefusedError(
            f"cannot convert an object of type {kind}; supported are: {job['supported']}"
        )
    return chosen


if __name__ == "__main__":
    main(export)
