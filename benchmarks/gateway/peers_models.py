"""Packs the ONNX models of a comparison of servers, so that our gateway serves them too.

    python benchmarks/gateway/peers_models.py MODELS PACKAGES

MODELS has `tiny.onnx`, `cnn.onnx`, `mlp512.onnx`, `echo.onnx` and `embed.onnx`, each with the input
`x` and the output `y` in float32; PACKAGES gets a package for each, and `mlp512b`, which is
`mlp512` under the name that the comparison has for servers that batch. `docs/gateway-bench.md` has
the rest.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wherever_convert.builder import build_package

# name -> the file it is in, and the lengths of its input's and output's rows; -1 is any length
MODELS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {
    "tiny": ("tiny", (4,), (3,)),
    "cnn": ("cnn", (3, 96, 96), (10,)),
    "mlp512": ("mlp512", (512,), (10,)),
    "mlp512b": ("mlp512", (512,), (10,)),
    "echo": ("echo", (-1,), (-1,)),
    "embed": ("embed", (8,), (384,)),
}


def main() -> None:
    """Pack what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", type=Path, help="where the ONNX files are")
    parser.add_argument("packages", type=Path, help="where the packages are to be")
    arguments = parser.parse_args()
    pack_all(arguments.models, arguments.packages)


def pack_all(models: Path, packages: Path) -> None:
    """Make every package; one that was there is made anew."""
    for name, (file, given, made) in MODELS.items():
        root = packages / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        shutil.copy(models / f"{file}.onnx", root / "model.onnx")
        build_package(root, manifest(name, given, made))


def manifest(name: str, given: Sequence[int], made: Sequence[int]) -> dict[str, Any]:
    """A model whose signature is its bare tensors, with any number of rows."""
    x = {"name": "x", "dtype": "float32", "shape": [-1, *given]}
    y = {"name": "y", "dtype": "float32", "shape": [-1, *made]}
    return {
        "schema": "1.0",
        "name": name,
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": "onnx",
        "signature": {
            # an echo has nothing to keep from NaN; elsewhere inputs are looked at, as always
            "inputs": [{**x, "kind": "tensor", "finite": name != "echo"}],
            "outputs": [y],
            "value": {"kind": "tensors"},
        },
        "variants": [
            {
                "id": "onnx",
                "format": "onnx",
                "precision": "float32",
                "files": [{"path": "model.onnx"}],
                "tensors": {"inputs": [x], "outputs": [y], "batch": True},
            }
        ],
    }


if __name__ == "__main__":
    main()
