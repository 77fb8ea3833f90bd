"""Measuring variants as they will be served: the whole pipeline, in an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError, WhereverError
from wherever_edge.inputs import InputChecker
from wherever_edge.pipelines.pipeline import StepContext, compile_steps

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.judges import Judge
    from wherever_convert.samples.sample import Sample
    from wherever_edge.host import LoadedVariant

Step = Callable[[], None]


@dataclass(frozen=True)
class Measured:
    """What a judge kept of every answer, and the median time in the engine, whose name is there.

    `confidence` is that of every answer, or None where a variant gives none.
    """

    kept: list[Any]
    latency_s: float
    engine: str
    confidence: list[float | None] = field(default_factory=list[float | None])


def measure(
    loaded: LoadedVariant,
    samples: Sequence[Sample],
    judge: Judge,
    options: dict[str, float],
    advance: Step,
) -> Measured:
    """Ask a variant about every sample.

    Raises:
        ConversionError: it cannot answer for one.
    """
    checker = InputChecker(loaded.signature)
    kept: list[Any] = []
    times_s: list[float] = []
    confidence: list[float | None] = []
    for sample in samples:
        try:
            answer = loaded.answer(checker.check(sample.value), options)
        except WhereverError as error:
            raise _failed(loaded, sample, error) from error
        kept.append(judge.keep(answer.outputs))
        times_s.append(answer.engine_s)
        confidence.append(answer.confidence)
        advance()
    return Measured(kept, float(np.median(times_s)), loaded.ran.engine, confidence)


def engine_inputs(
    loaded: LoadedVariant, sample: Sample, options: dict[str, float]
) -> dict[str, Array]:
    """What the steps before the engine make of a sample: the tensors that the file takes.

    Raises:
        ConversionError: the sample does not fit the signature.
    """
    variant = loaded.variant
    context = StepContext(loaded.signature, variant, loaded.package.read_path)
    try:
        state: dict[str, Any] = {**InputChecker(loaded.signature).check(sample.value)}
        state["options"] = options
        for step in compile_steps(variant.pipeline.pre, context, "pipeline.pre"):
            step(state)
    except WhereverError as error:
        raise _failed(loaded, sample, error) from error
    return {spec.name: state[spec.name] for spec in loaded.session.inputs}


def write_inputs(
    loaded: LoadedVariant, samples: Sequence[Sample], options: dict[str, float], folder: Path
) -> None:
    """Write every sample's tensors into a file of its own, in order."""
    folder.mkdir()
    for position, sample in enumerate(samples):
        tensors: dict[str, Any] = dict(engine_inputs(loaded, sample, options))
        np.savez(folder / f"{position:06}.npz", **tensors)


def rows_are_independent(loaded: LoadedVariant, rows: Sequence[dict[str, Array]]) -> bool:
    """Whether each row gives the same alone as in a batch, wherever it stands in it."""
    session = loaded.session
    if len(rows) < 2 or any(spec.shape[:1] != (-1,) for spec in session.inputs):
        return False
    together = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    turned = {name: array[::-1] for name, array in together.items()}
    single = [session.run(row) for row in rows]
    joined = {name: np.concatenate([row[name] for row in single]) for name in single[0]}
    forward, backward = session.run(together), session.run(turned)
    return all(
        _same(forward[name], joined[name]) and _same(backward[name][::-1], joined[name])
        for name in joined
    )


def _same(a: Array, b: Array) -> bool:
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5)


def _failed(loaded: LoadedVariant, sample: Sample, error: WhereverError) -> ConversionError:
    return ConversionError(f"sample {sample.name} in variant {loaded.variant.id}: {error}")
