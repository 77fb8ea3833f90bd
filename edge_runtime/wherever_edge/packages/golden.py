"""Golden samples: a package's own proof that a variant answers here as it did where it was made.

A sample is a frame. Its arrays are `inputs/NAME`, the input as it travels, and
`outputs/VARIANT/NAME`, the signature's outputs; beside them are the call's options and, for each
variant, a tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import GoldenError, InputError
from wherever_contracts.frames import FrameError, pack_frame, unpack_frame
from wherever_contracts.wire.tensors import from_array, to_array
from wherever_edge.inputs import InputChecker, Inputs, check_options
from wherever_edge.packages.agreement import Difference, Tolerance, difference, usual_tolerance

if TYPE_CHECKING:
    from wherever_contracts.manifest import GoldenSample, Signature
    from wherever_contracts.tensors import Array, Tensors
    from wherever_edge.host import LoadedVariant

_MAX_HEADER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """What came of checking a variant.

    Attributes:
        n: samples that have answers of this variant, and agreed; 0 means that nothing was checked.
        worst: the largest share of its tolerance that any number used, 0 to 1.
        elapsed_s: how long it took.
    """

    n: int
    worst: float
    elapsed_s: float


class _Sample(NamedTuple):
    """A sample, read: the arrays by name, and what is said of them."""

    path: str
    arrays: dict[str, Array]
    options: Mapping[str, Any]
    tolerances: Mapping[str, Any]


def check_golden(loaded: LoadedVariant) -> GoldenReport:
    """Run every golden sample of a package through a variant, and compare the answers.

    Samples without answers of this variant are passed over.

    Raises:
        GoldenError: a sample cannot be read, or the answer to it is another one here; the error
            names the sample, the output, what was expected and what was found.
        PackageError: a sample's file is not what the manifest promises.
        EngineError: the variant fails on a sample.
        MissingExtraError: a sample is an image, and Pillow is not installed.
    """
    started = perf_counter()
    read = [_read(loaded, sample) for sample in loaded.package.manifest.golden]
    shares = [_check(loaded, sample) for sample in read if loaded.variant.id in sample.tolerances]
    return GoldenReport(len(shares), max(shares, default=0.0), perf_counter() - started)


def make_golden(
    variants: Sequence[LoadedVariant],
    value: Any,
    *,
    options: Mapping[str, float] | None = None,
    tolerances: Mapping[str, Tolerance] | None = None,
) -> bytes:
    """A golden sample: what some variants of one package answer now.

    Args:
        variants: the variants, loaded.
        value: the input, as `predict` takes it.
        options: the call's options.
        tolerances: variant id -> how far other machines may be off; by default what is usual for
            the variant's precision.

    Returns:
        The bytes of the sample's file.

    Raises:
        InputError: the input or an option does not fit the signature.
        EngineError: a variant fails on it.
    """
    first = variants[0]
    tensors = first.wire_inputs.write(InputChecker(first.signature).check(value))
    chosen = check_options(first.signature, options or {})
    arrays = {f"inputs/{tensor.name}": to_array(tensor) for tensor in tensors}
    sample = _Sample("the sample", arrays, chosen, {})
    for loaded in variants:
        sample = _extended(sample, loaded, (tolerances or {}).get(loaded.variant.id))
    return _packed(sample)


def extend_golden(data: bytes, loaded: LoadedVariant, tolerance: Tolerance | None = None) -> bytes:
    """A golden sample, with what one more variant answers now.

    Args:
        data: the bytes of the sample's file.
        loaded: the variant; answers of it that are there already are replaced.
        tolerance: how far other machines may be off; by default what is usual for its precision.

    Raises:
        GoldenError: these are not the bytes of a sample for the variant's signature.
        EngineError: the variant fails on it.
    """
    return _packed(_extended(_parsed("the sample", data), loaded, tolerance))


def _extended(sample: _Sample, loaded: LoadedVariant, tolerance: Tolerance | None) -> _Sample:
    name = loaded.variant.id
    answer = loaded.answer(*_given(loaded, sample))
    outputs = {f"outputs/{name}/{each}": array for each, array in answer.outputs.items()}
    allowed = {name: asdict(tolerance or usual_tolerance(loaded.variant))}
    return sample._replace(
        arrays={**sample.arrays, **outputs}, tolerances={**sample.tolerances, **allowed}
    )


def _packed(sample: _Sample) -> bytes:
    facts = {"options": sample.options, "tolerances": sample.tolerances}
    return pack_frame(sample.arrays, facts)


def _read(loaded: LoadedVariant, sample: GoldenSample) -> _Sample:
    return _parsed(sample.file.path, loaded.package.read(sample.file))


def _parsed(path: str, data: bytes) -> _Sample:
    try:
        arrays, meta = unpack_frame(data, max_header_bytes=_MAX_HEADER_BYTES)
    except FrameError as error:
        raise GoldenError(path, "", "a golden sample", f"{error}") from error
    options, tolerances = meta.get("options"), meta.get("tolerances")
    if not isinstance(options, dict) or not isinstance(tolerances, dict):
        raise GoldenError(path, "", "options and tolerances beside the arrays", f"{sorted(meta)}")
    return _Sample(path, arrays, options, tolerances)


def _check(loaded: LoadedVariant, sample: _Sample) -> float:
    """The share of the tolerance that was used."""
    prefix = f"outputs/{loaded.variant.id}/"
    expected = _expected(loaded.signature, sample, prefix)
    tolerance = _tolerance(loaded, sample)
    inputs, options = _given(loaded, sample)
    answer = loaded.answer(inputs, options)
    found = difference(loaded.signature, expected, answer.outputs, tolerance)
    if isinstance(found, Difference):
        raise GoldenError(sample.path, f"{prefix}{found.output}", found.expected, found.found)
    return found


def _expected(signature: Signature, sample: _Sample, prefix: str) -> Tensors:
    expected: dict[str, Array] = {}
    for entry in signature.outputs:
        array = sample.arrays.get(f"{prefix}{entry.name}")
        if array is None or not entry.spec().admits(array):
            found = "nothing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise GoldenError(sample.path, f"{prefix}{entry.name}", f"{entry.spec()}", found)
        expected[entry.name] = array
    return expected


def _tolerance(loaded: LoadedVariant, sample: _Sample) -> Tolerance:
    stated = sample.tolerances[loaded.variant.id]
    try:
        return Tolerance(**stated)
    except (TypeError, ValueError) as error:
        field = f"tolerances/{loaded.variant.id}"
        raise GoldenError(sample.path, field, "a tolerance", f"{error}") from error


def _given(loaded: LoadedVariant, sample: _Sample) -> tuple[Inputs, dict[str, float]]:
    prefix = "inputs/"
    tensors = [
        from_array(name.removeprefix(prefix), array)
        for name, array in sample.arrays.items()
        if name.startswith(prefix)
    ]
    try:
        inputs = loaded.wire_inputs.read(tensors)
        return inputs, check_options(loaded.signature, sample.options)
    except InputError as error:
        where = f"{prefix}{error.field}"
        raise GoldenError(sample.path, where, error.expected, error.found) from error
