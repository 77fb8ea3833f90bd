"""Frameworks that conversions use: imported when needed, with the command that installs them."""

from __future__ import annotations

from typing import Any

from wherever_contracts.errors import MissingExtraError, missing_extra
from wherever_convert.env.script import MissingToolError
from wherever_convert.env.tools import tool, versions

__all__ = ["framework", "missing_tool", "versions"]

_EXTRA = frozenset({"onnx", "onnxslim", "skl2onnx"})


def framework(module: str, feature: str) -> Any:
    """Import a module of a framework; it carries no types.

    Args:
        module: such as "onnx" or "torch.onnx".
        feature: what needs it, for the error.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return tool(module, feature)
    except MissingToolError as error:
        raise missing_tool(error) from error


def missing_tool(error: MissingToolError) -> MissingExtraError:
    """The error for a tool that is not in this environment, with the command that installs it."""
    if error.tool in _EXTRA:
        return missing_extra(error.feature, "convert")
    return MissingExtraError(str(error))
