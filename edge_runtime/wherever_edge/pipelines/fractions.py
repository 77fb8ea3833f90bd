"""The decoder of detectors whose boxes are finished corners, as fractions of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wherever_contracts.tensors import Array
from wherever_edge.pipelines.candidates import (
    Candidates,
    best_classes,
    check_shapes,
    decoding,
    detections_of,
)
from wherever_edge.pipelines.pipeline import Step, StepContext, StepFactory


def fraction_boxes(
    context: StepContext,
    *,
    boxes: str,
    scores: str,
    size: Sequence[int],
    background: int | None = None,
    floor: float = 0.05,
) -> Step:
    """Take boxes [rows, n, 4] of left, top, right, bottom (0 to 1), with a score for each label.

    Formula:
        The box times the tensor's width, height, width and height, in pixels of the tensor; the
        class is that of the largest score, background left out, and that is the score, at most 1.
        Candidates below min(floor, min_score) are left out.

    Cost:
        About 0.75 ms for 4420 boxes of 80 labels; it grows with their product.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        boxes: the tensor of boxes.
        scores: the tensor [rows, n, labels].
        size: height and width of the tensor that the image went into.
        background: the column of `scores` that means "nothing", when there is one.
        floor: candidates below this score are left out, unless the caller asks for them.

    Raises:
        ManifestError: the signature or a tensor is another.
        ValueError: `background` is no column.
    """
    columns = len(detections_of(context).labels) + (background is not None)
    check_shapes(context, {boxes: (-1, -1, 4), scores: (-1, -1, columns)})
    if background is not None and not 0 <= background < columns:
        raise ValueError(f"background must be from 0 to {columns - 1}, not {background}")
    wanted = [column for column in range(columns) if column != background]
    height, width = size
    pixels = np.array([width, height, width, height], np.float32)

    def decode(tensors: Sequence[Array], low: float) -> Candidates:
        corners, every = tensors
        chances = every[:, wanted]
        near = np.flatnonzero(chances.max(axis=1) >= low)
        classes, best = best_classes(chances[near])
        return Candidates(corners[near] * pixels, best, classes)

    return decoding(context, (boxes, scores), decode, floor)


STEPS: dict[str, StepFactory] = {"fraction_boxes": fraction_boxes}
