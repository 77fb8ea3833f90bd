"""Steps that make one vector of what a model of texts or images gives."""

from __future__ import annotations

import numpy as np

from wherever_contracts.tensors import Array
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory


def mean_pool(
    context: StepContext, *, name: str, mask: str | None = None, to: str | None = None
) -> Step:
    """Average the vectors of a row's tokens.

    Formula:
        out[b, d] = sum over t of mask[b, t] * x[b, t, d] / sum over t of mask[b, t], in float32;
        without a mask every token counts as 1. A row whose mask is all zero gives zeros.

    Cost:
        About 5 us for 128 tokens of 384 numbers, 25 us for 512 tokens of 768; it grows with their
        product.

    Args:
        context: not looked at.
        name: the tensor, float [rows, tokens, numbers].
        mask: the attention mask, [rows, tokens], 0 or 1, that a step before the engine left.
        to: where to leave float32 [rows, numbers]; the same name by default.
    """
    target = to or name

    def step(state: State) -> None:
        vectors = state[name].astype(np.float32, copy=False)
        if mask is None:
            state[target] = vectors.mean(axis=1)
            return
        weights = state[mask].astype(np.float32)
        counts = np.maximum(weights.sum(axis=1, keepdims=True), 1)
        state[target] = np.matmul(weights[:, None], vectors)[:, 0] / counts

    return step


def unit_length(context: StepContext, *, name: str, to: str | None = None) -> Step:
    """Scale vectors to a length of 1, so that a dot product of two is the cosine between them.

    Formula:
        out = x / sqrt(sum of x squared), along the last axis, in float32. A vector of zeros stays
        as it is.

    Cost:
        About 9 us for 384 numbers.

    Args:
        context: not looked at.
        name: the vectors, float [..., numbers].
        to: where to leave them; the same name by default.
    """
    target = to or name

    def step(state: State) -> None:
        vectors = state[name].astype(np.float32, copy=False)
        # by the largest first: squares of large numbers overflow, of small ones vanish
        scaled = vectors / _not_zero(np.abs(vectors).max(axis=-1, keepdims=True))
        lengths = np.sqrt(np.square(scaled).sum(axis=-1, keepdims=True))
        state[target] = scaled / _not_zero(lengths)

    return step


def _not_zero(numbers: Array) -> Array:
    return np.where(numbers > 0, numbers, np.float32(1))


STEPS: dict[str, StepFactory] = {"mean_pool": mean_pool, "unit_length": unit_length}
