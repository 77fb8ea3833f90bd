"""The figures of a variant's answers with their bootstrap intervals, whatever the metric. Pure."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from wherever_contracts.certificate import Interval
from wherever_convert.judges import Detections, Embedding, Judge, Tensors, TopOne
from wherever_convert.metrics import class_matches
from wherever_convert.proof.bootstrap import (
    FEWER_DRAWS,
    draws,
    interval,
    mean_average_precisions,
    means,
    r_squares,
    ratios,
)
from wherever_edge.agreement import cosine, matched_detections, sure

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array


class Figures(NamedTuple):
    """What answers are worth by the metric, and how far they are the reference's."""

    metric: Interval
    agreement: Interval


def figures(judge: Judge, kept: Sequence[Any], reference: Sequence[Any], seed: int = 0) -> Figures:
    """Both figures of a variant's answers.

    Args:
        judge: who scores them.
        kept: what it kept of the variant's answers, in the samples' order.
        reference: likewise of the reference's.
        seed: of the draws.
    """
    agreement = interval(
        judge.agreement(kept, reference), _agreements(judge, kept, reference, seed)
    )
    if judge.truth is None and _is_ours(judge):
        return Figures(agreement, agreement)
    value = judge.score(kept, reference)
    return Figures(interval(value, _scores(judge, kept, reference, seed)), agreement)


def _is_ours(judge: Judge) -> bool:
    """Whether its score without truths is its agreement."""
    return type(judge) in {TopOne, Detections, Embedding, Tensors}


def _scores(judge: Judge, kept: Sequence[Any], reference: Sequence[Any], seed: int) -> Array:
    kind, truth = type(judge), judge.truth
    if kind is TopOne:
        return means(np.equal(kept, truth), draws(len(kept), seed))
    if kind is Detections:
        present = [each.classes[~each.crowd] for each in truth]
        kinds = np.unique(np.concatenate(present)).tolist()
        matches = [class_matches(kept, truth, kind) for kind in kinds]
        return mean_average_precisions(matches, draws(len(kept), seed, FEWER_DRAWS))
    if kind is Tensors:
        found = np.array([tensors[0].ravel()[0] for tensors in kept], np.float64)
        return r_squares(found, truth, draws(len(kept), seed))
    return _scored_again(judge, kept, reference, seed)


def _agreements(judge: Judge, kept: Sequence[Any], reference: Sequence[Any], seed: int) -> Array:
    kind, times = type(judge), draws(len(kept), seed)
    pairs = list(zip(kept, reference, strict=True))
    if kind is TopOne:
        return means(np.array([a == b for a, b in pairs]), times)
    if kind is Detections:
        both = [(sure(a), sure(b)) for a, b in pairs]
        matched = np.array([2 * matched_detections(a, b) for a, b in both])
        return ratios(matched, np.array([len(a.scores) + len(b.scores) for a, b in both]), times)
    if kind is Tensors:
        return _closenesses(pairs, times)
    if kind is Embedding:
        return means(np.array([cosine(a, b) for a, b in pairs]), times)
    return means(np.array([judge.agreement([a], [b]) for a, b in pairs]), times)


def _closenesses(pairs: Sequence[tuple[Any, Any]], times: Array) -> Array:
    """1 - relative root mean square difference, of each draw; see `metrics.closeness`."""
    errors, scales = np.zeros(len(pairs)), np.zeros(len(pairs))
    for position, (ours, theirs) in enumerate(pairs):
        if any(a.shape != b.shape for a, b in zip(ours, theirs, strict=True)):
            return np.zeros(len(times))
        for a, b in zip(ours, theirs, strict=True):
            errors[position] += np.square(a.astype(np.float64) - b).sum()
            scales[position] += np.square(b.astype(np.float64)).sum()
    lost = np.sqrt(np.where(times @ errors > 0, ratios(errors, scales, times), 0.0))
    drawn: Array = np.maximum(0.0, 1 - lost)
    return drawn


def _scored_again(judge: Judge, kept: Sequence[Any], reference: Sequence[Any], seed: int) -> Array:
    """The score of each draw by a metric of the user's own, which is asked every time."""
    again = copy.copy(judge)
    values: list[float] = []
    for times in draws(len(kept), seed, FEWER_DRAWS):
        chosen = np.repeat(np.arange(len(kept)), times).tolist()
        if judge.truth is not None:
            again.truth = _taken(judge.truth, chosen)
        values.append(again.score(_taken(kept, chosen), _taken(reference, chosen)))
    return np.array(values, np.float64)


def _taken(values: Any, positions: Sequence[int]) -> Any:
    if isinstance(values, np.ndarray):
        taken: Array = np.take(cast("Array", values), positions, axis=0)
        return taken
    return [values[position] for position in positions]
