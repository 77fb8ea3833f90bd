"""More decoders of detectors: YOLOv8's rows, and TFLite's own detection post-processing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_contracts.tensors import Array
from wherever_edge.pipelines.detect import Calibration, Candidates, decoding, detections_of
from wherever_edge.pipelines.image import PLACEMENT
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory

_AS_IS = Calibration(1.0, 0.0)


def yolov8_boxes(context: StepContext, *, name: str, floor: float = 0.05) -> Step:
    """Decode YOLOv8's columns into candidates.

    The tensor is [1, 4 + labels, cells]: centre, width and height in pixels of the tensor, and the
    probability of each label, which is the score.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        name: the tensor.
        floor: candidates below this score are left out, unless the caller asks for them.

    Raises:
        ManifestError: the signature or the tensor is another.
    """
    labels = len(detections_of(context).labels)
    _check_rows(context, name, 4 + labels)

    def decode(raw: Array, low: float) -> Candidates:
        scores = raw[4:].max(axis=0)
        near = np.flatnonzero(scores >= low)
        x, y, width, height = raw[:4, near]
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return Candidates(np.stack(corners, axis=1), scores[near], raw[4:, near].argmax(axis=0))

    return decoding(context, name, decode, floor, _AS_IS)


def ssd_boxes(
    context: StepContext,
    *,
    boxes: str,
    classes: str,
    scores: str,
    count: str,
    size: Sequence[int],
    first_class: int = 0,
) -> Step:
    """Take the detections that TFLite's post-processing has made inside of the model.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        boxes: the tensor [1, n, 4] of top, left, bottom, right, from 0 to 1.
        classes: the tensor [1, n] of positions in the labels.
        scores: the tensor [1, n].
        count: the tensor [1] that says how many of the n are meant.
        size: height and width of the tensor that the image went into.
        first_class: the number that the model gives to the first label.

    Raises:
        ManifestError: the signature is another.
    """
    value = detections_of(context)
    height, width = size
    pixels = np.array([width, height, width, height], np.float32)

    def step(state: State) -> None:
        meant = int(state[count].reshape(-1)[0])
        corners = state[boxes].reshape(-1, 4)[:meant, [1, 0, 3, 2]] * pixels
        found = state[PLACEMENT].to_image(corners.astype(np.float32))
        chances = state[scores].reshape(-1)[:meant].astype(np.float32)
        numbers = state[classes].reshape(-1)[:meant].astype(np.int64) - first_class
        good = (chances >= state["options"]["min_score"]) & (numbers >= 0)
        good &= (numbers < len(value.labels)) & (found[:, :2] < found[:, 2:]).all(axis=1)
        state[value.boxes], state[value.scores] = found[good], chances[good]
        state[value.classes] = numbers[good]

    return step


def _check_rows(context: StepContext, name: str, rows: int) -> None:
    field = f"variants.{context.variant.id}.tensors.outputs"
    for entry in context.variant.tensors.outputs:
        if entry.name == name:
            if len(entry.shape) != 3 or entry.shape[1] not in (rows, -1):
                expected = f"{name!r} of shape [1, {rows}, any]"
                raise ManifestError(MANIFEST_NAME, field, expected, f"{list(entry.shape)}")
            return
    raise ManifestError(MANIFEST_NAME, field, f"a tensor {name!r}", "none of that name")


STEPS: dict[str, StepFactory] = {"yolov8_boxes": yolov8_boxes, "ssd_boxes": ssd_boxes}
