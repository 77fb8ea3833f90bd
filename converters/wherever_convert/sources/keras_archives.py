"""Looking into a `.keras` file before Keras does: whether it names anything but Keras's own."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeGuard, cast

if TYPE_CHECKING:
    from pathlib import Path

_CONFIG = "config.json"
_MAX_BYTES = 64 * 1024 * 1024
# The parts of Keras that a model is made of. Others, such as keras.utils, read files and fetch
# them, and a file may name any function of a module that it may name.
_PARTS = re.compile(
    r"keras|builtins|keras\.(layers|models|initializers|regularizers|constraints|activations"
    r"|optimizers(\.schedules|\.legacy)?|losses|metrics|quantizers|dtype_policies|random|ops"
    r"|src\.(models|ops|layers|activations)(\.[a-z0-9_]+)*)"
)
_CODE = frozenset({"Lambda", "__lambda__"})


def refusal_of(path: Path) -> str:
    """Why a `.keras` file is not loaded; "" when it may be."""
    try:
        config = _config(path)
    except (OSError, ValueError, KeyError, RecursionError, zipfile.BadZipFile) as error:
        return f"{path.name} is no .keras file of Keras 3: {error}"
    for name in _foreign(config):
        return (
            f"{path.name} has {name} in it: a layer that is code, and not Keras's own, is not "
            f"loaded from a file. Write a FILE.py that makes the model and loads its weights, and "
            f"convert FILE.py:NAME"
        )
    return ""


def _config(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(_CONFIG)
        if entry.file_size > _MAX_BYTES:
            raise ValueError(f"its {_CONFIG} has {entry.file_size} bytes")
        return json.loads(archive.read(entry))


def _foreign(value: Any) -> Iterator[str]:
    """What a configuration names that is code, or is not of Keras's parts."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            entry = cast("dict[str, Any]", each)
            yield from _named(entry)
            waiting.extend(entry.values())
        elif _is_list(each):
            waiting.extend(each)


def _is_list(value: object) -> TypeGuard[list[Any]]:
    return isinstance(value, list)


def _named(entry: dict[str, Any]) -> Iterator[str]:
    kind = entry.get("class_name")
    if not isinstance(kind, str):
        return
    module = entry.get("module")
    if kind in _CODE:
        yield f"a {kind.strip('_').capitalize()} layer"
    elif "module" in entry and not _PARTS.fullmatch(str(module)):
        yield f"the class {entry.get('registered_name') or kind!s} (module {module})"
