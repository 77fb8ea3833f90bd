"""What judges are: they keep what matters of answers, and score what was kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array


class Judge(ABC):
    """Keeps what matters of each answer, and scores what was kept.

    Attributes:
        metric: what `score` gives, by its usual name; more is better.
        labels: the names of the classes that kept answers count.
        truth: what is right for each sample, in the form of what is kept; None: not known.
    """

    metric: str
    labels: tuple[str, ...] = ()
    truth: Any = None

    @abstractmethod
    def keep(self, outputs: Mapping[str, Array]) -> Any:
        """What matters of an answer's outputs."""

    @abstractmethod
    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """The metric over every answer, in the samples' order; at most 1."""

    @abstractmethod
    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """How far the answers are those of the float model, 0 to 1."""

    def agreements(self, kept: Sequence[Any], reference: Sequence[Any]) -> Array:
        """How far each answer is the float model's, 0 to 1; float64 [n]."""
        pairs = zip(kept, reference, strict=True)
        return np.array([self.agreement([own], [other]) for own, other in pairs], np.float64)

    def per_sample(self, kept: Sequence[Any], reference: Sequence[Any]) -> Array | None:
        """Each sample's score [n], where the metric is their mean; None for other metrics."""
        return None
