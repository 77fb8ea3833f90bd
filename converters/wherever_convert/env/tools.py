"""Tools that are imported when they are needed, wherever a script runs."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from wherever_convert.env.script import MissingToolError

_PIP_NAMES = {"sklearn": "scikit-learn", "litert_torch": "litert-torch", "cv2": "opencv-python"}


def tool(module: str, feature: str) -> Any:
    """Import a module of a tool; it carries no types.

    Args:
        module: such as "onnx" or "torch.onnx".
        feature: what needs it, for the error.

    Raises:
        MissingToolError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        command = f"pip install {_PIP_NAMES.get(root, root)}"
        raise MissingToolError(feature, root, command) from error


def versions(*names: str) -> dict[str, str]:
    """Distribution -> version, of those that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
