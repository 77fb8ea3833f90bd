"""Decoders of the YOLO family: YOLOv5, YOLOv8 and YOLOX."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wherever_contracts.tensors import Array
from wherever_edge.pipelines.candidates import (
    Calibration,
    Candidates,
    around,
    best_classes,
    check_shapes,
    decoding,
    detections_of,
)
from wherever_edge.pipelines.pipeline import Step, StepContext, StepFactory


def yolox_boxes(
    context: StepContext,
    *,
    name: str,
    size: Sequence[int],
    strides: Sequence[int] = (8, 16, 32),
    floor: float = 0.05,
    slope: float = 1.0,
    offset: float = 0.0,
) -> Step:
    """Decode YOLOX's rows into candidates.

    The tensor is [rows, cells, 5 + labels], the cells of every stride's grid in row order: four
    numbers a, b, c, d for the box, objectness, and the probability of each label.

    Formula:
        The cell in column g and row h of the grid with stride s: centre ((g + a) s, (h + b) s),
        width e^c s, height e^d s, in pixels of the tensor. The class is that of the largest
        probability, the score objectness * that probability. With a calibration, the score q
        becomes sigmoid(slope * ln(q / (1 - q)) + offset). Candidates below min(floor, min_score)
        are left out.

    Cost:
        About 45 us for 3549 cells (416x416) of 80 labels, of which few are near.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        name: the tensor.
        size: height and width of the tensor that the image went into.
        strides: pixels that a cell covers, grid by grid.
        floor: candidates below this chance are left out, unless the caller asks for them.
        slope: of the calibration; 1 and an offset of 0 leave the scores as they are.
        offset: likewise.

    Raises:
        ManifestError: the signature or the tensor is another.
    """
    height, width = size
    grids = [_grid(height // stride, width // stride, stride) for stride in strides]
    # x, y of a cell's corner and its stride
    corner_x, corner_y, cell = np.concatenate(grids, axis=1)
    labels = len(detections_of(context).labels)
    check_shapes(context, {name: (-1, len(cell), 5 + labels)})

    def decode(tensors: Sequence[Array], low: float) -> Candidates:
        (raw,) = tensors
        # no probability exceeds 1, so a score never exceeds this
        near = np.flatnonzero(raw[:, 4] >= low)
        rows = raw[near]
        x, y, width, height, objectness = rows[:, :5].T
        classes, best = best_classes(rows[:, 5:])
        stride = cell[near]
        boxes = around(
            x * stride + corner_x[near],
            y * stride + corner_y[near],
            np.exp(width) * stride / 2,
            np.exp(height) * stride / 2,
        )
        return Candidates(boxes, objectness * best, classes)

    return decoding(context, (name,), decode, floor, Calibration(slope, offset))


def yolov8_boxes(
    context: StepContext,
    *,
    name: str,
    floor: float = 0.05,
    slope: float = 1.0,
    offset: float = 0.0,
) -> Step:
    """Decode YOLOv8's columns into candidates (YOLO11's are the same).

    The tensor is [rows, 4 + labels, cells]: centre x and y, width and height, and the probability
    of each label.

    Formula:
        The box is (x - width / 2, y - height / 2, x + width / 2, y + height / 2) in pixels of the
        tensor, the class that of the largest probability, which is the score. With a calibration,
        the score q becomes sigmoid(slope * ln(q / (1 - q)) + offset). Candidates below
        min(floor, min_score) are left out.

    Cost:
        About 1 ms for 8400 cells (640x640) of 80 labels: the best label of every cell is looked
        for.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        name: the tensor.
        floor: candidates below this chance are left out, unless the caller asks for them.
        slope: of the calibration; 1 and an offset of 0 leave the scores as they are.
        offset: likewise.

    Raises:
        ManifestError: the signature or the tensor is another.
    """
    labels = len(detections_of(context).labels)
    check_shapes(context, {name: (-1, 4 + labels, -1)})

    def decode(tensors: Sequence[Array], low: float) -> Candidates:
        (raw,) = tensors
        scores = raw[4:].max(axis=0)
        near = np.flatnonzero(scores >= low)
        x, y, width, height = raw[:4, near]
        boxes = around(x, y, width / 2, height / 2)
        return Candidates(boxes, scores[near], raw[4:, near].argmax(axis=0))

    return decoding(context, (name,), decode, floor, Calibration(slope, offset))


def yolov5_boxes(
    context: StepContext,
    *,
    name: str,
    floor: float = 0.05,
    slope: float = 1.0,
    offset: float = 0.0,
) -> Step:
    """Decode the finished rows of YOLOv5 (and of YOLOv7) into candidates.

    The tensor is [rows, n, 5 + labels]: centre x and y, width and height, objectness, and the
    probability of each label, which holds where there is an object.

    Formula:
        The box is (x - width / 2, y - height / 2, x + width / 2, y + height / 2) in pixels of the
        tensor, the class that of the largest probability, the score objectness * that
        probability. With a calibration, the score q becomes
        sigmoid(slope * ln(q / (1 - q)) + offset). Candidates below min(floor, min_score) are left
        out.

    Cost:
        About 0.25 ms for 25200 rows (640x640) of 80 labels, of which few are near.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        name: the tensor.
        floor: candidates below this chance are left out, unless the caller asks for them.
        slope: of the calibration; 1 and an offset of 0 leave the scores as they are.
        offset: likewise.

    Raises:
        ManifestError: the signature or the tensor is another.
    """
    labels = len(detections_of(context).labels)
    check_shapes(context, {name: (-1, -1, 5 + labels)})

    def decode(tensors: Sequence[Array], low: float) -> Candidates:
        (raw,) = tensors
        # no probability exceeds 1, so a score never exceeds this
        rows = raw[raw[:, 4] >= low]
        x, y, width, height, objectness = rows[:, :5].T
        classes, best = best_classes(rows[:, 5:])
        return Candidates(around(x, y, width / 2, height / 2), objectness * best, classes)

    return decoding(context, (name,), decode, floor, Calibration(slope, offset))


def _grid(rows: int, columns: int, stride: int) -> Array:
    """Float32 [3, cells]: x and y of each cell's corner in pixels, and the stride."""
    y, x = np.indices((rows, columns)).reshape(2, -1)
    return np.stack((x * stride, y * stride, np.full_like(x, stride))).astype(np.float32)


STEPS: dict[str, StepFactory] = {
    "yolox_boxes": yolox_boxes,
    "yolov8_boxes": yolov8_boxes,
    "yolov5_boxes": yolov5_boxes,
}
