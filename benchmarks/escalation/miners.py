"""Sedna's hard-example miners, written anew from their definitions.

KubeEdge Sedna decides with them which inputs of the small model go to the large one
(https://github.com/kubeedge/sedna, lib/sedna/algorithms/hard_example_mining/
hard_example_mining.py, commit 2c30e569): "Threshold", "CrossEntropy" and "IBT" (image-box
thresholds, its default), each with thresholds of 0.5 unless somebody sets others. What they are
given are scores: of a detector those of its boxes; of a classifier those of its classes for
CrossEntropy, and one box with the best of them for the two others. As there, an answer without
any box is never hard.

Two cases in which Sedna raises are decided here: 0 * log(0) is 0, and of a single score, where it
divides by log(1), the entropy is divided by log(2). Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from wherever_contracts.tensors import Array

DEFAULT = 0.5
_BOX_STEPS = 100
_IMAGE_STEPS = 101


class Curve(NamedTuple):
    """What the settings of a miner come to over a population.

    Attributes:
        escalated: the share of inputs that is hard, float64 [settings].
        risk: the mean loss, where the loss of hard inputs is 0, float64 [settings].
    """

    escalated: Array
    risk: Array

    def at_risk(self, risk: float) -> float:
        """The least share escalated by any setting whose mean loss is at most this; NaN: none."""
        within = self.risk <= risk + 1e-12
        return float(self.escalated[within].min()) if within.any() else float("nan")


Scores = Sequence[Array]


def threshold_hard(scores: Scores, threshold: float = DEFAULT) -> Array:
    """Sedna's Threshold: the mean score of the boxes is below the threshold. bool [n]."""
    hard: Array = mean_score(scores) < threshold
    return hard


def cross_entropy_hard(scores: Scores, threshold: float = DEFAULT) -> Array:
    """Sedna's CrossEntropy: 1 - (the scores' entropy / log k) is below the threshold. bool [n]."""
    hard: Array = certainty(scores) < threshold
    return hard


def ibt_hard(scores: Scores, box: float = DEFAULT, image: float = DEFAULT) -> Array:
    """Sedna's IBT: the share of boxes with a score of at most `box` is at least 1 - `image`."""
    return np.array([each.size > 0 and float((each <= box).mean()) >= 1 - image for each in scores])


def mean_score(scores: Scores) -> Array:
    """What Threshold compares; infinite without a box. float64 [n]."""
    return np.array([each.mean() if each.size else np.inf for each in scores])


def certainty(scores: Scores) -> Array:
    """What CrossEntropy compares; infinite without a score. float64 [n]."""
    return np.array([_certainty(each) for each in scores])


def swept(scores: Scores, boxes: Scores, loss: Array) -> dict[str, Curve]:
    """Each miner at every setting that tells inputs apart (of IBT, at 100 x 101 settings).

    Args:
        scores: what CrossEntropy is given, of each input.
        boxes: what the others are given.
        loss: float64 [n].
    """
    return {
        "Threshold": _curve_of(mean_score(boxes), loss),
        "CrossEntropy": _curve_of(certainty(scores), loss),
        "IBT": _curve_of_ibt(boxes, loss),
    }


def at_defaults(scores: Scores, boxes: Scores, loss: Array) -> dict[str, tuple[float, float]]:
    """Each miner as it comes: the share escalated, and the mean loss."""
    given: dict[str, tuple[Callable[[Scores], Array], Scores]] = {
        "Threshold": (threshold_hard, boxes),
        "CrossEntropy": (cross_entropy_hard, scores),
        "IBT": (ibt_hard, boxes),
    }
    hard = {name: is_hard(what) for name, (is_hard, what) in given.items()}
    return {name: (float(each.mean()), _risk(each, loss)) for name, each in hard.items()}


def _certainty(scores: Array) -> float:
    if not scores.size:
        return float("inf")
    seen = scores[scores > 0]
    return 1 + float((seen * np.log(seen)).sum()) / float(np.log(max(scores.size, 2)))


def _risk(hard: Array, loss: Array) -> float:
    return float(np.where(hard, 0, loss).mean())


def _curve_of(coefficient: Array, loss: Array) -> Curve:
    """Of a miner that compares one number with a threshold."""
    order = np.argsort(coefficient, kind="stable")
    ordered, kept = coefficient[order], loss[order]
    finite = np.unique(ordered[np.isfinite(ordered)])
    above = np.nextafter(finite[-1:], np.inf)
    hard = np.searchsorted(ordered, np.concatenate([finite, above]))
    left = np.concatenate([np.cumsum(kept[::-1])[::-1], [0.0]])
    return Curve(hard / loss.size, left[hard] / loss.size)


def _curve_of_ibt(boxes: Scores, loss: Array) -> Curve:
    found = np.concatenate(list(boxes))
    levels = np.quantile(found, np.linspace(0, 1, _BOX_STEPS))
    share = np.array([[_share_below(each, level) for each in boxes] for level in levels])
    images = np.linspace(0, 1, _IMAGE_STEPS)
    hard = (share[:, None, :] >= 1 - images[:, None]).reshape(-1, loss.size)
    return Curve(hard.mean(axis=1), np.where(hard, 0, loss).mean(axis=1))


def _share_below(scores: Array, level: float) -> float:
    return float((scores <= level).mean()) if scores.size else float("-inf")
