"""Exporters: each makes an ONNX file of an object of one framework.

An exporter is a module that runs in whatever environment the framework is in: it needs the
standard library, numpy, its framework and `wherever_convert.env` alone, and imports the framework
inside its functions. It has

    recognises(given) -> bool      whether an object is its own; imports nothing to find out
    export(given, example, formats, folder) -> Outcome
    load(path) -> object           optional: reads a file that holds data alone

`export` writes folder/model.onnx, folder/model.tflite where "tflite" is among the formats and can
be had, and the object's own answers with `wherever_convert.env.witness.write_witness`. What it
cannot do it refuses with `RefusedError`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Outcome(TypedDict):
    """What an exporter says of the files that it wrote.

    Attributes:
        facts: where they came from, for the package's provenance: `kind`, `tools` and so on.
        labels: the names of the classes, where the object knows them.
        batch: the first axis of every tensor counts independent rows.
        files: format -> precision of the weights, the nearest to the object first.
        also: format -> why the object is not to be had in it.
    """

    facts: dict[str, Any]
    labels: list[str] | None
    batch: bool
    files: dict[str, str]
    also: dict[str, str]


class Exporter(Protocol):
    """What an exporter's module looks like."""

    def recognises(self, given: object) -> bool:
        """True for an object of this framework."""
        ...

    def export(
        self,
        given: Any,
        example: NDArray[Any] | None,
        formats: Collection[str],
        folder: Path,
    ) -> Outcome:
        """Write the files.

        Args:
            given: an object that `recognises` took.
            example: rows as the model takes them, the first axis counting rows; None: not known.
            formats: what is wanted beside "onnx", if it can be had.
            folder: where the files go.

        Raises:
            RefusedError: it cannot be exported; the message says why.
        """
        ...


def exporter(module: str) -> Exporter:
    """The exporter that a module is."""
    return cast("Exporter", import_module(module))


def find(given: object, modules: Sequence[str]) -> str | None:
    """The first of some exporters (modules) that takes an object."""
    return next((each for each in modules if exporter(each).recognises(given)), None)
