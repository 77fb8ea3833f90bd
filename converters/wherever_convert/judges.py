"""What a variant's answers are worth: against the samples' truth, or against the float model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_contracts.manifest import (
    DetectionsValue,
    EmbeddingValue,
    LabelValue,
    Signature,
)
from wherever_convert.judge import Judge
from wherever_convert.label_judges import F1, TopFive, TopOne
from wherever_convert.metrics import (
    OVERLAPS,
    Labelled,
    mean_average_precision,
    r_squared,
)
from wherever_convert.own_metric import Own, own_metric
from wherever_convert.samples.sample import Boxes, Sample, Truth
from wherever_edge.agreement import (
    Found,
    closeness,
    cosine,
    detection_agreement,
    found_in,
    sure,
    surest,
    thinned,
)

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.own_metric import OwnMetric

__all__ = [
    "F1",
    "Detections",
    "Embedding",
    "HalfOverlap",
    "Judge",
    "Tensors",
    "TopFive",
    "TopOne",
    "categories",
    "check_numbering",
    "class_numbers",
    "correctness",
    "judge_for",
    "measuring_options",
]

_NAMED: Mapping[str, tuple[str, ...]] = {
    "label": ("top-1", "top-5", "f1", "f1:LABEL"),
    "detections": ("mAP", "AP50"),
    "embedding": (),
    "tensors": ("R2",),
}
_GIVES = {
    "label": "labels",
    "detections": "detections",
    "embedding": "vectors",
    "tensors": "tensors",
}
# What one class further comes to by chance is seldom told apart with fewer labels.
_FEW_LABELS = 4
_OFTEN = 0.3
# What detectors are asked for when they are measured: the threshold for display is another thing.
_EVERYTHING = 0.001


def judge_for(signature: Signature, samples: Sequence[Sample], metric: object = None) -> Judge:
    """The judge for what a model promises and what is known of the samples.

    Args:
        signature: of the model.
        samples: what it is asked, in order.
        metric: by default top-1, mAP or R2, or without truths the agreement with the float model
            (of vectors the cosine). Else one of those; "top-5", "f1" (the mean over classes) or
            "f1:LABEL" for labels; "AP50" for detections; "FILE.py:NAME", or in Python a function
            of the answers and the truths.

    Raises:
        ConversionError: the samples' truth is of another kind, or names unknown classes; or the
            metric does not fit the model or the samples.
    """
    truths = [sample.truth for sample in samples]
    function = own_metric(metric) if isinstance(metric, str) and ":" in metric[3:] else metric
    if function is None:
        return _usual(signature, truths)
    if callable(function):
        return Own(cast("OwnMetric", function), signature, truths, _unlabelled(signature))
    if not isinstance(function, str):
        raise ConversionError(f"a metric is a name or a function, not a {type(metric).__name__}")
    return _named(function, signature, truths)


def _usual(signature: Signature, truths: Sequence[Truth]) -> Judge:
    """Who measures where nothing else was asked for."""
    value = signature.value
    if any(truth is None for truth in truths):
        return _unlabelled(signature)
    if isinstance(value, LabelValue):
        return TopOne(value.scores, class_numbers(truths, value.labels), value.labels)
    if isinstance(value, DetectionsValue):
        return Detections(value, _labelled(truths, value.labels))
    if isinstance(value, EmbeddingValue):
        return Embedding(value.vector)
    return Tensors(_numbers(signature, truths))


def _unlabelled(signature: Signature) -> Judge:
    """Who measures where the truth is not known."""
    value = signature.value
    if isinstance(value, LabelValue):
        return TopOne(value.scores, None, value.labels)
    if isinstance(value, DetectionsValue):
        return Detections(value, None)
    return Embedding(value.vector) if isinstance(value, EmbeddingValue) else Tensors(None)


def _named(name: str, signature: Signature, truths: Sequence[Truth]) -> Judge:
    """The judge of that name.

    Raises:
        ConversionError: there is none for this model, or the truth is not known.
    """
    value, wanted = signature.value, name.strip().lower()
    without = {"label": "agreement", "detections": "agreement", "embedding": "cosine"}
    if wanted == without.get(value.kind, "closeness"):
        return _unlabelled(signature)
    known = {name.lower() for name in _NAMED[value.kind]}
    if wanted not in known and not (wanted.startswith("f1:") and value.kind == "label"):
        fitting = ", ".join((*_NAMED[value.kind], without.get(value.kind, "closeness")))
        raise ConversionError(
            f"the metric {name!r} does not fit a model that gives {_GIVES[value.kind]}; "
            f"those that do: {fitting}, or a function of your own (FILE.py:NAME)"
        )
    missing = sum(truth is None for truth in truths)
    if missing:
        raise ConversionError(
            f"the metric {name!r} needs the truth of each sample, and {missing} of {len(truths)} "
            f"have none"
        )
    usual = _usual(signature, truths)
    if isinstance(value, LabelValue):
        return _of_labels(name, value, usual)
    return (
        HalfOverlap(value, usual.truth)
        if isinstance(value, DetectionsValue) and wanted == "ap50"
        else usual
    )


def _of_labels(name: str, value: LabelValue, usual: Judge) -> Judge:
    if name.lower() == "top-5":
        return TopFive(value.scores, usual.truth, value.labels)
    if name.lower() == "f1":
        return F1(value.scores, usual.truth, value.labels)
    if name.lower().startswith("f1:"):
        label = name.partition(":")[2].strip()
        if label not in value.labels:
            known = ", ".join(value.labels[:5])
            raise ConversionError(
                f"the metric {name!r}: the model has no label {label!r} ({known}, ...)"
            )
        return F1(value.scores, usual.truth, value.labels, label)
    return usual


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
            f"{_advice(unknown, truths, labels)}"
        )
    return np.array(numbers)


def check_numbering(judge: Judge, kept: Sequence[Any]) -> None:
    """Refuse truths that are right nearly nowhere, and often were all of them one class further.

    Args:
        judge: who kept the answers.
        kept: those of the float model.

    Raises:
        ConversionError: they are.
    """
    if not isinstance(judge, TopOne) or judge.truth is None or len(judge.labels) < _FEW_LABELS:
        return
    found, truth = np.asarray(kept), np.asarray(judge.truth)
    right = float((found == truth).mean())
    for offset in (1, -1):
        moved = float((found == truth + offset).mean())
        if moved > max(_OFTEN, 4 * right):
            raise ConversionError(
                f"the float model is right for {right:.1%} of the samples, and would be for "
                f"{moved:.1%} were each class one place {'later' if offset > 0 else 'earlier'} "
                f"among its {len(judge.labels)} labels; where classes are numbers: "
                f"--label-offset {offset}, else correct the labels (a background class at the "
                f"front is often missing or too much)"
            )


def correctness(judge: Judge, kept: Sequence[Any]) -> Array | None:
    """How far each answer is right, 0 to 1 [n]: its class, or the F1 of its sure detections.

    None where the truth is not known, or there is none for such answers.
    """
    if judge.truth is None:
        return None
    if isinstance(judge, Detections):
        return judge.agreements(kept, [_as_found(each) for each in judge.truth])
    return judge.per_sample(kept, kept) if isinstance(judge, TopOne) else None


def categories(judge: Judge, kept: Sequence[Any]) -> Array | None:
    """The class that each answer names [n], as `wherever_edge.agreement.category_of` tells it.

    None where answers name none.
    """
    if isinstance(judge, Detections):
        return np.array([surest(each) for each in kept])
    return np.asarray(kept) if isinstance(judge, TopOne) else None


class Detections(Judge):
    """COCO's mAP, or the F1 against the float model's detections."""

    def __init__(self, value: DetectionsValue, truth: Sequence[Labelled] | None) -> None:
        self._value = value
        self.truth = truth
        self.labels = value.labels
        self.metric = "agreement" if truth is None else "mAP"

    def keep(self, outputs: Mapping[str, Array]) -> Found:
        """Boxes, scores and classes."""
        return found_in(self._value, outputs)

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Mean average precision, or agreement when the boxes are not known."""
        if self.truth is None:
            return self.agreement(kept, reference)
        return mean_average_precision(kept, self.truth)

    def agreement(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """F1 of the sure detections of both."""
        return detection_agreement([sure(f) for f in kept], [sure(f) for f in reference])


class HalfOverlap(Detections):
    """COCO's AP50: what overlaps by half is found."""

    def __init__(self, value: DetectionsValue, truth: Sequence[Labelled]) -> None:
        super().__init__(value, truth)
        self.metric = "AP50"

    def score(self, kept: Sequence[Any], reference: Sequence[Any]) -> float:
        """Average precision at an overlap of 0.5."""
        return mean_average_precision(kept, cast("Sequence[Labelled]", self.truth), OVERLAPS[:1])


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
        return float(np.mean(self.agreements(kept, reference)))

    def agreements(self, kept: Sequence[Any], reference: Sequence[Any]) -> Array:
        """The cosine of each pair."""
        return np.array([cosine(a, b) for a, b in zip(kept, reference, strict=True)], np.float64)

    def per_sample(self, kept: Sequence[Any], reference: Sequence[Any]) -> Array:
        """The cosine of each pair."""
        return self.agreements(kept, reference)


class Tensors(Judge):
    """R2 of a single number against its truth, or closeness to the float model's tensors."""

    def __init__(self, truth: Array | None) -> None:
        self.truth = truth
        self.metric = "closeness" if truth is None else "R2"

    def keep(self, outputs: Mapping[str, Array]) -> list[Array]:
        """Every tensor, of large ones numbers at even distances."""
        return [thinned(array) for array in outputs.values()]

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


def _class_number(truth: Any, positions: Mapping[str, int]) -> int | None:
    name = str(int(truth)) if isinstance(truth, float) and truth.is_integer() else str(truth)
    if name in positions:
        return positions[name]
    return int(name) if name.isdecimal() and int(name) < len(positions) else None


def _numbers(signature: Signature, truths: Sequence[Truth]) -> Array | None:
    """Truths as numbers, where the model gives one number; None when they are none."""
    if all(isinstance(truth, float) for truth in truths):
        return np.array(truths, np.float64)
    (first, *others) = signature.outputs
    if others or not first.dtype.startswith("float"):
        return None
    try:
        return np.array([float(cast("str", truth)) for truth in truths], np.float64)
    except (TypeError, ValueError):
        return None


def _advice(unknown: Sequence[str], truths: Sequence[Any], labels: Sequence[str]) -> str:
    counted_from_one = list(unknown) == [str(len(labels))]
    if counted_from_one and not {"0", 0.0}.intersection(truths):
        return "the samples seem to count classes from 1: --label-offset -1"
    return (
        "name the samples' classes as the model does, or give it the names that it was trained "
        "with (wherever convert --labels FILE)"
    )


def _as_found(truth: Labelled) -> Found:
    """What should be found, as if it had been; a crowd is no single thing."""
    one = ~truth.crowd
    return Found(truth.boxes[one], np.ones(int(one.sum())), truth.classes[one])


def _labelled(truths: Sequence[Any], labels: Sequence[str]) -> list[Labelled]:
    if not all(isinstance(truth, Boxes) for truth in truths):
        raise ConversionError("a model that detects is measured on samples with boxes (COCO json)")
    return [
        Labelled(truth.boxes, class_numbers(truth.names, labels).astype(np.int64), truth.crowd)
        for truth in truths
    ]
