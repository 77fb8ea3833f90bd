"""Inputs as they are given on a command line, as the values that `predict` takes.

An image is a path, and so is any other file; text is taken as it stands; numbers are a `.npy` file,
a JSON array, or numbers with commas or spaces between them. `-` stands for standard input. Where a
model has several inputs, each is `name=INPUT`.
"""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import InputError

if TYPE_CHECKING:
    from wherever_contracts.manifest import InputEntry, Signature
    from wherever_contracts.tensors import Array

STDIN = "-"

_NPY = b"\x93NUMPY"
_NUMBERS = "a .npy file, a JSON array, or numbers with commas or spaces between them"
_WORDS = {"image": "an image file", "text": "text", "tensor": "numbers", "bytes": "a file"}
_WHOLE = ("text", "bytes")  # what no argument of is taken for numbers


def read_inputs(signature: Signature, given: Sequence[str]) -> Any:
    """The value for a call.

    Args:
        signature: of the model.
        given: the arguments, one or more.

    Raises:
        InputError: an argument is not of its input's kind, or its name is not known.
        OSError: a file cannot be read.
    """
    entries = {entry.name: entry for entry in signature.inputs}
    if len(entries) == 1:
        (entry,) = signature.inputs
        return _read(entry, _only(entry, given))
    texts = _by_name(entries, given)
    return {name: _read(entries[name], text) for name, text in texts.items()}


def read_content(signature: Signature, data: bytes) -> Any:
    """The value for a call of a model with one input, out of what a file holds.

    Raises:
        InputError: it is not of the input's kind, or the model takes several.
    """
    entry, *others = signature.inputs
    if others:
        raise InputError("", f"inputs for {takes(signature)}", "one file")
    return _from_bytes(entry, data)


def takes(signature: Signature) -> str:
    """What the arguments of a model are, in words: `image=INPUT (an image file), ...`."""
    words = [f"{entry.name} ({_words(entry)})" for entry in signature.inputs]
    if len(words) == 1:
        return words[0]
    return ", ".join(f"{entry.name}=INPUT ({_words(entry)})" for entry in signature.inputs)


def parse_numbers(text: str) -> Array | None:
    """The numbers of a JSON array, or between commas or spaces; None when it is something else."""
    if text.lstrip().startswith("["):
        try:
            return _array(json.loads(text))
        except (ValueError, RecursionError):
            return None
    try:
        return _array([_number(part) for part in re.split(r"[,\s]+", text.strip(", \t\r\n"))])
    except ValueError:
        return None


def _only(entry: InputEntry, given: Sequence[str]) -> str:
    """The one input: several arguments are numbers that the shell has taken apart."""
    text = given[0] if len(given) == 1 else " ".join(given)
    if len(given) > 1 and (entry.kind in _WHOLE or parse_numbers(text) is None):
        raise InputError(entry.name, f"one input ({_words(entry)})", f"{len(given)}")
    return text.removeprefix(f"{entry.name}=")


def _by_name(entries: Mapping[str, InputEntry], given: Sequence[str]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for argument in given:
        name, equals, text = argument.partition("=")
        if not equals or name not in entries:
            raise InputError("", f"name=INPUT for {', '.join(entries)}", repr(argument))
        texts[name] = text
    if [*texts.values()].count(STDIN) > 1:
        raise InputError("", "one input from standard input", "several")
    return texts


def _read(entry: InputEntry, text: str) -> Any:
    if text == STDIN:
        return _from_bytes(entry, sys.stdin.buffer.read())
    if entry.kind in _WHOLE:
        return text
    if text.endswith(".npy"):
        with Path(text).open("rb") as file:
            return _read_npy(entry, file)
    return _from_text(entry, text)


def _from_bytes(entry: InputEntry, data: bytes) -> Any:
    if entry.kind == "bytes":
        return data
    if entry.kind != "text" and data.startswith(_NPY):
        return _read_npy(entry, io.BytesIO(data))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if entry.kind == "image":
        numbers = parse_numbers(text) if entry.numbers is not None and text else None
        return data if numbers is None else _shaped(numbers, entry.numbers).tolist()
    if text is None:
        expected = "text in UTF-8" if entry.kind == "text" else _NUMBERS
        raise InputError(entry.name, expected, f"{len(data)} bytes that are none")
    return text if entry.kind == "text" else _from_text(entry, text)


def _from_text(entry: InputEntry, text: str) -> Any:
    """A path or numbers; what an image is not, the SDK says."""
    if entry.kind == "image" and (entry.numbers is None or Path(text).exists()):
        return text
    numbers = parse_numbers(text)
    if numbers is None and entry.kind == "image" and not text.startswith("["):
        return text
    if numbers is None:
        raise InputError(entry.name, _NUMBERS, repr(text if len(text) <= 60 else text[:57] + "..."))
    shaped = _shaped(numbers, entry.numbers or entry)
    return shaped.tolist() if entry.kind == "image" else shaped


def _read_npy(entry: InputEntry, file: IO[bytes]) -> Array:
    try:
        array: Array = np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise InputError(entry.name, "a .npy file of numbers", str(error)) from error
    return array


def _array(value: Any) -> Array:
    """Whole numbers from 0 on become unsigned, because those fit into every type of number."""
    array = np.asarray(value)
    if array.dtype.kind == "i" and array.size and array.min() >= 0:
        return array.astype(np.uint64)
    return array


def _shaped(array: Array, entry: Any) -> Array:
    """A plain row of numbers in the shape that the input has, when it fits."""
    shape: tuple[int, ...] = entry.shape
    if array.ndim != 1 or len(shape) == 1 or list(shape).count(-1) > 1:
        return array
    try:
        return array.reshape(shape)
    except ValueError:
        return array


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _words(entry: InputEntry) -> str:
    sizes = entry.numbers or (entry if entry.kind == "tensor" else None)
    if sizes is None:
        return _WORDS[entry.kind]
    shape = " x ".join("any" if n < 0 else str(n) for n in sizes.shape or ()) or "1"
    numbers = f"{shape} numbers"
    return numbers if entry.kind == "tensor" else f"{_WORDS[entry.kind]}, or {numbers}"
