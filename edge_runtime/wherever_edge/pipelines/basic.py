"""Steps on plain arrays and text: scale, shape, rename, bytes, a classifier's confidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory


def scale(context: StepContext, *, name: str, to: str | None = None, by: float) -> Step:
    """Multiply by a number; the result is float32.

    Formula:
        y = float32(by) * x, in float32.

    Cost:
        About 0.2 ms for 224x224x3 numbers.
    """
    target = to or name
    factor = np.float32(by)

    def step(state: State) -> None:
        state[target] = np.multiply(state[name], factor, dtype=np.float32)

    return step


def reshape(
    context: StepContext, *, name: str, to: str | None = None, shape: Sequence[int]
) -> Step:
    """Give an array another shape; one length may be -1.

    Formula:
        The same elements in the same (row-major) order.

    Cost:
        About 0.2 us: no element is copied where they lie one after another.
    """
    target = to or name
    wanted = tuple(int(n) for n in shape)

    def step(state: State) -> None:
        state[target] = state[name].reshape(wanted)

    return step


def first_row(context: StepContext, *, name: str, to: str | None = None) -> Step:
    """Take the only row of a batch of one.

    Formula:
        y = x[0]; a view.

    Cost:
        About 0.1 us.
    """
    target = to or name

    def step(state: State) -> None:
        state[target] = state[name][0]

    return step


def columns(
    context: StepContext, *, name: str, to: str | None = None, start: int, stop: int | None = None
) -> Step:
    """Take a stretch of the last axis, such as the labels without the "background" before them.

    Formula:
        y = x[..., start:stop]; a view. Without `stop`, to the end; negative positions count from
        there.

    Cost:
        About 0.2 us.
    """
    target, wanted = to or name, slice(start, stop)

    def step(state: State) -> None:
        state[target] = state[name][..., wanted]

    return step


def rename(context: StepContext, *, name: str, to: str) -> Step:
    """Give a tensor another name.

    Formula:
        y = x; the very array.

    Cost:
        Less than 0.1 us.
    """

    def step(state: State) -> None:
        state[to] = state[name]

    return step


def softmax(context: StepContext, *, name: str, to: str | None = None) -> Step:
    """Turn logits into probabilities along the last axis.

    Formula:
        p_i = exp(x_i - m) / sum over j of exp(x_j - m), where m is the largest x_j, in the array's
        own type.

    Cost:
        About 4.5 us for 1000 numbers.
    """
    target = to or name

    def step(state: State) -> None:
        logits = state[name]
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        state[target] = powers / powers.sum(axis=-1, keepdims=True)

    return step


def sigmoid(context: StepContext, *, name: str, to: str | None = None) -> Step:
    """Turn each logit into the probability of its own label; several may hold at once.

    Formula:
        p_i = 1 / (1 + exp(-x_i)), in the array's own type, without overflow.

    Cost:
        About 12 us for 1000 numbers.
    """
    target = to or name

    def step(state: State) -> None:
        state[target] = np.exp(-np.logaddexp(0, -state[name]))

    return step


def probabilities(context: StepContext, *, name: str, to: str | None = None) -> Step:
    """Leave probabilities as they are, and turn anything else into some by softmax.

    For classifiers that may end in a softmax of their own: numbers from 0 to 1 that add up to
    about 1 are taken for probabilities (int8 models round a thousand of them to a sum that is
    far from exact).

    Formula:
        y = x where 0.5 <= sum of x <= 1.5 and every element is from 0 to 1, else softmax(x).

    Cost:
        About 5.5 us for 1000 numbers.
    """
    target = to or name
    turn = softmax(context, name=target)

    def step(state: State) -> None:
        numbers = state[target] = state[name]
        total = float(numbers.sum())
        if not (0.5 <= total <= 1.5 and numbers.min() >= 0 and numbers.max() <= 1):
            turn(state)

    return step


def cast(context: StepContext, *, name: str, to: str | None = None, dtype: str) -> Step:
    """Give an array another element type; whole numbers are rounded and kept in its range.

    Formula:
        For whole numbers y = clip(round(x), least of dtype, greatest of dtype), where halves are
        rounded to the even neighbour; for others the nearest number of that type.

    Cost:
        About 60 us for 224x224x3 numbers.
    """
    target, wanted = to or name, np.dtype(dtype)
    if wanted.kind not in "iuf":
        raise ValueError(f"dtype must be one of numbers, not {dtype!r}")
    limits = np.iinfo(wanted) if wanted.kind in "iu" else None

    def step(state: State) -> None:
        array = state[name]
        if limits is not None:
            array = np.clip(np.rint(array), limits.min, limits.max)
        state[target] = array.astype(wanted)

    return step


def utf8_bytes(context: StepContext, *, name: str, to: str, length: int, pad: int = 0) -> Step:
    """Turn text into its UTF-8 bytes: int32 [1, length], cut or padded at the end.

    Formula:
        y_i is byte i of the text in UTF-8, and `pad` from the text's end on; a character may be
        cut in two.

    Cost:
        About 1.6 us for 100 letters.
    """
    if length < 1:
        raise ValueError("length must be 1 or more")

    def step(state: State) -> None:
        data = state[name].encode()[:length]
        numbers = np.full((1, length), pad, np.int32)
        numbers[0, : len(data)] = np.frombuffer(data, np.uint8)
        state[to] = numbers

    return step


def max_confidence(context: StepContext, *, name: str) -> Step:
    """The confidence is the largest of the scores.

    Formula:
        confidence = max of x.

    Cost:
        About 1 us for 1000 numbers.
    """

    def step(state: State) -> None:
        scores = state[name]
        state["confidence"] = float(scores.max())

    return step


STEPS: dict[str, StepFactory] = {
    "scale": scale,
    "reshape": reshape,
    "first_row": first_row,
    "columns": columns,
    "rename": rename,
    "softmax": softmax,
    "sigmoid": sigmoid,
    "probabilities": probabilities,
    "cast": cast,
    "utf8_bytes": utf8_bytes,
    "max_confidence": max_confidence,
}
