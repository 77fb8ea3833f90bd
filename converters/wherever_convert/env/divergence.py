"""Where to cut a range so that few steps tell most of how the numbers are spread. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# Steps of one sign that eight bits have.
STEPS = 128
_STRIDE = 16
_LEAST = 1e-9


def threshold(counts: Array) -> float:
    """The share of a range, from 0 to 1, whose cut loses least information.

    Args:
        counts: how many numbers are in each of equal parts of the range, from 0 outwards; at least
            `STEPS` parts.

    Returns:
        Where the divergence (Kullback-Leibler) between the numbers as they are, with those beyond
        the cut put to its edge, and the numbers in `STEPS` steps is least.
    """
    cuts = [*range(STEPS, counts.size, _STRIDE), counts.size]
    best: int = min(cuts, key=lambda cut: _divergence(counts, cut))
    return best / int(counts.size)


def _divergence(counts: Array, cut: int) -> float:
    true = counts[:cut].astype(np.float64)
    stepped = _stepped(true)
    true[-1] += counts[cut:].sum()
    if not stepped.any():
        return float("inf")
    there = true > 0
    p = true[there] / true.sum()
    q = np.maximum(stepped[there] / stepped.sum(), _LEAST)
    return float(np.sum(p * np.log(p / q)))


def _stepped(counts: Array) -> Array:
    """The same numbers when each of `STEPS` steps spreads its numbers over its parts that have any.

    Parts without numbers stay empty: a step does not invent what was not there.
    """
    step = np.arange(counts.size) * STEPS // counts.size
    sums = np.bincount(step, counts, STEPS)
    filled = np.bincount(step, counts > 0, STEPS)
    share: Array = np.divide(sums, filled, out=np.zeros(STEPS), where=filled > 0)
    return np.where(counts > 0, share[step], 0)
