"""What a sample becomes on its way through a variant: what a golden sample keeps of it. Pure.

Scores hide much: a wrong mean or a channel swapped may leave the best class and most of its score
as they were. So a golden sample also keeps numbers of the tensors that go into the engine and of
those that come out, and each part is held to what it alone may be off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np

from wherever_edge.packages.agreement import Difference

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

Side: TypeAlias = Literal["fed", "given"]
SIDES: tuple[Side, ...] = ("fed", "given")

MOST_NUMBERS = 4096
# whole outputs up to here: the steps after the engine are then held to them alone
MOST_WHOLE = 65_536
# A number that has no factor in common with the lengths of tensors: positions step through every
# channel and row.
_STEP = 2_654_435_761


class Limits(NamedTuple):
    """How far tensors may be off, on the average, as a share of the range of their numbers."""

    fed: float
    given: float


class Stage(NamedTuple):
    """What is kept of the tensors of one side.

    `shapes` and `numbers` by the tensor's name; of long tensors there are only some numbers.
    """

    limit: float
    shapes: dict[str, tuple[int, ...]]
    numbers: dict[str, Array]

    @property
    def whole(self) -> bool:
        """Whether every number is there."""
        return all(_size(self.shapes[name]) == len(kept) for name, kept in self.numbers.items())

    def tensors(self) -> dict[str, Array]:
        """The tensors again, of a stage that is whole."""
        return {name: kept.reshape(self.shapes[name]) for name, kept in self.numbers.items()}


def stage_of(tensors: Mapping[str, Array], limit: float, most: int = MOST_NUMBERS) -> Stage:
    """What is kept of tensors.

    Args:
        tensors: by name.
        limit: how far another machine's may be off (see `Limits`).
        most: tensors with more numbers than this are kept in part.
    """
    shapes = {name: tuple(array.shape) for name, array in tensors.items()}
    numbers = {name: _thinned(array, most) for name, array in tensors.items()}
    return Stage(limit, shapes, numbers)


def stage_difference(stage: Stage, found: Mapping[str, Array]) -> Difference | None:
    """The first tensor that is not what was kept; None when all are.

    Args:
        stage: what was kept.
        found: the tensors here.
    """
    for name, kept in stage.numbers.items():
        if name not in found:
            return Difference(name, "a tensor", "none")
        different = _different(name, kept, stage.shapes[name], found[name], stage.limit)
        if different is not None:
            return different
    return None


def average_distance(expected: Mapping[str, Array], found: Mapping[str, Array]) -> float:
    """How far tensors are apart on the average, as a share of the range; the worst of them.

    Infinity when they are not the same tensors.
    """
    if expected.keys() != found.keys():
        return float("inf")
    pairs = [(array, found[name]) for name, array in expected.items()]
    if any(a.shape != b.shape or a.dtype != b.dtype for a, b in pairs):
        return float("inf")
    return max((_apart(a.ravel(), b.ravel()) for a, b in pairs), default=0.0)


def facts_of(stage: Stage) -> dict[str, Any]:
    """What is said of a stage beside its arrays."""
    return {"limit": stage.limit, "shapes": {n: list(shape) for n, shape in stage.shapes.items()}}


def stage_from(facts: Mapping[str, Any], numbers: Mapping[str, Array]) -> Stage:
    """A stage as it was written.

    Raises:
        ValueError: it is not what `facts_of` and the arrays of a stage are.
    """
    limit, shapes = facts.get("limit"), facts.get("shapes")
    if type(limit) not in {int, float} or not isinstance(shapes, dict):
        raise ValueError("a limit and shapes")
    stated = cast("dict[str, list[int]]", shapes)
    read = {name: tuple(int(side) for side in shape) for name, shape in stated.items()}
    if read.keys() != numbers.keys() or any(array.ndim != 1 for array in numbers.values()):
        raise ValueError(f"numbers of {', '.join(read)}")
    return Stage(float(limit or 0), read, dict(numbers))


def _different(
    name: str, kept: Array, shape: Sequence[int], found: Array, limit: float
) -> Difference | None:
    if tuple(found.shape) != tuple(shape) or found.dtype != kept.dtype:
        wanted = f"{kept.dtype}{list(shape)}"
        return Difference(name, wanted, f"{found.dtype}{list(found.shape)}")
    here = _thinned(found, len(kept))
    apart = _apart(kept, here)
    if apart <= limit:
        return None
    expected = f"numbers that are at most {limit:.2g} of their range off on the average"
    return Difference(name, expected, f"{apart:.2g}")


def _apart(expected: Array, found: Array) -> float:
    if _stands_for_things(expected):
        return 0.0 if np.array_equal(expected, found) else float("inf")
    if not expected.size:
        return 0.0
    wanted, given = expected.astype(np.float64), found.astype(np.float64)
    if not np.array_equal(np.isfinite(wanted), np.isfinite(given)):
        return float("inf")
    known = np.isfinite(wanted)
    if not known.any():
        return 0.0
    wanted, given = wanted[known], given[known]
    spread = float(np.ptp(wanted)) or float(np.abs(wanted).max()) or 1.0
    return float(np.abs(wanted - given).mean()) / spread


def _stands_for_things(array: Array) -> bool:
    """Whether nothing lies between two of its numbers, as with words; those of 8 bits measure."""
    return array.dtype.kind != "f" and not (array.dtype.kind in "iu" and array.dtype.itemsize == 1)


def _thinned(array: Array, most: int) -> Array:
    flat = np.ascontiguousarray(array).ravel()
    if flat.size <= most:
        return flat.copy()
    positions = (np.arange(most, dtype=np.uint64) * np.uint64(_STEP)) % np.uint64(flat.size)
    numbers: Array = flat[positions.astype(np.int64)]
    return numbers


def _size(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
