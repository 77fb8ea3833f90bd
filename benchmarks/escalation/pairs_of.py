"""What the two variants of a cascade say of every input: the pairs that everything here is about.

They are asked once and held in memory; nothing of the test data is written anywhere.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from escalation.cascades import Cascade, opened
from wherever_contracts.manifest import DetectionsValue, LabelValue
from wherever_contracts.receipts import Answer
from wherever_contracts.tensors import Array
from wherever_edge.agreement import category_of, disagreement
from wherever_edge.certification.calibrated import Evidence
from wherever_edge.inputs import check_options


class Pool(NamedTuple):
    """The pairs of a cascade.

    Attributes:
        name: the cascade's.
        source: its variants and inputs, in words.
        confidence: the small variant's, float64 [n].
        loss: how far its answer is from the reference's, float64 [n]; of labels 0 or 1.
        category: the class that it named, int64 [n].
        scores: what else it said, for the miners: of labels the score of each class [classes], of
            detections that of each box [boxes].
        detects: whether the answers are detections.
        group: of each the group of inputs that are alike, such as its clip [n].
    """

    name: str
    source: str
    confidence: Array
    loss: Array
    category: Array
    scores: tuple[Array, ...]
    detects: bool
    group: Array

    @property
    def evidence(self) -> Evidence:
        """What a threshold is certified from."""
        return Evidence(self.confidence, self.loss, self.category)

    def chosen(self, rows: Array) -> Evidence:
        """The pairs of these positions [m], in their order."""
        return Evidence(self.confidence[rows], self.loss[rows], self.category[rows])


def pool_of(name: str, data: Path) -> Pool:
    """Ask both variants of a cascade about every input.

    Args:
        name: one of `cascades.CASCADES`.
        data: the folder of the test data.
    """
    with opened(name, data) as cascade:
        return _asked(cascade)


def _asked(cascade: Cascade) -> Pool:
    signature = cascade.small.signature
    options = check_options(signature, {})
    confidence: list[float] = []
    loss: list[float] = []
    category: list[int] = []
    scores: list[Array] = []
    for given in cascade.inputs:
        own = cascade.small.answer(given, options)
        other = cascade.large.answer(given, options)
        confidence.append(_sure(own))
        loss.append(disagreement(signature, own.outputs, other.outputs))
        category.append(category_of(signature, own.outputs))
        scores.append(_scores(signature.value, own))
    return Pool(
        cascade.name,
        cascade.source,
        np.array(confidence, np.float64),
        np.array(loss, np.float64),
        np.array(category, np.int64),
        tuple(scores),
        isinstance(signature.value, DetectionsValue),
        np.array(cascade.groups),
    )


def _sure(answer: Answer) -> float:
    if answer.confidence is None:
        raise ValueError("the small variant of a cascade must give a confidence")
    return float(answer.confidence)


def _scores(value: object, answer: Answer) -> Array:
    if not isinstance(value, LabelValue | DetectionsValue):
        raise TypeError(f"answers with scores are needed, not {type(value).__name__}")
    found: Array = answer.outputs[value.scores].astype(np.float64).ravel()
    return found
