"""OpenVINO, on the CPU."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_contracts.tensors import TensorSpec
from wherever_devices.machine import probe
from wherever_edge.engines.engine import (
    NUMBERS,
    Engine,
    EngineFacts,
    Resources,
    Session,
    importable,
)
from wherever_edge.engines.tflite_file import read_scales

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.scales import Scale

_INSTALL = "pip install 'wherever[openvino]'"
_DEVICE = "CPU"
# Runs that may be under way at once; each costs memory for its intermediate results.
_MOST_STREAMS = 8
_NAME_OF_TYPE = {"f32": "float32", "f16": "float16", "bf16": "bfloat16", "f64": "float64"}


class OpenVinoEngine(Engine):
    """Loads OpenVINO's own files (`.xml`, `.bin`), `.onnx` and `.tflite`.

    Left alone, OpenVINO computes float32 models in bfloat16 on CPUs that have it, which moved a
    detector's numbers by 1.4; so it is told what to compute in, and asked what it does.
    """

    name = "openvino"
    formats = ("openvino", "onnx", "tflite")

    def __init__(self) -> None:
        self._core: Any = None

    def missing(self) -> str:
        """Why OpenVINO cannot be used; "" when it can."""
        return "" if importable("openvino") else f"not installed: {_INSTALL}"

    def _open(
        self, files: Sequence[bytes], *, file_format: str, plan: RunPlan, resources: Resources
    ) -> Session:
        """Load a model; of OpenVINO's own format the second file holds the weights."""
        if why := self.missing():
            raise EngineError(f"{self.name} is {why}")
        import openvino  # noqa: PLC0415 (270 ms)

        if self._core is None:
            self._core = openvino.Core()
        model = _read(self._core, files, file_format)
        settings = _threading(plan.threads) | {
            "INFERENCE_PRECISION_HINT": _precision_asked(self._core, plan.precision)
        }
        native = self._core.compile_model(model, _DEVICE, settings)
        facts = EngineFacts(
            engine=self.name,
            version=openvino.get_version().partition("-")[0],
            provider=native.get_property("EXECUTION_DEVICES")[0],
            precision=_precision_used(native, plan.precision),
            threads=_threads_used(native) if plan.threads else 0,
        )
        return _OpenVinoSession(openvino.Tensor, native, _borders(model, files, file_format), facts)


class _OpenVinoSession(Session):
    __slots__ = ("_idle", "_in", "_native", "_out", "_tensor")

    def __init__(
        self, tensor: Any, native: Any, ports: tuple[list[_Port], list[_Port]], facts: EngineFacts
    ) -> None:
        self._in, self._out = ports
        super().__init__(
            tuple(port.spec for port in self._in), tuple(port.spec for port in self._out), facts
        )
        self._tensor = tensor
        self._native: Any = native
        self._idle: deque[Any] = deque()  # requests: each is used by one thread at a time

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The numbers that a quantized input can stand for, least and greatest."""
        return {port.spec.name: port.scale.range for port in self._in if port.scale}

    def close(self) -> None:
        self._idle.clear()
        self._native = None

    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        request = self._take()
        for position, port in enumerate(self._in):
            array = port.stored(feed[port.spec.name])
            if not array.flags.writeable:  # it is only read, but a shared tensor insists
                array = array.copy()
            request.set_input_tensor(position, self._tensor(array, shared_memory=True))
        request.infer()
        # copies: the next run of this request writes where this one's results lie
        outputs = {
            port.spec.name: port.shown(request.get_output_tensor(position).data)
            for position, port in enumerate(self._out)
        }
        self._idle.append(request)
        return outputs

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._native.create_infer_request()


class _Port:
    """An input or output, and how the caller sees it."""

    __slots__ = ("scale", "spec")

    def __init__(self, port: Any, scale: Scale | None) -> None:
        name = _name(port)
        shape = tuple(n.get_length() if n.is_static else -1 for n in port.get_partial_shape())
        self.scale = scale
        self.spec = TensorSpec(name, "float32" if scale else _dtype(port, name), shape)

    def stored(self, array: Array) -> Array:
        """The caller's numbers as the model takes them."""
        return array if self.scale is None else self.scale.to_integers(array)

    def shown(self, array: Array) -> Array:
        """A copy of the model's numbers, as the caller sees them."""
        return array.copy() if self.scale is None else self.scale.to_floats(array)


def _read(core: Any, files: Sequence[bytes], file_format: str) -> Any:
    if file_format != "tflite":
        return core.read_model(*files)
    # this front end reads from a path alone, and needs the file no longer than that
    with tempfile.TemporaryDirectory(prefix="wherever-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(files[0])
        return core.read_model(path)


def _threading(threads: int) -> dict[str, Any]:
    """`threads` for a run, and as many runs at once as cores allow; no core is pinned.

    Sessions do not know of each other: pinned, they would sit on the same cores.
    """
    if threads == 0:
        return {"ENABLE_CPU_PINNING": False}
    streams = max(1, min(_MOST_STREAMS, probe().usable_cores // threads))
    return {
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads * streams,
        "NUM_STREAMS": streams,
    }


def _threads_used(native: Any) -> int:
    streams = native.get_property("NUM_STREAMS")
    return int(native.get_property("INFERENCE_NUM_THREADS")) // max(1, int(streams))


def _precision_asked(core: Any, precision: str) -> str:
    """float16 where the CPU computes in it; what is not quantized of an int8 model is float32."""
    halves = "FP16" in core.get_property(_DEVICE, "OPTIMIZATION_CAPABILITIES")
    return "f16" if precision == "float16" and halves else "f32"


def _precision_used(native: Any, precision: str) -> str:
    """What the compiled model says; of an int8 model that is about what is not quantized."""
    says = native.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    used = _NAME_OF_TYPE.get(says, str(says))
    return "int8" if precision == "int8" and used == "float32" else used


def _borders(
    model: Any, files: Sequence[bytes], file_format: str
) -> tuple[list[_Port], list[_Port]]:
    """Inputs and outputs of the model as it was read: compiling adds names of inner tensors."""
    inputs, outputs = model.inputs, model.outputs
    scales: tuple[list[Scale | None], list[Scale | None]] = (
        read_scales(files[0])
        if file_format == "tflite"
        else ([None] * len(inputs), [None] * len(outputs))
    )
    return (
        [_Port(port, scale) for port, scale in zip(inputs, scales[0], strict=True)],
        [_Port(port, scale) for port, scale in zip(outputs, scales[1], strict=True)],
    )


def _name(port: Any) -> str:
    """The name that the file gives; a tensor may carry those of removed neighbours too."""
    own: str = port.node.get_friendly_name().removesuffix("/sink_port_0")
    names = port.names
    return own if own in names or not names else str(min(names))


def _dtype(port: Any, name: str) -> str:
    dtype: str = np.dtype(port.get_element_type().to_dtype()).name
    if dtype not in NUMBERS:
        raise EngineError(f"tensor {name!r} has type {dtype}, which is not supported")
    return dtype
