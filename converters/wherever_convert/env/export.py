"""Make the object that `FILE.py:NAME` names, and write it as ONNX."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.env.script import fail_in_words, main
from wherever_convert.sources import Request, described, find_source
from wherever_convert.sources.witnesses import write_witness


def export(job: dict[str, Any]) -> dict[str, Any]:
    """Convert the object.

    Args:
        job: `file`, `name`, `output`, and perhaps `example`, an .npy file with rows.
    """
    source = made(Path(job["file"]), job["name"])
    if isinstance(source, str):
        raise ConversionError(f"{job['name']} is {described(source)}, not a model")
    example = np.load(job["example"], allow_pickle=False) if "example" in job else None
    scratch = Path(job["output"]).parent
    request = Request(example, "tensors", frozenset(), scratch)
    model = find_source(source).load(source, request)
    Path(job["output"]).write_bytes(model.files["onnx"].contents[0])
    if model.witness is not None:
        arrays: dict[str, Any] = dict(write_witness(model.witness))
        np.savez(scratch / "witness.npz", **arrays)
    return {"facts": dict(model.facts), "labels": model.labels, "batch": model.batch}


def made(path: Path, name: str) -> object:
    """Run the file, and return its object `name`, or what its function `name` returns."""
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ConversionError(f"{path.name} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # classes that are defined there may look themselves up
    try:
        spec.loader.exec_module(module)
        found = _attribute(module, path, name)
        return found() if inspect.isfunction(found) else found
    except ConversionError:
        raise
    except (Exception, SystemExit) as error:
        raise ConversionError(f"{path.name} failed: {fail_in_words(error)}") from error


def _attribute(module: ModuleType, path: Path, name: str) -> Any:
    if not hasattr(module, name):
        public = [each for each in sorted(vars(module)) if not each.startswith("_")]
        raise ConversionError(
            f"{path.name} has no {name!r} (it has: {', '.join(public) or 'nothing'})"
        )
    return getattr(module, name)


if __name__ == "__main__":
    main(export)
