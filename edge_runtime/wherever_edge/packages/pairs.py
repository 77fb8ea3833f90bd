"""What a variant's confidence is worth, measured: pairs of confidence and agreement. Pure.

A frame's arrays are float32 [n], of one sample at each position: `confidence`, the variant's;
`agreement`, how far its answer is that of the larger variant; and where the truth was known
`right` and `right_against`, how far each of the two answers is right. All lie from 0 to 1.
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


class Pairs(NamedTuple):
    """Of each sample, float32 [n] from 0 to 1.

    `confidence` is the variant's own, `agreement` how far its answer is that of the variant that
    it was compared with. `right` and `right_against` say how far the answers of the two are right;
    None where the truth was not known.
    """

    confidence: Array
    agreement: Array
    right: Array | None = None
    right_against: Array | None = None


def pack_pairs(pairs: Pairs) -> bytes:
    """The bytes of the file that keeps pairs; equal pairs give equal bytes.

    Raises:
        ValueError: they are none: too many, of different lengths, or not from 0 to 1.
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


def _fault(arrays: dict[str, Array]) -> tuple[str, str] | None:
    """What was expected and found, where arrays are no pairs."""
    names = tuple(arrays)
    if names not in (_ALWAYS, (*_ALWAYS, *_WITH_TRUTH)):
        return f"{', '.join(_ALWAYS)}, and perhaps {', '.join(_WITH_TRUTH)}", ", ".join(names)
    kinds = {(array.dtype.name, array.shape) for array in arrays.values()}
    count = arrays["confidence"].size
    if kinds != {("float32", (count,))}:
        return "float32 arrays of one length", _kinds(arrays)
    if not 0 < count <= MAX_PAIRS:
        return f"1 to {MAX_PAIRS} pairs", f"{count}"
    for name, array in arrays.items():
        if not (array.min() >= 0 and array.max() <= 1):  # NaN fails both
            return f"{name} from 0 to 1", f"{array.min():g} to {array.max():g}"
    return None


def _kinds(arrays: dict[str, Array]) -> str:
    return ", ".join(f"{name} {a.dtype}{list(a.shape)}" for name, a in arrays.items())
