"""Golden samples: a package's own proof that a variant answers here as it did where it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import GoldenError, InputError, MissingExtraError
from wherever_contracts.manifest import signature_digest
from wherever_contracts.wire.tensors import from_array, to_array
from wherever_edge.inputs import InputChecker, Inputs, check_options
from wherever_edge.packages.agreement import (
    Difference,
    Tolerance,
    coarse_tolerance,
    difference,
    usual_tolerance,
)
from wherever_edge.packages.golden_frames import Sample, read_sample
from wherever_edge.packages.stages import (
    MOST_NUMBERS,
    MOST_WHOLE,
    Limits,
    Side,
    Stage,
    stage_difference,
    stage_of,
)

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array, Tensors
    from wherever_edge.host import LoadedVariant

# What the steps after the engine may make of the very same numbers on another machine.
_SAME = Tolerance(atol=1e-4, rtol=1e-4, iou=0.98, min_score=0.0)
# The mean distance of tensors that were computed in half precision, as a share of their range.
_HALF = 0.02
_HALVES = ("float16", "bfloat16")


@dataclass(frozen=True, slots=True)
class GoldenReport:
    """What came of checking a variant.

    Attributes:
        n: samples that have answers of this variant, and agreed; 0 means that nothing was checked.
        worst: the largest share of its tolerance that any number used, 0 to 1.
        elapsed_s: how long it took.
        left: samples that there was no time for.
    """

    n: int
    worst: float
    elapsed_s: float
    left: int = 0


@dataclass(frozen=True, slots=True)
class Allowed:
    """How far another machine's answer may be off.

    Attributes:
        answer: the signature's outputs.
        tensors: those on both sides of the engine; None where they are not kept.
    """

    answer: Tolerance
    tensors: Limits | None = None


def check_golden(loaded: LoadedVariant, budget_s: float | None = None) -> GoldenReport:
    """Run the golden samples of a package through a variant, and compare the answers.

    Samples without answers of this variant are passed over.

    Args:
        loaded: the variant.
        budget_s: how long it may take: a sample that would probably take longer is left. The first
            one never is. By default all the time that it takes.

    Raises:
        GoldenError: a sample cannot be read, or the answer to it is another one here; the error
            names the sample, the output, what was expected and what was found.
        PackageError: a sample's file is not what the manifest promises.
        EngineError: the variant fails on a sample.
        MissingExtraError: a sample is an image, and Pillow is not installed; the others agreed.
    """
    started = perf_counter()
    shares: list[float] = []
    missing: MissingExtraError | None = None
    listed = loaded.package.manifest.golden
    for position, entry in enumerate(listed):
        elapsed_s = perf_counter() - started
        if shares and budget_s is not None and elapsed_s * (1 + 1 / position) > budget_s:
            return GoldenReport(len(shares), max(shares), elapsed_s, len(listed) - position)
        sample = read_sample(entry.file.path, loaded.package.read(entry.file))
        sample.check_made_for(loaded.package.manifest)
        if loaded.variant.id in sample.tolerances:
            try:
                shares.append(_check(loaded, sample))
            except MissingExtraError as error:
                missing = error
    if missing is not None:
        raise missing
    return GoldenReport(len(shares), max(shares, default=0.0), perf_counter() - started)


def make_golden(
    variants: Sequence[LoadedVariant],
    value: Any,
    *,
    options: Mapping[str, float] | None = None,
    allowed: Mapping[str, Allowed] | None = None,
) -> bytes:
    """A golden sample: what some variants of one package answer now.

    Args:
        variants: the variants, loaded.
        value: the input, as `predict` takes it.
        options: the call's options.
        allowed: variant id -> how far other machines may be off; by default what is usual for the
            variant's precision.

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
    files = {entry.path: entry.sha256 for entry in first.package.manifest.files}
    digest = signature_digest(first.signature)
    sample = Sample("the sample", arrays, chosen, {}, {}, digest, files)
    for loaded in variants:
        sample = _extended(sample, loaded, (allowed or {}).get(loaded.variant.id))
    return sample.to_bytes()


