"""Whether two engines computed the same of made-up numbers. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array, Tensors, TensorSpec

# How far apart two right answers may be, as a share of their size (Euclidean norm), for the coarser
# of the two precisions. Made-up numbers make no sharp answers, so that single numbers say little.
_SHARES = {"float32": 0.01, "float16": 0.05, "bfloat16": 0.1, "int8": 0.2}
_NOTHING = 1e-6
_SEED = 1


def made_up(specs: Sequence[TensorSpec]) -> dict[str, Array]:
    """Tensors of the declared shapes; every length that is open is 1.

    Fractions are uniform in [0, 1), bytes in 0 to 255; other integers may be positions in a table
    whose size nobody knows, and are 0.
    """
    random = np.random.default_rng(_SEED)
    return {spec.name: _filled(spec, random) for spec in specs}


def contradiction(expected: Tensors, found: Tensors, precisions: Sequence[str]) -> str:
    """How an answer differs from the one expected, in half a sentence; "" when it is the same.

    Args:
        expected: what another engine computed.
        found: what is judged.
        precisions: those that both computed in.
    """
    share = max(_SHARES[name] for name in precisions)
    for name, wanted in expected.items():
        if name not in found:
            return f"{name!r} is missing"
        if why := _apart(wanted, found[name], share):
            return f"{name!r} {why}"
    return ""


def _filled(spec: TensorSpec, random: np.random.Generator) -> Array:
    shape = [max(length, 1) for length in spec.shape]
    kind = spec.numpy_dtype
    if kind.kind == "f":
        return random.random(shape).astype(kind)
    if kind == np.uint8:
        return random.integers(0, 256, shape, np.uint8)
    return np.zeros(shape, kind)


def _apart(wanted: Array, given: Array, share: float) -> str:
    if wanted.shape != given.shape:
        # what a model counts itself, such as boxes, may differ by one that is a close call
        return "" if wanted.ndim == given.ndim else f"has the shape {list(given.shape)}"
    ours, theirs = wanted.astype(np.float64), given.astype(np.float64)
    finite = np.isfinite(ours)
    if not np.array_equal(finite, np.isfinite(theirs)):
        return "has other numbers that are not finite"
    gap = float(np.linalg.norm(ours[finite] - theirs[finite]))
    size = float(np.linalg.norm(ours[finite]))
    if gap <= max(share * size, _NOTHING):
        return ""
    return f"is {gap / size:.0%} off" if size > _NOTHING else "is not zero"
