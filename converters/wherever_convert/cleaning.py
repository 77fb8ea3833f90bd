"""Making a float ONNX file as small as it can be, and able to take several rows at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError, MissingExtraError
from wherever_convert.children import run_child
from wherever_convert.environments import Tell, quiet
from wherever_convert.frameworks import versions
from wherever_convert.model_file import ModelFile

_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What came of cleaning a model.

    Attributes:
        file: the cleaned model, or the one that was given where that is no better.
        facts: what was done, for the package's provenance; empty when nothing was.
        batch: the first axis of every tensor may have any length, and each row was seen to give
            what it gives alone.
        notes: what could not be done, each with its reason, in words.
    """

    file: ModelFile
    facts: Mapping[str, Any] = field(default_factory=dict[str, Any])
    batch: bool = False
    notes: tuple[str, ...] = ()


def clean(file: ModelFile, scratch: Path, tell: Tell = quiet) -> Cleaned:
    """Fold, fuse and drop what an ONNX graph does not need, and open its first axis.

    A change is kept only when the changed file gives the same answers to random inputs. The same
    file gives the same bytes, always. Whatever goes wrong, a file comes back, with a note.

    Args:
        file: a model; one that is not float32 ONNX comes back as it is.
        scratch: a directory for what is made on the way.
        tell: told what takes long.
    """
    if (file.format, file.precision) != ("onnx", "float32"):
        return Cleaned(file)
    tell("cleaning the graph")
    (given,) = file.write(scratch, "given")
    output = scratch / "cleaned.onnx"
    orders = {"model": str(given), "output": str(output)}
    try:
        made = run_child("clean", orders, scratch, "cleaning the graph", timeout_s=_TIMEOUT_S)
    except (ConversionError, MissingExtraError) as error:
        return Cleaned(file, notes=(f"the graph was left as it is: {error}",))
    if not made["changed"]:
        return Cleaned(file, batch=made["batch"], notes=tuple(made["notes"]))
    facts = {**made["facts"], "tools": versions("onnxslim", "onnx")}
    data = output.read_bytes()
    return Cleaned(
        ModelFile("onnx", "float32", (data,)), facts, made["batch"], tuple(made["notes"])
    )
