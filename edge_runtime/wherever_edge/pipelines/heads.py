"""Decoders of other detectors: FastestDet, PicoDet, and TFLite's own detection post-processing."""

from __future__ import annotations

import math
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
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory
from wherever_edge.pipelines.placement import PLACEMENT


def fastestdet_boxes(
    context: StepContext,
    *,
    name: str,
    stride: int = 16,
    floor: float = 0.05,
    slope: float = 1.0,
    offset: float = 0.0,
) -> Step:
    """Decode FastestDet's grid into candidates.

    The tensor is [n, 5 + labels, rows, columns]: objectness, four numbers a, b, c, d for the box,
    and the probability of each label.

    Formula:
        The cell in column g and row h: centre ((g + tanh a) stride, (h + tanh b) stride), width
        sigmoid(c) * columns * stride, height sigmoid(d) * rows * stride, in pixels of the tensor.
        The class is that of the largest probability, the score objectness^0.6 * that
        probability^0.4. With a calibration, the score q becomes
        sigmoid(slope * ln(q / (1 - q)) + offset). Candidates below min(floor, min_score) are left
        out.

    Cost:
        About 45 us for 22x22 cells (352x352) of 80 labels.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        name: the tensor.
        stride: pixels of the tensor that a cell covers.
        floor: candidates below this chance are left out, unless the caller asks for them.
        slope: of the calibration; 1 and an offset of 0 leave the scores as they are.
        offset: likewise.

    Raises:
        ManifestError: the signature or the tensor is another.
    """
    labels = len(detections_of(context).labels)
    check_shapes(context, {name: (-1, 5 + labels, -1, -1)})

    def decode(tensors: Sequence[Array], low: float) -> Candidates:
        (raw,) = tensors
        columns, count = raw.shape[2], raw.shape[1] * raw.shape[2]
        cells = raw.reshape(-1, count)
        # no probability exceeds 1, so a score never exceeds this
        near = np.flatnonzero(cells[0] ** 0.6 >= low)
        objectness, x, y, width, height = cells[:5, near]
        classes, best = best_classes(cells[5:, near].T)
        boxes = around(
            (np.tanh(x) + near % columns) * stride,
            (np.tanh(y) + near // columns) * stride,
            _sigmoid(width) * (columns * stride / 2),
            _sigmoid(height) * (raw.shape[1] * stride / 2),
        )
        return Candidates(boxes, objectness**0.6 * best**0.4, classes)

    return decoding(context, (name,), decode, floor, Calibration(slope, offset))


def picodet_boxes(
    context: StepContext,
    *,
    scores: Sequence[str],
    sides: Sequence[str],
    size: Sequence[int],
    strides: Sequence[int] = (8, 16, 32, 64),
    floor: float = 0.05,
    slope: float = 1.0,
    offset: float = 0.0,
) -> Step:
    """Decode PicoDet's grids into candidates.

    Every stride has two tensors: [rows, cells, labels] with the probability of each label, and
    [rows, cells, 4 bins] with logits of how far the left, top, right and bottom side are away.

    Formula:
        The cell in column g and row h of the grid with stride s (ceil(height / s) rows,
        ceil(width / s) columns) has its centre at ((g + 0.5) s, (h + 0.5) s) in pixels of the
        tensor. A side is s * sum over k of k * softmax(its logits)_k pixels away from it. The
        class is that of the largest probability, which is the score. With a calibration, the
        score q becomes sigmoid(slope * ln(q / (1 - q)) + offset). Candidates below
        min(floor, min_score) are left out.

    Cost:
        About 1.5 ms for 3598 cells (416x416) of 80 labels, most of it for the best label of every
        cell.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        scores: the tensors of probabilities, stride by stride.
        sides: the tensors of distances, stride by stride.
        size: height and width of the tensor that the image went into.
        strides: pixels that a cell covers, grid by grid.
        floor: candidates below this chance are left out, unless the caller asks for them.
        slope: of the calibration; 1 and an offset of 0 leave the scores as they are.
        offset: likewise.

    Raises:
        ManifestError: the signature or a tensor is another.
        ValueError: there are not as many tensors as strides.
    """
    labels = len(detections_of(context).labels)
    if not len(scores) == len(sides) == len(strides) > 0:
        raise ValueError("scores, sides and strides must be as many")
    grids = [_centres(size, stride) for stride in strides]
    for cells, chances, distances in zip(grids, scores, sides, strict=True):
        check_shapes(context, {chances: (-1, len(cells), labels)})
        check_shapes(context, {distances: (-1, len(cells), -1)})
    per_stride = list(zip(grids, strides, strict=True))

    def decode(tensors: Sequence[Array], low: float) -> Candidates:
        pairs = zip(tensors[: len(strides)], tensors[len(strides) :], per_stride, strict=True)
        each = [_distances(raw, logits, *grid, low) for raw, logits, grid in pairs]
        return Candidates(*(np.concatenate(column) for column in zip(*each, strict=True)))

    return decoding(context, (*scores, *sides), decode, floor, Calibration(slope, offset))


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

    Formula:
        Of the first `count` rows: left, top, right and bottom are the numbers 1, 0, 3 and 2 of
        `boxes` times the tensor's width, height, width and height; the class is `classes` -
        first_class. Scores below `min_score` and classes that are no label are left out.

    Cost:
        About 25 us for 10 rows.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        boxes: the tensor [rows, n, 4] of top, left, bottom, right, from 0 to 1.
        classes: the tensor [rows, n] of positions in the labels.
        scores: the tensor [rows, n].
        count: the tensor [rows] that says how many of the n are meant.
        size: height and width of the tensor that the image went into.
        first_class: the number that the model gives to the first label.

    Raises:
        ManifestError: the signature is another.
    """
    labels = len(detections_of(context).labels)
    height, width = size
    pixels = np.array([width, height, width, height], np.float32)
    lengths = {boxes: (-1, 4), classes: (-1,), scores: (-1,), count: ()}

    def decode(tensors: Sequence[Array], low: float) -> Candidates:
        corners, kinds, chances, count = tensors
        meant = int(count)
        numbers = kinds[:meant].astype(np.int64) - first_class
        known = (numbers >= 0) & (numbers < labels)
        corners = corners[:meant, [1, 0, 3, 2]][known] * pixels
        return Candidates(corners, chances[:meant][known], numbers[known])

    # a floor of 1: what is below `min_score` is always left out
    place = decoding(context, tuple(lengths), decode, 1.0)

    def step(state: State) -> None:
        rows = len(state[PLACEMENT])
        for name, rest in lengths.items():
            state[name] = state[name].reshape(rows, *rest)
        place(state)

    return step


def _distances(raw: Array, logits: Array, cells: Array, stride: int, low: float) -> Candidates:
    """The candidates of one of PicoDet's grids, whose cells have their centres [n, 2] there."""
    near = np.flatnonzero(raw.max(axis=1) >= low)
    classes, best = best_classes(raw[near])
    powers = logits[near].reshape(len(near), 4, logits.shape[1] // 4)
    powers = np.exp(powers - powers.max(axis=2, keepdims=True))
    away = (powers @ np.arange(powers.shape[2], dtype=np.float32)) / powers.sum(axis=2) * stride
    centres = cells[near]
    boxes = np.concatenate((centres - away[:, :2], centres + away[:, 2:]), axis=1)
    return Candidates(boxes, best, classes)


def _centres(size: Sequence[int], stride: int) -> Array:
    """Float32 [cells, 2]: x and y of the centre of each cell, in row order."""
    rows, columns = (math.ceil(length / stride) for length in size)
    y, x = np.indices((rows, columns), np.float32).reshape(2, -1)
    return (np.stack((x, y), axis=1) + np.float32(0.5)) * np.float32(stride)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


STEPS: dict[str, StepFactory] = {
    "fastestdet_boxes": fastestdet_boxes,
    "picodet_boxes": picodet_boxes,
    "ssd_boxes": ssd_boxes,
}
