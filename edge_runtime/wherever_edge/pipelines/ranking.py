"""Scores become the best few, with their labels."""

from __future__ import annotations

import numpy as np

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import MANIFEST_NAME, LabelValue
from wherever_contracts.tensors import Array
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory


def top_k(
    context: StepContext,
    *,
    name: str,
    k: int = 5,
    scores: str = "top_scores",
    classes: str = "top_classes",
    names: str | None = None,
    labels: str | None = None,
) -> Step:
    """Leave the k best scores, their positions, and if asked for their labels.

    Formula:
        Sorted by score, best first, and by position among equals; at most as many as there are.
        The score of rank j is x[class of rank j], the name of rank j the label at that position.

    Cost:
        About 20 us for 1000 scores: all of them are sorted.

    Args:
        context: the signature, and the package's files.
        name: the scores [n], or [..., n] to rank each row by itself.
        k: how many.
        scores: where to leave them, [..., k].
        classes: where to leave the positions, int64 [..., k].
        names: where to leave the labels, `bytes` in UTF-8 [..., k]; nowhere by default.
        labels: a file that `model.json` lists, with one label in each line; by default the labels
            of the signature's value.

    Raises:
        ValueError: k is below 1.
        ManifestError: labels are asked for, and neither the file nor the signature has them.
        PackageError: the file is not there, or not what it should be.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}")
    known = None if names is None else _labels(context, labels)

    def step(state: State) -> None:
        given = state[name]
        best = np.argsort(-given.astype(np.float64), axis=-1, kind="stable")[..., :k]
        state[scores] = np.take_along_axis(given, best, axis=-1)
        state[classes] = best.astype(np.int64)
        if names is not None and known is not None:
            state[names] = known[best]

    return step


def _labels(context: StepContext, path: str | None) -> Array:
    """The labels as an object array of `bytes`."""
    if path is not None:
        lines: list[bytes] = context.read(path).splitlines()
        return np.array(lines, object)
    value = context.signature.value
    if not isinstance(value, LabelValue):
        raise ManifestError(
            MANIFEST_NAME, "signature.value.kind", "'label', or a file of labels", repr(value.kind)
        )
    return np.array([label.encode() for label in value.labels], object)


STEPS: dict[str, StepFactory] = {"top_k": top_k}
