"""Comparing a model file with what its source answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_convert.env.witness import FILE, INPUT, OUTPUT
from wherever_convert.sources import Witness

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array


# A row of scores that is further off is another answer, also where the best one is the same.
_NEAR = 0.05


class Parity(NamedTuple):
    """How near a file is to its source.

    `error` is the largest difference of a number as a share of the largest number of its output;
    `agreement` the share of rows with the same best position in the first output, and all numbers
    to a twentieth of the largest; or, where rows are single numbers, to a thousandth of it.
    """

    error: float
    agreement: float
    rows: int


def compared(witness: Witness, found: tuple[Array, ...]) -> Parity:
    """Compare what a file gave for a witness's inputs with what the source gave.

    Args:
        witness: the source's answers.
        found: the file's, in the order of its outputs.
    """
    errors = [
        _error(np.asarray(wanted), np.asarray(given))
        for wanted, given in zip(witness.outputs, found, strict=False)
        if wanted is not None
    ]
    rows = len(witness.inputs[0]) if witness.inputs else 0
    first = witness.outputs[0] if witness.outputs else None
    share = 1.0 if first is None else _agreement(np.asarray(first), np.asarray(found[0]))
    return Parity(max(errors, default=0.0), share, rows)


def read_witness(folder: Path) -> Witness | None:
    """What `wherever_convert.env.witness.write_witness` wrote there; None when nothing was."""
    if not (folder / FILE).is_file():
        return None
    with np.load(folder / FILE, allow_pickle=False) as arrays:
        inputs = [arrays[f"{INPUT}{n}"] for n in range(_count(arrays.files, INPUT))]
        outputs = [
            arrays[name] if (name := f"{OUTPUT}{n}") in arrays.files else None
            for n in range(_count(arrays.files, OUTPUT))
        ]
    return Witness(tuple(inputs), tuple(outputs))


def _count(names: Sequence[str], prefix: str) -> int:
    numbers = [int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)]
    return max(numbers, default=-1) + 1


def _error(wanted: Array, given: Array) -> float:
    if wanted.size != given.size:
        return float("inf")
    gap = np.abs(wanted.astype(np.float64).ravel() - given.astype(np.float64).ravel())
    scale = float(np.abs(wanted).max(initial=0.0)) or 1.0
    worst = float(gap.max(initial=0.0)) / scale
    return worst if np.isfinite(worst) else float("inf")


def _agreement(wanted: Array, given: Array) -> float:
    if wanted.size != given.size:
        return 0.0
    if wanted.ndim < 2 or wanted.shape[-1] < 2:
        scale = float(np.abs(wanted).max(initial=0.0)) or 1.0
        close = np.isclose(given.reshape(wanted.shape), wanted, rtol=1e-3, atol=1e-3 * scale)
        return float(close.mean())
    ours = wanted.reshape(-1, wanted.shape[-1]).astype(np.float64)
    theirs = given.reshape(ours.shape).astype(np.float64)
    scale = float(np.abs(ours).max(initial=0.0)) or 1.0
    near = np.abs(ours - theirs).max(axis=1) <= _NEAR * scale
    return float((near & (ours.argmax(axis=1) == theirs.argmax(axis=1))).mean())
