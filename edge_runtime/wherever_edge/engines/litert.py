"""LiteRT, the successor of TensorFlow Lite."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines.engine import (
    NUMBERS,
    Engine,
    EngineFacts,
    Resources,
    Session,
    importable,
)
from wherever_edge.engines.quiet import without_line
from wherever_edge.engines.scales import INTEGERS, Scale

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_devices.plans import RunPlan

_INSTALL = "pip install 'wherever[litert]'"
# said once a process, on standard error, whatever the level of logging
_DELEGATE_NEWS = b"INFO: Created TensorFlow Lite"


class LiteRtEngine(Engine):
    """Loads `.tflite` files; quantized inputs and outputs are float32 to the caller.

    Tensors have the names that the file gives them. Its predecessor, tflite-runtime, is refused:
    it ended in 2023, fails with numpy 2, and runs models of today's quantizers into wrong numbers
    without a word.
    """

    name = "litert"
    formats = ("tflite",)

    def missing(self) -> str:
        """Why LiteRT cannot be used, tflite-runtime in its place included; "" when it can."""
        if importable("ai_edge_litert"):
            return ""
        if importable("tflite_runtime"):
            return (
                "not installed, and tflite-runtime, which is, is not used in its place: it ended "
                f"in 2023 and computes wrong numbers with today's models; try: {_INSTALL}"
            )
        return f"not installed: {_INSTALL}"

    def _open(
        self, files: Sequence[bytes], *, file_format: str, plan: RunPlan, resources: Resources
    ) -> Session:
        """Load a TensorFlow Lite model from its bytes."""
        import ai_edge_litert.interpreter  # noqa: PLC0415 (90 ms)  # pyright: ignore[reportMissingTypeStubs]

        runtime: Any = ai_edge_litert.interpreter  # it carries no types
        interpreters = _Interpreters(runtime.Interpreter, files[0], plan.threads or None)
        first = interpreters.take()
        facts = EngineFacts(
            engine=self.name,
            version=_version(),
            provider=_provider(first),
            precision=_precision_used(first),
            threads=plan.threads,
        )
        interpreters.give_back(first)
        return _LiteRtSession(interpreters, facts)


class _Interpreters:
    """Interpreters of one model: each is taken by one thread at a time, and given back.

    An interpreter is not re-entrant. As many are made as threads ever ran at once; they share the
    bytes of the model.
    """

    __slots__ = ("_idle", "_make", "_model", "_threads")

    def __init__(self, make: Any, model: bytes, threads: int | None) -> None:
        self._make = make
        self._model = model
        self._threads = threads
        self._idle: deque[Any] = deque()

    def take(self) -> Any:
        """An interpreter that nobody else has, ready to run."""
        try:
            return self._idle.pop()
        except IndexError:
            return without_line(_DELEGATE_NEWS, self._made)

    def _made(self) -> Any:
        interpreter = self._make(model_content=self._model, num_threads=self._threads)
        interpreter.allocate_tensors()
        return interpreter

    def give_back(self, interpreter: Any) -> None:
        """Keep an interpreter for the next one; one that failed is dropped instead."""
        self._idle.append(interpreter)

    def clear(self) -> None:
        """Free those that are idle."""
        self._idle.clear()


class _LiteRtSession(Session):
    __slots__ = ("_inputs", "_interpreters", "_outputs")

    def __init__(self, interpreters: _Interpreters, facts: EngineFacts) -> None:
        first = interpreters.take()
        self._inputs = _ports(first.get_input_details())
        self._outputs = _ports(first.get_output_details())
        super().__init__(
            tuple(port.spec for port in self._inputs),
            tuple(port.spec for port in self._outputs),
            facts,
        )
        self._interpreters = interpreters
        interpreters.give_back(first)

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The numbers that a quantized input can stand for, least and greatest."""
        return {port.spec.name: port.scale.range for port in self._inputs if port.scale}

    def close(self) -> None:
        self._interpreters.clear()

    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        interpreter = self._interpreters.take()
        self._set(interpreter, feed)
        interpreter.invoke()
        # `get_tensor` copies: the next run writes where this one's results lie
        outputs = {
            port.spec.name: port.shown(interpreter.get_tensor(port.index)) for port in self._outputs
        }
        self._interpreters.give_back(interpreter)
        return outputs

    def _set(self, interpreter: Any, feed: dict[str, Array]) -> None:
        arrays = [(port, port.stored(feed[port.spec.name])) for port in self._inputs]
        if self._reshaped(interpreter, arrays):
            interpreter.allocate_tensors()
        for port, array in arrays:
            interpreter.set_tensor(port.index, array)

    def _reshaped(self, interpreter: Any, arrays: list[tuple[_Port, Array]]) -> bool:
        """Give inputs of any length the length of this run; True when one had another before."""
        changed = False
        for port, array in arrays:
            if port.varies and interpreter.tensor(port.index)().shape != array.shape:
                interpreter.resize_tensor_input(port.index, array.shape)
                changed = True
        return changed


class _Port:
    """An input or output: where the interpreter has it, and how the caller sees it."""

    __slots__ = ("index", "scale", "spec", "varies")

    def __init__(self, detail: dict[str, Any]) -> None:
        self.index: int = detail["index"]
        self.scale: Scale | None = _scale(detail)
        self.spec = _spec(detail, "float32" if self.scale else _dtype(detail))
        self.varies: bool = -1 in self.spec.shape

    def stored(self, array: Array) -> Array:
        """The caller's numbers as the model stores them."""
        return array if self.scale is None else self.scale.to_integers(array)

    def shown(self, array: Array) -> Array:
        """The model's numbers as the caller sees them."""
        return array if self.scale is None else self.scale.to_floats(array)


def _provider(interpreter: Any) -> str:
    """Who computes: XNNPACK takes the operations that it knows; it is not told how many."""
    operations = interpreter._get_ops_details()  # noqa: SLF001 (nothing public tells)
    taken = any(operation["op_name"] == "DELEGATE" for operation in operations)
    return "XNNPACK" if taken else "CPU"


def _precision_used(interpreter: Any) -> str:
    """What the file's tensors are; float16 weights are computed in float32."""
    details = interpreter.get_tensor_details()
    return "int8" if any(_is_quantized(detail) for detail in details) else "float32"


def _is_quantized(detail: dict[str, Any]) -> bool:
    dtype = np.dtype(detail["dtype"]).name
    return dtype in INTEGERS and len(detail["quantization_parameters"]["scales"]) > 0


def _ports(details: Sequence[dict[str, Any]]) -> list[_Port]:
    return [_Port(detail) for detail in details]


def _scale(detail: dict[str, Any]) -> Scale | None:
    """The scale of a tensor of small integers that has one for all its numbers."""
    found = detail["quantization_parameters"]
    dtype = np.dtype(detail["dtype"]).name
    if dtype not in INTEGERS or len(found["scales"]) != 1 or found["scales"][0] == 0:
        return None
    return Scale(dtype, float(found["scales"][0]), int(found["zero_points"][0]))


def _dtype(detail: dict[str, Any]) -> str:
    dtype: str = np.dtype(detail["dtype"]).name
    if dtype not in NUMBERS:
        raise EngineError(f"tensor {detail['name']!r} has type {dtype}, which is not supported")
    return dtype


def _spec(detail: dict[str, Any], dtype: str) -> TensorSpec:
    # an output without a signature of its shape may still follow an input of any length
    shape = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    return TensorSpec(detail["name"], dtype, tuple(int(n) for n in shape))


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 (28 ms)

    return version("ai-edge-litert")
