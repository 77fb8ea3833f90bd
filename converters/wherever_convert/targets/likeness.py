"""Comparing a file with the one that it was made of, on the reference's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.adapting import laid_out, matched
from wherever_convert.running import open_model
from wherever_convert.targets import CannotMakeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wherever_contracts.tensors import Array, TensorSpec
    from wherever_convert.model_file import ModelFile, Precision
    from wherever_convert.targets import Job
    from wherever_edge.engines.engine import Session

_ROWS = 8


class Measure(NamedTuple):
    """How two outputs are compared, how far apart they may be, and in which words."""

    of: Callable[[Array, Array], float]
    most: float
    words: str


def refuse_unlike(job: Job, file: ModelFile) -> float:
    """How far a float file's answers are from those of the file that it was made of.

    In float32 that is the largest gap of a number, as a share of the largest number of its output:
    at most 1e-4. Weights in float16 move single numbers of a detector's head by more; there it is
    the root mean square of the gaps, as a share of that of the numbers: at most 1e-2.

    Args:
        job: what it was made of, and the samples.
        file: what was made.

    Raises:
        CannotMakeError: it is further off, or cannot be compared.
    """
    measure = _MEASURES[file.precision]
    try:
        found = gap(job, file, measure)
    except ConversionError as error:
        raise CannotMakeError(str(error)) from error
    if not found <= measure.most:
        raise CannotMakeError(
            f"{job.target.title}: its numbers are off by {found:.1e} {measure.words}, "
            f"at most {measure.most:.0e} is right"
        )
    return float(f"{found:.1e}")


def gap(job: Job, file: ModelFile, measure: Measure) -> float:
    """How far a file's answers are from those of the file that it was made of.

    Raises:
        ConversionError: one of the two cannot be run, or their tensors cannot be matched.
    """
    reference = job.bench.draft.variant(job.bench.reference)
    feeds = job.bench.feeds(_ROWS)
    old, new = open_model(job.of, "the model"), open_model(file, job.target.title)
    try:
        pairs = matched("outputs", old.outputs, new.outputs)
        wanted = answers(old, reference.inputs, feeds)
        given = answers(new, reference.inputs, feeds)
        return max(
            measure.of(_all(wanted, name), _all(given, spec.name)) for name, spec in pairs.items()
        )
    finally:
        old.close()
        new.close()


def answers(
    session: Session, inputs: Sequence[TensorSpec], feeds: Sequence[Mapping[str, Array]]
) -> list[dict[str, Array]]:
    """What a file answers to feeds that are laid out for another.

    Args:
        session: of the file.
        inputs: what the other file takes.
        feeds: in the other's names and layout.

    Raises:
        ConversionError: its inputs cannot be matched with the other's.
    """
    taken = matched("inputs", inputs, session.inputs)
    return [
        session.run(
            {
                spec.name: np.ascontiguousarray(laid_out(feed[name], spec))
                for name, spec in taken.items()
            }
        )
        for feed in feeds
    ]


def _all(answers: Sequence[Mapping[str, Array]], name: str) -> Array:
    """An output of every run; runs of different lengths are put one after the other."""
    return np.concatenate([answer[name].ravel() for answer in answers])


def worst_gap(wanted: Array, given: Array) -> float:
    """The largest gap of a number, as a share of the largest number; infinite if not comparable."""
    return _share(wanted, given, lambda numbers: float(np.abs(numbers).max(initial=0.0)))


def typical_gap(wanted: Array, given: Array) -> float:
    """The root mean square of the gaps, as a share of that of the numbers; likewise."""
    return _share(wanted, given, lambda numbers: float(np.linalg.norm(numbers)))


_MEASURES: Mapping[Precision, Measure] = {
    "float32": Measure(worst_gap, 1e-4, "of the largest one"),
    "float16": Measure(typical_gap, 1e-2, "of their size"),
}


def _share(wanted: Array, given: Array, size: Callable[[Array], float]) -> float:
    if wanted.shape != given.shape:
        return float("inf")
    before = wanted.astype(np.float64).ravel()
    found = size(given.astype(np.float64).ravel() - before) / (size(before) or 1.0)
    return found if np.isfinite(found) else float("inf")
