"""What a variant's confidence is worth, measured: pairs of confidence and agreement. Pure.

A frame's arrays are float32 [n], of one sample at each position: `confidence`, the variant's;
`agreement`, how far its answer is that of the larger variant; where the truth was known `right` and
`right_against`, how far each of the two answers is right; and, from schema 1.5 on, where answers
name a class `category`, the one that the variant's names. The others lie from 0 to 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_contracts.errors import PackageError
from wherever_contracts.frames import FrameError, pack_frame, unpack_frame

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.package import Package

MAX_PAIRS = 1_000_000

_ALWAYS = ("confidence", "agreement")
_WITH_TRUTH = ("right", "right_against")
_WITH_CLASS = ("category",)
_KNOWN = tuple(
    (*_ALWAYS, *truth, *of_class) for truth in ((), _WITH_TRUTH) for of_class in ((), _WITH_CLASS)
)
# Up to here float32 counts without a gap.
_MOST_CATEGORY = 2**24


class Pairs(NamedTuple):
    """Of each sample, float32 [n].

    `confidence` is the variant's own, `agreement` how far its answer is that of the variant that
    it was compared with, `right` and `right_against` how far the answers of the two are right (None
    where the truth was not known); all from 0 to 1. `category` is the class that the variant's
    answer names, as `wherever_edge.agreement.category_of` tells it, a whole number from -1 on; None
    where answers name none, or the pairs are from before it was kept.
    """

    confidence: Array
    agreement: Array
    right: Array | None = None
    right_against: Array | None = None
    category: Array | None = None


def pack_pairs(pairs: Pairs) -> bytes:
    """The bytes of the file that keeps pairs; equal pairs give equal bytes.

    Raises:
        ValueError: they are none: too many, of different lengths, or out of range.
    """
    arrays = {
        name: np.ascontiguousarray(array, np.float32)
        for name, array in pairs._asdict().items()
        if array is not None
    }
    fault = _fault(arrays)
    if fault:
        raise ValueError(f"expected {fault[0]}, found {fault[1]}")
    return pack_frame(arrays, {})


def unpack_pairs(path: str, data: bytes) -> Pairs:
    """Read the bytes of such a file.

    Args:
        path: what to call the file in errors.
        data: its bytes.

    Raises:
        PackageError: they are no pairs.
    """
    try:
        arrays, _ = unpack_frame(data)
    except FrameError as error:
        raise PackageError(path, "", "pairs of confidence and agreement", f"{error}") from error
    fault = _fault(arrays)
    if fault:
        raise PackageError(path, "", *fault)
    return Pairs(**arrays)


def read_pairs(package: Package, variant: Variant) -> Pairs | None:
    """The pairs that a package keeps for a variant; None where it keeps none.

    Raises:
        PackageError: the file is missing, damaged, or holds another number of pairs.
    """
    entry = variant.calibration
    if entry is None:
        return None
    pairs = unpack_pairs(entry.file.path, package.read(entry.file))
    count = len(pairs.confidence)
    if count != entry.n:
        raise PackageError(entry.file.path, "", f"{entry.n} pairs", f"{count}")
    return pairs


def pairs_with_reference(package: Package, variant: str) -> Pairs | None:
    """The pairs of a variant with the package's reference; None where it keeps none of these.

    Raises:
        PackageError: as for `read_pairs`.
    """
    manifest = package.manifest
    entry = next((each for each in manifest.variants if each.id == variant), None)
    if entry is None or entry.calibration is None:
        return None
    return read_pairs(package, entry) if entry.calibration.against == manifest.reference else None


def _fault(arrays: dict[str, Array]) -> tuple[str, str] | None:
    """What was expected and found, where arrays are no pairs."""
    names = tuple(arrays)
    if names not in _KNOWN:
        perhaps = f"{', '.join(_WITH_TRUTH)}, and perhaps {', '.join(_WITH_CLASS)}"
        return f"{', '.join(_ALWAYS)}, and perhaps {perhaps}", ", ".join(names)
    kinds = {(array.dtype.name, array.shape) for array in arrays.values()}
    count = arrays["confidence"].size
    if kinds != {("float32", (count,))}:
        return "float32 arrays of one length", _kinds(arrays)
    if not 0 < count <= MAX_PAIRS:
        return f"1 to {MAX_PAIRS} pairs", f"{count}"
    return next(filter(None, (_out_of_range(name, array) for name, array in arrays.items())), None)


def _out_of_range(name: str, array: Array) -> tuple[str, str] | None:
    """What was expected and found, where a number is not one of its kind."""
    low, high = (-1, _MOST_CATEGORY) if name in _WITH_CLASS else (0, 1)
    if not (array.min() >= low and array.max() <= high):  # NaN fails both
        return f"{name} from {low} to {high}", f"{array.min():g} to {array.max():g}"
    broken = array[array != np.floor(array)] if name in _WITH_CLASS else array[:0]
    return (f"{name} in whole numbers", f"{broken[0]:g}") if broken.size else None


def _kinds(arrays: dict[str, Array]) -> str:
    return ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in arrays.items())
