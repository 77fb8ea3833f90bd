"""The decoder of detectors whose boxes are finished corners, as fractions of the image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import MANIFEST_NAME
from wherever_contracts.tensors import shape_fits
from wherever_edge.pipelines.detect import MIN_SCORE, detections_of
from wherever_edge.pipelines.image import PLACEMENT
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory


def fraction_boxes(
    context: StepContext,
    *,
    boxes: str,
    scores: str,
    size: Sequence[int],
    background: int | None = None,
    floor: float = 0.05,
) -> Step:
    """Take boxes [1, n, 4] of left, top, right, bottom (0 to 1), with a score for each label.

    Args:
        context: the signature (detections, with an option `min_score`) and the variant.
        boxes: the tensor of boxes.
        scores: the tensor [1, n, labels].
        size: height and width of the tensor that the image went into.
        background: the column of `scores` that means "nothing", when there is one.
        floor: candidates below this score are left out, unless the caller asks for them.

    Raises:
        ManifestError: the signature or a tensor is another.
        ValueError: `background` is no column.
    """
    value = detections_of(context)
    columns = len(value.labels) + (background is not None)
    _check_shapes(context, {boxes: (1, -1, 4), scores: (1, -1, columns)})
    if background is not None and not 0 <= background < columns:
        raise ValueError(f"background must be from 0 to {columns - 1}, not {background}")
    wanted = [column for column in range(columns) if column != background]
    height, width = size
    pixels = np.array([width, height, width, height], np.float32)

    def step(state: State) -> None:
        chances = state[scores][0][:, wanted]
        best = chances.max(axis=1)
        near = np.flatnonzero(best >= min(floor, state["options"][MIN_SCORE]))
        placed = state[PLACEMENT].to_image(state[boxes][0][near] * pixels)
        good = (placed[:, :2] < placed[:, 2:]).all(axis=1)
        state[value.boxes] = placed[good].astype(np.float32)
        state[value.scores] = best[near][good].clip(0, 1).astype(np.float32)
        state[value.classes] = chances[near][good].argmax(axis=1).astype(np.int64)

    return step


def _check_shapes(context: StepContext, expected: dict[str, tuple[int, ...]]) -> None:
    field = f"variants.{context.variant.id}.tensors.outputs"
    declared = {entry.name: entry.shape for entry in context.variant.tensors.outputs}
    for name, shape in expected.items():
        if name not in declared or not shape_fits(shape, declared[name]):
            found = f"{list(declared[name])}" if name in declared else f"{list(declared)}"
            wanted = f"{name!r} of shape {list(shape)}"
            raise ManifestError(MANIFEST_NAME, field, wanted, found)


STEPS: dict[str, StepFactory] = {"fraction_boxes": fraction_boxes}
