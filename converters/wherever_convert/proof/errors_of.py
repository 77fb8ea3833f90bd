"""How far tensors are from those of the float reference. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array


class ErrorQuantiles(NamedTuple):
    """Quantiles of the difference, as a share of the range of the reference's numbers."""

    median: float
    p90: float
    p99: float
    max: float


def quantiles_of(
    found: Sequence[Mapping[str, Array]], wanted: Sequence[Mapping[str, Array]]
) -> ErrorQuantiles | None:
    """Compare the tensors of several samples; None when they have not the same names and shapes.

    Args:
        found: each sample's tensors by name.
        wanted: likewise of the reference; each tensor's range over all samples is its unit.
    """
    names = list(wanted[0])
    if not all(_alike(ours, theirs) for ours, theirs in zip(found, wanted, strict=True)):
        return None
    shares = [_shares([ours[n] for ours in found], [theirs[n] for theirs in wanted]) for n in names]
    numbers = np.concatenate(shares)
    if not numbers.size:
        return None
    return ErrorQuantiles(*np.quantile(numbers, (0.5, 0.9, 0.99, 1)).tolist())


def _alike(ours: Mapping[str, Array], theirs: Mapping[str, Array]) -> bool:
    """The same tensors of floats: whole numbers may stand on another scale, or name classes."""
    return ours.keys() == theirs.keys() and all(
        ours[name].shape == array.shape and ours[name].dtype.kind == array.dtype.kind == "f"
        for name, array in theirs.items()
    )


def _shares(ours: Sequence[Array], theirs: Sequence[Array]) -> Array:
    a = np.concatenate([each.ravel() for each in ours]).astype(np.float64)
    b = np.concatenate([each.ravel() for each in theirs]).astype(np.float64)
    if not b.size:
        return b
    spread = float(b.max() - b.min()) or float(np.abs(b).max()) or 1.0
    shares: Array = np.abs(a - b) / spread
    return shares
