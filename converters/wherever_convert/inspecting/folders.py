"""What is in a Hugging Face folder, and whether it can be converted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError
from wherever_convert.hugging import Folder
from wherever_convert.hugging.choosing import choose_onnx, kind_of
from wherever_convert.hugging.said import labels_of
from wherever_convert.hugging.texts import longest
from wherever_convert.inspecting.models import model_data
from wherever_convert.sources.hugging_face import read_folder


def folder_data(path: Path) -> dict[str, Any]:
    """All that is to be said of a folder, as plain data.

    Raises:
        ConversionError: a file of it is no JSON, or its ONNX file is none.
    """
    folder = read_folder(path)
    data: dict[str, Any] = {
        "path": str(path),
        "model_type": folder.config.text("model_type"),
        "architectures": list(folder.config.texts("architectures")),
        "names_code": bool(folder.config.raw("auto_map")),
        "refusal": "",
        "task": "",
        "model": None,
    }
    try:
        data |= _convertible(path, folder)
    except ConversionError as error:
        data["refusal"] = str(error)
    return data


def _convertible(path: Path, folder: Folder) -> dict[str, Any]:
    kind = kind_of(folder)
    chosen = choose_onnx(folder)
    labels = labels_of(folder.config) if kind.task == "classify" else None
    return {
        "task": kind.task,
        "takes": kind.takes,
        "labels": None if labels is None else list(labels),
        "most_tokens": longest(folder) if kind.takes == "text" else None,
        "passed_over": list(chosen.passed_over),
        "model": model_data(path / chosen.path),
    }
