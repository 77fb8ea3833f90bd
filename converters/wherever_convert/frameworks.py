"""Frameworks that conversions use: imported when needed, with the command that installs them."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wherever_contracts.errors import MissingExtraError, missing_extra

_EXTRA = frozenset({"onnx", "onnxslim", "skl2onnx"})
_PIP_NAMES = {"sklearn": "scikit-learn"}


def framework(module: str, feature: str) -> Any:
    """Import a module of a framework; it carries no types.

    Args:
        module: such as "onnx" or "torch.onnx".
        feature: what needs it, for the error.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        if root in _EXTRA:
            raise missing_extra(feature, "convert") from error
        command = f"pip install {_PIP_NAMES.get(root, root)}"
        raise MissingExtraError(f"{feature} needs {root} in this environment: {command}") from error


def versions(*names: str) -> dict[str, str]:
    """Distribution -> version, of those that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
