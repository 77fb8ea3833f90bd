"""A step for variants whose models were trained on other labels than the signature gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wherever_edge.pipelines.file_bytes import labels_of, position_of
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory


def relabel(
    context: StepContext, *, name: str, labels: Sequence[str], to: str | None = None
) -> Step:
    """Put the scores of a model's own labels where the signature has these labels.

    Formula:
        out[i] = the sum of x[j] over all j whose labels[j] is the signature's label i; 0 for a
        label that the model does not know. A label may stand several times among the model's.

    Cost:
        About 1.5 us for 200 labels.

    Args:
        context: the signature, whose value is a label.
        name: the scores, float [model's labels].
        labels: of the model, in their order, each one of the signature's.
        to: where to leave float32 [signature's labels]; the same name by default.

    Raises:
        ManifestError: the signature is not one of a label, or lacks one of these.
    """
    target = to or name
    wanted = labels_of(context)
    where = np.array([position_of(wanted, label) for label in labels], np.intp)

    def step(state: State) -> None:
        sums = np.bincount(where, state[name], len(wanted))
        state[target] = sums.astype(np.float32)

    return step


STEPS: dict[str, StepFactory] = {"relabel": relabel}
