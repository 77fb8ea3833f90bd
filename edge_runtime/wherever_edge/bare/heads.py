"""Which detector an output belongs to, told by its shape. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from wherever_contracts.tensors import TensorSpec

_STRIDES = (8, 16, 32)
_PICODET_STRIDES = (8, 16, 32, 64)
_ANCHORS = 3  # of YOLOv5, in each cell


class Head(NamedTuple):
    """How a kind of detector takes its image, and the step that decodes what it gives.

    Attributes:
        image: parameters of `image_tensor` that the detector's authors trained with.
        decode: the step.
        labels: how many labels it tells apart; None when its outputs do not say.
    """

    image: dict[str, Any]
    decode: dict[str, Any]
    labels: int | None


def find_head(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> Head | None:
    """The detector that gives `outputs` for an image of `size` (height, width); None: not known."""
    finders: tuple[Callable[..., Head | None], ...] = (
        _fastestdet,
        _yolox,
        _yolov8,
        _yolov5,
        _picodet,
        _ssd,
    )
    return next((head for find in finders if (head := find(outputs, size)) is not None), None)


def _fastestdet(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> Head | None:
    if len(outputs) != 1 or len(outputs[0].shape) != 4:
        return None
    name, (_, channels, rows, columns) = outputs[0].name, outputs[0].shape
    if channels < 6 or rows < 1 or size != (rows * 16, columns * 16):
        return None
    image = {"fit": "stretch", "order": "bgr", "scale": 1 / 255}
    return Head(image, {"op": "fastestdet_boxes", "name": name}, channels - 5)


def _yolox(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> Head | None:
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in _STRIDES)
    if len(outputs) != 1 or len(outputs[0].shape) != 3 or outputs[0].shape[1] != cells:
        return None
    if outputs[0].shape[2] < 6:
        return None
    image = {"fit": "letterbox_top_left", "pad": 114, "order": "bgr", "scale": 1.0}
    decode = {"op": "yolox_boxes", "name": outputs[0].name, "size": list(size)}
    return Head(image, decode, outputs[0].shape[2] - 5)


def _yolov8(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> Head | None:
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in _STRIDES)
    if len(outputs) != 1 or len(outputs[0].shape) != 3 or outputs[0].shape[2] != cells:
        return None
    if outputs[0].shape[1] < 5:
        return None
    image = {"fit": "letterbox", "pad": 114, "order": "rgb", "scale": 1 / 255}
    return Head(image, {"op": "yolov8_boxes", "name": outputs[0].name}, outputs[0].shape[1] - 4)


def _yolov5(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> Head | None:
    cells = sum((size[0] // stride) * (size[1] // stride) for stride in _STRIDES)
    if len(outputs) != 1 or len(outputs[0].shape) != 3 or outputs[0].shape[1] != _ANCHORS * cells:
        return None
    if outputs[0].shape[2] < 6:
        return None
    image = {"fit": "letterbox", "pad": 114, "order": "rgb", "scale": 1 / 255}
    return Head(image, {"op": "yolov5_boxes", "name": outputs[0].name}, outputs[0].shape[2] - 5)


def _picodet(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> Head | None:
    """Two tensors for each stride: first those of the scores, then those of the sides."""
    strides = _PICODET_STRIDES
    if len(outputs) != 2 * len(strides) or any(len(each.shape) != 3 for each in outputs):
        return None
    cells = [math.ceil(size[0] / stride) * math.ceil(size[1] / stride) for stride in strides]
    scores, sides = outputs[: len(strides)], outputs[len(strides) :]
    if [each.shape[1] for each in outputs] != cells * 2:
        return None
    labels, distances = {each.shape[2] for each in scores}, {each.shape[2] for each in sides}
    if len(labels) != 1 or len(distances) != 1 or min(distances) < 8 or min(distances) % 4:
        return None
    image = {
        "fit": "stretch",
        "order": "bgr",
        "scale": 1.0,
        "mean": [103.53, 116.28, 123.675],
        "std": [57.375, 57.12, 58.395],
    }
    decode = {
        "op": "picodet_boxes",
        "scores": [each.name for each in scores],
        "sides": [each.name for each in sides],
        "size": list(size),
    }
    return Head(image, decode, labels.pop())


def _ssd(outputs: Sequence[TensorSpec], size: tuple[int, int]) -> Head | None:
    """TFLite's detection post-processing: boxes, classes, scores and a count, in this order."""
    if len(outputs) != 4 or len(outputs[0].shape) not in (2, 3):
        return None
    boxes, classes, scores, count = (output.name for output in outputs)
    image = {"fit": "stretch", "order": "rgb", "scale": 1 / 127.5, "mean": [1.0]}
    decode = {
        "op": "ssd_boxes",
        "boxes": boxes,
        "classes": classes,
        "scores": scores,
        "count": count,
        "size": list(size),
    }
    return Head(image, decode, None)
