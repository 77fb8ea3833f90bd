"""Real numbers become the integers that stand for them, and back."""

from __future__ import annotations

from wherever_edge.engines.scales import INTEGERS, Scale
from wherever_edge.pipelines.pipeline import State, Step, StepContext, StepFactory


def quantize(
    context: StepContext,
    *,
    name: str,
    to: str | None = None,
    step: float,
    zero_point: int = 0,
    dtype: str = "int8",
) -> Step:
    """Turn real numbers into a quantized tensor's integers, by the scale that the variant states.

    Engines convert the borders of TFLite files themselves, and hide them; this is for a tensor
    that a file declares as integers, and whose scale only its makers know.

    Formula:
        q = clip(round(x / step) + zero_point, least of dtype, greatest of dtype), in float32,
        where halves are rounded to the even neighbour.

    Cost:
        About 80 us for 224x224x3 numbers.

    Args:
        context: nothing of it is used.
        name: the array.
        to: where to leave the integers; the same name by default.
        step: the real distance between two neighbours.
        zero_point: the integer that stands for 0.
        dtype: "int8", "uint8" or "int16".

    Raises:
        ValueError: a parameter is not one of those.
    """
    target, scale = to or name, _scale(dtype, step, zero_point)

    def run(state: State) -> None:
        state[target] = scale.to_integers(state[name])

    return run


def dequantize(
    context: StepContext,
    *,
    name: str,
    to: str | None = None,
    step: float,
    zero_point: int = 0,
) -> Step:
    """Turn a quantized tensor's integers into the real numbers that they stand for.

    Formula:
        x = (q - zero_point) * step, in float32.

    Cost:
        About 0.2 ms for 224x224x3 numbers.

    Args:
        context: nothing of it is used.
        name: the integers.
        to: where to leave the float32 array; the same name by default.
        step: the real distance between two neighbours.
        zero_point: the integer that stands for 0.

    Raises:
        ValueError: the step is not above 0.
    """
    target, scale = to or name, _scale("int8", step, zero_point)

    def run(state: State) -> None:
        state[target] = scale.to_floats(state[name])

    return run


def _scale(dtype: str, step: float, zero_point: int) -> Scale:
    if dtype not in INTEGERS:
        raise ValueError(f"dtype must be one of {', '.join(INTEGERS)}, not {dtype!r}")
    if not step > 0:
        raise ValueError(f"step must be above 0, not {step}")
    return Scale(dtype, step, zero_point)


STEPS: dict[str, StepFactory] = {"quantize": quantize, "dequantize": dequantize}
