"""What the answers of a model that gives labels are worth. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_convert.judge import Judge
from wherever_convert.metrics import f1_scores

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array


class TopOne(Judge):
    """Share of samples whose best class is right, or is the float model's."""

    def __init__(self, scores: str, truth: Array | None, labels: tuple[str, ...] = ()) -> None:
        self._scores = scores
        self.truth = truth
        self.labels = labels
        self.metric = "agreement" if truth is None else "top-1"

    def keep(self, outputs: Mapping[str, Array]) -> int:
        """The position of the best class."""
        return int(outputs[self._scores].argmax())

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Top-1 accuracy, or agreement when the classes are not known."""
        truth = reference if self.truth is None else self.truth
        return _same_share(kept, truth)

    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Share of samples with the same best class."""
        return _same_share(kept, reference)

    def per_sample(self, kept: Sequence[Any], reference: Sequence[Any]) -> Array | None:
        """1 for a sample whose best class is right (or the float model's), else 0."""
        truth = reference if self.truth is None else self.truth
        right: Array = np.equal(np.asarray(kept), np.asarray(truth)).astype(np.float64)
        return right


class F1(TopOne):
    """F1 of one class, or the mean over the classes that there are."""

    def __init__(
        self, scores: str, truth: Array, labels: tuple[str, ...], label: str | None = None
    ) -> None:
        super().__init__(scores, truth, labels)
        self._one = None if label is None else labels.index(label)
        self.metric = "macro F1" if label is None else f"F1 of {label}"

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """2 x precision x recall / (precision + recall)."""
        each = f1_scores(np.asarray(kept), np.asarray(self.truth), self._one)
        return float(each.mean())

    def per_sample(self, kept: Sequence[Any], reference: Sequence[Any]) -> Array | None:
        """None: it is no mean over samples."""
        return None


class TopFive(Judge):
    """Share of samples whose class is among the five best."""

    metric = "top-5"

    def __init__(self, scores: str, truth: Array, labels: tuple[str, ...]) -> None:
        self._scores = scores
        self.truth = truth
        self.labels = labels

    def keep(self, outputs: Mapping[str, Array]) -> tuple[int, ...]:
        """The positions of the five best classes, the best first."""
        return tuple((-outputs[self._scores]).argsort(kind="stable")[:5].tolist())

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Top-5 accuracy."""
        return float(np.mean(self.per_sample(kept, reference)))

    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Share of samples with the same best class."""
        return _same_share([best[0] for best in kept], [best[0] for best in reference])

    def per_sample(self, kept: Sequence[Any], reference: Sequence[Any]) -> Array:
        """1 for a sample whose class is among the five best, else 0."""
        pairs = zip(self.truth, kept, strict=True)
        return np.array([right in best for right, best in pairs], np.float64)


def _same_share(kept: Any, wanted: Any) -> float:
    same: Array = np.equal(np.asarray(kept), np.asarray(wanted))
    return float(same.mean())
