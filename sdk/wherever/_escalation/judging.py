"""Whether what somebody says of an answer makes sense, and how right the answer then is. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, cast

import numpy as np

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import DetectionsValue, LabelValue
from wherever_contracts.values import Box, Detection
from wherever_edge.agreement import agreement

if TYPE_CHECKING:
    from wherever_contracts.manifest import Signature
    from wherever_contracts.tensors import Array

# So many labels are named in an error; of more, those that are spelled alike.
_FEW = 12
_ACCEPTED = "say accepted=True or accepted=False instead"

Outputs = Mapping[str, "Array"]
# What one of the things in an image should be given as; whatever else comes is refused.
_Thing: TypeAlias = Detection | Mapping[str, object] | Sequence[object]


class Truth(NamedTuple):
    """What is known to be right for a call; one of the two is set.

    Attributes:
        label: the right label; of detections, all that there is to be found.
        accepted: whether the answer that was given is right.
    """

    label: str | tuple[Detection, ...] | None = None
    accepted: bool | None = None

    def plain_label(self) -> Any:
        """The label as plain data, ready for JSON."""
        if not isinstance(self.label, tuple):
            return self.label
        return [{"label": each.label, "box": _corners(each.box)} for each in self.label]


class Rights(NamedTuple):
    """How right the answer given is, 0 to 1, and the other one; None: there is none, or unknown."""

    given: float
    other: float | None


def truth_of(signature: Signature | None, label: object, accepted: object) -> Truth:
    """Check what somebody says of an answer.

    Args:
        signature: the model's; None only where no label is given.
        label: one of its labels; of a model that detects, a list of all that there is: each a
            `Detection`, a pair of label and box, or as `Prediction.to_dict` has it.
        accepted: True or False.

    Raises:
        InputError: it is not exactly one of the two, or not what this model can be told.
    """
    if (label is None) == (accepted is None):
        found = "neither" if label is None else "both"
        raise InputError("", "one of label= and accepted=", found, kind="feedback")
    if accepted is not None:
        if not isinstance(accepted, (bool, np.bool_)):
            raise InputError("accepted", "True or False", _shown(accepted), kind="argument")
        return Truth(accepted=bool(cast("bool", accepted)))
    value = None if signature is None else signature.value
    if isinstance(value, LabelValue):
        return Truth(_known(value.labels, label))
    if isinstance(value, DetectionsValue):
        return Truth(_detections(value.labels, label))
    expected = f"nothing, as the model names no labels: {_ACCEPTED}"
    raise InputError("label", expected, _shown(label), kind="argument")


def judge(signature: Signature, truth: Truth, given: Outputs, other: Outputs | None) -> Rights:
    """How right the answers to a call are.

    Args:
        signature: what they fit.
        truth: what was said, about the one that was given.
        given: its output tensors.
        other: those of the answer that another variant gave; None: there was none.
    """
    if truth.accepted is None:
        right = _right(signature, given, truth.label)
        return Rights(right, None if other is None else _right(signature, other, truth.label))
    right = float(truth.accepted)
    if other is None:
        return Rights(right, None)
    if agreement(signature, given, other) == 1.0:
        return Rights(right, right)
    # of two labels that differ one at most is right; of other answers that says nothing
    excluded = truth.accepted and isinstance(signature.value, LabelValue)
    return Rights(right, 0.0 if excluded else None)


def _right(signature: Signature, outputs: Outputs, label: object) -> float:
    value = signature.value
    if isinstance(value, LabelValue):
        # by name, as two classes may go by the same one
        return float(value.labels[int(outputs[value.scores].argmax())] == label)
    assert isinstance(value, DetectionsValue)  # noqa: S101 (no other has a label)
    found = cast("tuple[Detection, ...]", label)
    corners = [_corners(each.box) for each in found]
    classes = [value.labels.index(each.label) for each in found]
    there: dict[str, Array] = {
        value.boxes: np.array(corners, np.float32).reshape(-1, 4),
        value.scores: np.ones(len(found), np.float32),
        value.classes: np.array(classes, np.int64),
    }
    return agreement(signature, outputs, there)


def _corners(box: Box) -> list[float]:
    return [box.left, box.top, box.right, box.bottom]


def _known(labels: Sequence[str], label: object) -> str:
    if isinstance(label, str) and label in labels:
        return str(label)
    raise InputError("label", _expected(labels, label), _shown(label), kind="argument")


def _expected(labels: Sequence[str], label: object) -> str:
    """Which labels there are, or which ones may have been meant."""
    alike = get_close_matches(str(label), labels)
    if alike:
        return f"one of the model's labels, perhaps {' or '.join(map(repr, alike))}"
    some = ", ".join(map(repr, labels[:_FEW]))
    return f"one of {some}{', ...' if len(labels) > _FEW else ''}"


def _detections(labels: Sequence[str], label: object) -> tuple[Detection, ...]:
    if not isinstance(label, list | tuple):
        raise _no_list(label)
    return tuple(_detection(labels, each) for each in cast("Sequence[_Thing]", label))


def _detection(labels: Sequence[str], item: _Thing) -> Detection:
    match item:
        case Detection():
            name, box = item.label, item.box
        case {"label": name, "box": box} | (name, box):
            pass
        case _:
            raise _no_list(item)
    return Detection(_known(labels, name), 1.0, _box(box))


def _box(box: object) -> Box:
    sides = _corners(box) if isinstance(box, Box) else cast("Sequence[Any]", box)
    try:
        left, top, right, bottom = map(float, sides)
    except (TypeError, ValueError):
        left = top = right = bottom = math.nan
    if not (left <= right and top <= bottom and math.isfinite(right - left + bottom - top)):
        expected = "a box: left, top, right and bottom, in pixels of the image"
        raise InputError("label", expected, _shown(box), kind="argument")
    return Box(left, top, right, bottom)


def _no_list(found: object) -> InputError:
    expected = (
        "a list of all that there is in the image, each with its label and its box (a Detection, "
        f"or a pair); if the boxes are not known, {_ACCEPTED}"
    )
    return InputError("label", expected, _shown(found), kind="argument")


def _shown(value: object) -> str:
    return f"{value!r:.80} ({type(value).__name__})"