def extend_golden(data: bytes, loaded: LoadedVariant, allowed: Allowed | None = None) -> bytes:
    """A golden sample, with what one more variant answers now.

    Args:
        data: the bytes of the sample's file.
        loaded: the variant; answers of it that are there already are replaced.
        allowed: how far other machines may be off; by default what is usual for its precision.

    Raises:
        GoldenError: these are not the bytes of a sample for the variant's signature.
        EngineError: the variant fails on it.
    """
    sample = read_sample("the sample", data)
    sample.check_made_for(loaded.package.manifest)
    return _extended(sample, loaded, allowed).to_bytes()


def sample_inputs(loaded: LoadedVariant, sample: Sample) -> tuple[Inputs, dict[str, float]]:
    """The checked input and options of a sample.

    Raises:
        GoldenError: they do not fit the signature.
    """
    tensors = [from_array(name, array) for name, array in sample.inputs().items()]
    try:
        inputs = loaded.wire_inputs.read(tensors)
        return inputs, check_options(loaded.signature, sample.options)
    except InputError as error:
        where = f"inputs/{error.field}"
        raise GoldenError(sample.path, where, error.expected, error.found) from error


def _extended(sample: Sample, loaded: LoadedVariant, allowed: Allowed | None) -> Sample:
    traced = loaded.trace(*sample_inputs(loaded, sample))
    allowed = allowed or Allowed(usual_tolerance(loaded.variant))
    stages: dict[Side, Stage] = {}
    if allowed.tensors is not None and traced.fed is not None and traced.given is not None:
        whole = sum(array.size for array in traced.given.values()) <= MOST_WHOLE
        most = MOST_WHOLE if whole else MOST_NUMBERS
        stages["fed"] = stage_of(traced.fed, allowed.tensors.fed)
        stages["given"] = stage_of(traced.given, allowed.tensors.given, most)
    return sample.extended(loaded.variant.id, traced.outputs, allowed.answer, stages)


def _check(loaded: LoadedVariant, sample: Sample) -> float:
    """The share of the tolerance that was used."""
    name = loaded.variant.id
    expected = sample.expected(loaded.signature, name)
    tolerance = sample.tolerance(name)
    fed, given = sample.stage(name, "fed"), sample.stage(name, "given")
    if loaded.ran.precision in _HALVES and loaded.variant.precision not in _HALVES:
        tolerance, given = _in_half(tolerance, given)
    inputs, options = sample_inputs(loaded, sample)
    traced = loaded.trace(inputs, options)
    _check_stage(sample, f"fed/{name}", fed, traced.fed)
    if given is not None and given.whole and traced.given is not None:
        again = loaded.outputs_from(given.tensors(), inputs, options)
        _compare(loaded, sample, expected, again, _SAME)
    _check_stage(sample, f"given/{name}", given, traced.given)
    return _compare(loaded, sample, expected, traced.outputs, tolerance)


def _in_half(tolerance: Tolerance, given: Stage | None) -> tuple[Tolerance, Stage | None]:
    """What holds for an engine that was told to compute in half precision."""
    if given is not None:
        given = given._replace(limit=max(given.limit, _HALF))
    return coarse_tolerance(tolerance), given


def _check_stage(
    sample: Sample, where: str, stage: Stage | None, found: Mapping[str, Array] | None
) -> None:
    if stage is None:
        return
    different = stage_difference(stage, found or {})
    if different is not None:
        field = f"{where}/{different.output}"
        raise GoldenError(sample.path, field, different.expected, different.found)


def _compare(
    loaded: LoadedVariant, sample: Sample, expected: Tensors, found: Tensors, tolerance: Tolerance
) -> float:
    least = max(tolerance.min_score, sample.options.get("min_score", 0.0) + tolerance.atol)
    apart = difference(loaded.signature, expected, found, replace(tolerance, min_score=least))
    if isinstance(apart, Difference):
        where = f"outputs/{loaded.variant.id}/{apart.output}"
        raise GoldenError(sample.path, where, apart.expected, apart.found)
    return apart
