"""What a variant's answers are worth: against the samples' truth, or against the float model's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import (
    DetectionsValue,
    EmbeddingValue,
    LabelValue,
    Signature,
)
from wherever_convert.metrics import (
    Found,
    Labelled,
    closeness,
    cosine,
    detection_agreement,
    mean_average_precision,
    r_squared,
)
from wherever_convert.samples.sample import Boxes, Sample

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# What detectors are asked for when they are measured: the threshold for display is another thing.
_EVERYTHING = 0.001
_MOST_NUMBERS = 4096


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


def judge_for(signature: Signature, samples: Sequence[Sample]) -> Judge:
    """The judge for what a model promises and what is known of the samples.

    Raises:
        ConversionError: the samples' truth is of another kind, or names unknown classes.
    """
    value = signature.value
    truths = [sample.truth for sample in samples]
    known = all(truth is not None for truth in truths)
    if isinstance(value, LabelValue):
        right = class_numbers(truths, value.labels) if known else None
        return TopOne(value.scores, right, value.labels)
    if isinstance(value, DetectionsValue):
        return Detections(value, _labelled(truths, value.labels) if known else None)
    if isinstance(value, EmbeddingValue):
        return Embedding(value.vector)
    numbers = [truth for truth in truths if isinstance(truth, float)]
    return Tensors(np.array(numbers) if known and len(numbers) == len(truths) else None)


def measuring_options(signature: Signature) -> dict[str, float]:
    """The options of a call whose answer is measured: defaults, but every detection."""
    options = {option.name: option.default for option in signature.options}
    for option in signature.options:
        if option.name == "min_score":
            options[option.name] = max(option.min, min(_EVERYTHING, option.max))
    return options


def class_numbers(truths: Sequence[Any], labels: Sequence[str]) -> Array:
    """The position of each truth among the labels.

    A truth is a label's name, or a whole number that counts labels from 0.

    Raises:
        ConversionError: a truth is neither.
    """
    positions = {name: position for position, name in enumerate(labels)}
    numbers = [_class_number(truth, positions) for truth in truths]
    unknown = sorted({str(t) for t, n in zip(truths, numbers, strict=True) if n is None})
    if unknown:
        raise ConversionError(
            f"the samples have classes that are not among the model's {len(labels)} labels: "
            f"{', '.join(unknown[:5])} (labels: {', '.join(labels[:5])}, ...); "
            f"give the names that the model was trained with (--labels FILE)"
        )
    return np.array(numbers)


def sure(found: Found, least: float = 0.3) -> Found:
    """The detections that are counted when two variants are compared."""
    kept = found.scores >= least
    return Found(found.boxes[kept], found.scores[kept], found.classes[kept])


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


class Detections(Judge):
    """COCO's mAP, or the F1 against the float model's detections."""

    def __init__(self, value: DetectionsValue, truth: Sequence[Labelled] | None) -> None:
        self._value = value
        self.truth = truth
        self.labels = value.labels
        self.metric = "agreement" if truth is None else "mAP"

    def keep(self, outputs: Mapping[str, Array]) -> Found:
        """Boxes, scores and classes."""
        value = self._value
        return Found(outputs[value.boxes], outputs[value.scores], outputs[value.classes])

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Mean average precision, or agreement when the boxes are not known."""
        if self.truth is None:
            return self.agreement(kept, reference)
        return mean_average_precision(kept, self.truth)

    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """F1 of the sure detections of both."""
        return detection_agreement([sure(f) for f in kept], [sure(f) for f in reference])


class Embedding(Judge):
    """Mean cosine to the float model's vectors."""

    metric = "cosine"

    def __init__(self, vector: str) -> None:
        self._vector = vector

    def keep(self, outputs: Mapping[str, Array]) -> Array:
        """The vector."""
        return outputs[self._vector]

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """The same as agreement: there is no truth for a vector."""
        return self.agreement(kept, reference)

    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Mean cosine."""
        return float(np.mean([cosine(a, b) for a, b in zip(kept, reference, strict=True)]))


class Tensors(Judge):
    """R2 of a single number against its truth, or closeness to the float model's tensors."""

    def __init__(self, truth: Array | None) -> None:
        self.truth = truth
        self.metric = "closeness" if truth is None else "R2"

    def keep(self, outputs: Mapping[str, Array]) -> list[Array]:
        """Every tensor, of large ones numbers at even distances."""
        return [_thinned(array) for array in outputs.values()]

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """R2, or closeness when the numbers are not known."""
        if self.truth is None:
            return self.agreement(kept, reference)
        found = np.array([tensors[0].ravel()[0] for tensors in kept], np.float64)
        return r_squared(found, self.truth)

    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """1 - relative root mean square difference."""
        return closeness(
            [array for tensors in kept for array in tensors],
            [array for tensors in reference for array in tensors],
        )


def _thinned(array: Array) -> Array:
    numbers: Array = array.ravel()[:: 1 + array.size // _MOST_NUMBERS]
    return numbers.copy()


def _same_share(kept: Any, wanted: Any) -> float:
    same: Array = np.equal(np.asarray(kept), np.asarray(wanted))
    return float(same.mean())


def _class_number(truth: Any, positions: Mapping[str, int]) -> int | None:
    name = str(int(truth)) if isinstance(truth, float) and truth.is_integer() else str(truth)
    if name in positions:
        return positions[name]
    return int(name) if name.isdecimal() and int(name) < len(positions) else None


def _labelled(truths: Sequence[Any], labels: Sequence[str]) -> list[Labelled]:
    if not all(isinstance(truth, Boxes) for truth in truths):
        raise ConversionError("a model that detects is measured on samples with boxes (COCO json)")
    return [
        Labelled(truth.boxes, class_numbers(truth.names, labels).astype(np.int64), truth.crowd)
        for truth in truths
    ]
