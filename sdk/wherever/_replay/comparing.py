"""Whether two answers are the same, or near enough. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherever._records.record import summary_of
from wherever_contracts.value_making import value_of
from wherever_edge.packages.agreement import (
    Difference,
    coarse_tolerance,
    difference,
    usual_tolerance,
)

if TYPE_CHECKING:
    from wherever._records.record import Record
    from wherever_contracts.manifest import Variant
    from wherever_contracts.receipts import Answer
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.store import Package

_HALF = {"float16", "bfloat16"}


def bits(outputs: Mapping[str, Array]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Everything that one array could differ from another by."""
    return {
        name: (array.dtype.name, array.shape, array.tobytes()) for name, array in outputs.items()
    }


def is_near(record: Record, package: Package, variant: Variant, answer: Answer) -> bool | None:
    """Whether an answer is within the variant's tolerance of the one that was recorded.

    Where the record has no outputs, its summary decides: the same label with a score that is near
    enough, or as many things of each class. Of tensors it has the shapes alone, so nobody can tell.

    Args:
        record: what was written down.
        package: gives the signature.
        variant: which answered.
        answer: what it answers now.

    Returns:
        None when that cannot be told.
    """
    signature, tolerance = package.manifest.signature, usual_tolerance(variant)
    if {record.receipt.ran.precision, answer.ran.precision} & _HALF:
        tolerance = coarse_tolerance(tolerance)
    if record.outputs is not None:
        apart = difference(signature, record.outputs, answer.outputs, tolerance)
        return not isinstance(apart, Difference)
    ours = summary_of(value_of(signature, answer.outputs))
    return _is_alike(record.summary, ours, tolerance.atol)


def _is_alike(then: Mapping[str, Any], now: Mapping[str, Any], atol: float) -> bool | None:
    if "label" in then and "label" in now:
        near: bool = abs(then["score"] - now["score"]) <= atol
        return near and then["label"] == now["label"]
    return then == now if "found" in then else None
