"""OpenVINO, on the processors, graphics processors and NPUs that it finds."""

from __future__ import annotations

import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines import openvino_settings as told
from wherever_edge.engines.compiled import Compiled, CompiledModels, key_of
from wherever_edge.engines.engine import (
    NUMBERS,
    Engine,
    EngineFacts,
    Resources,
    Session,
    importable,
    interrupt_in,
)
from wherever_edge.engines.tflite_file import read_scales

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.scales import Scale

_INSTALL = "pip install 'wherever[openvino]'"
_DRIVERS = "the device's driver, as OpenVINO's list of system requirements says"
# From here on a copy costs more than its avoidance.
_LARGE_BYTES = 64 * 1024
_starting = threading.Lock()


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

    def devices(self) -> tuple[str, ...]:
        """What OpenVINO finds: "cpu", "gpu", "gpu.1", "npu"."""
        return tuple(told.device_word(name) for name in self._runtime().available_devices)

    def advice(self, device: str) -> str:
        """Devices are there when their drivers are."""
        return _DRIVERS if device.partition(".")[0] in ("gpu", "npu") else ""

    def _runtime(self) -> Any:
        with _starting:
            if self._core is None:
                self._core = _started()
        return self._core

    def _open(
        self, files: Sequence[bytes], *, file_format: str, plan: RunPlan, resources: Resources
    ) -> Session:
        """Load a model; of OpenVINO's own format the second file holds the weights."""
        core = self._runtime()
        import openvino  # noqa: PLC0415 (270 ms, unless it is loaded)

        target = _target(core, plan, resources)
        native, specs = _compiled(core, files, file_format, target, resources.cache_dir)
        device = native.get_property("EXECUTION_DEVICES")[0]
        facts = EngineFacts(
            engine=self.name,
            version=openvino.get_version().partition("-")[0],
            provider=device,
            precision=_precision_used(native),
            threads=_threads_used(native) if plan.threads and plan.device == "cpu" else 0,
            device=told.device_word(device),
        )
        ports = _ports(specs, files, file_format)
        return _OpenVinoSession(openvino.Tensor, native, ports, facts)


def _started() -> Any:
    """OpenVINO, with its tables of element types made.

    Its binding makes them at their first use, and gives up Python's lock meanwhile: two threads
    that come at the same time wait for each other for ever.
    """
    try:
        import openvino  # noqa: PLC0415 (270 ms)
    except ImportError as error:
        if (interrupt := interrupt_in(error)) is not None:
            raise interrupt from None
        raise

    openvino.Type.f32.to_dtype()
    _ = openvino.Tensor(np.zeros(1, np.float32), shared_memory=True).data
    return openvino.Core()


class _Target(NamedTuple):
    """What a model is compiled for: the device in OpenVINO's word, and how."""

    device: str
    capabilities: frozenset[str]
    settings: dict[str, Any]


class _Specs(NamedTuple):
    """What a model takes and gives, as its file says."""

    inputs: list[TensorSpec]
    outputs: list[TensorSpec]


class _OpenVinoSession(Session):
    __slots__ = ("_idle", "_in", "_large", "_native", "_out", "_tensor")

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
        self._large = [at for at, port in enumerate(self._out) if port.is_large]

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
            array = _writeable(port.stored(feed[port.spec.name]))
            request.set_input_tensor(position, self._tensor(array, shared_memory=True))
        placed = self._place(request) if self._large else {}
        request.infer()
        # what was not placed is copied: the next run of this request writes where it lies
        outputs = {
            port.spec.name: placed[position]
            if position in placed
            else port.shown(request.get_output_tensor(position).data)
            for position, port in enumerate(self._out)
        }
        self._idle.append(request)
        return outputs

    def _place(self, request: Any) -> dict[int, Array]:
        """Fresh arrays for the large outputs, which the request is to write into."""
        placed: dict[int, Array] = {}
        for position in self._large:
            spec = self._out[position].spec
            placed[position] = np.empty(spec.shape, spec.numpy_dtype)
            request.set_output_tensor(position, self._tensor(placed[position], shared_memory=True))
        return placed

    def _take(self) -> Any:
        try:
            return self._idle.pop()
        except IndexError:
            return self._native.create_infer_request()


class _Port:
    """An input or output, and how the caller sees it."""

    __slots__ = ("is_large", "scale", "spec")

    def __init__(self, spec: TensorSpec, scale: Scale | None) -> None:
        self.scale = scale
        self.spec = TensorSpec(spec.name, "float32", spec.shape) if scale else spec
        # int(): the number of bytes of a shape with an open length is negative or 0
        size = int(np.prod(spec.shape)) * spec.numpy_dtype.itemsize
        self.is_large = scale is None and -1 not in spec.shape and size >= _LARGE_BYTES

    def stored(self, array: Array) -> Array:
        """The caller's numbers as the model takes them."""
        return array if self.scale is None else self.scale.to_integers(array)

    def shown(self, array: Array) -> Array:
        """A copy of the model's numbers, as the caller sees them."""
        return array.copy() if self.scale is None else self.scale.to_floats(array)


class _Writeable:
    """The memory of an array that is not to be written, to those who insist that it could be."""

    __slots__ = ("__array_interface__", "_owner")

    def __init__(self, array: Array) -> None:
        interface = dict(array.__array_interface__)
        interface["data"] = (interface["data"][0], False)
        self.__array_interface__ = interface
        self._owner = array


def _writeable(array: Array) -> Array:
    """The array itself, or one that passes as writeable: inputs are read alone."""
    if array.flags.writeable:
        return array
    return array.copy() if array.nbytes < _LARGE_BYTES else np.asarray(_Writeable(array))


def _target(core: Any, plan: RunPlan, resources: Resources) -> _Target:
    device = plan.device.upper()
    capabilities = told.capabilities_under(
        core.get_property(device, "OPTIMIZATION_CAPABILITIES"),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    )
    return _Target(device, capabilities, told.settings_for(plan, resources.runs, capabilities))


def _compiled(
    core: Any, files: Sequence[bytes], file_format: str, target: _Target, cache_dir: Path | None
) -> tuple[Any, _Specs]:
    """The compiled model; from the cache, when there is one and it has it."""
    if cache_dir is None or "EXPORT_IMPORT" not in target.capabilities:
        return _compiled_anew(core, files, file_format, target)
    kept = CompiledModels(cache_dir / OpenVinoEngine.name)
    key = key_of(files, file_format, *_surroundings(core, target))
    found = kept.get(key)
    if found is not None:
        native = _imported(core, found.blob, target)
        if native is not None:
            return native, _specs_noted(found.notes)
    native, specs = _compiled_anew(core, files, file_format, target)
    kept.put(key, Compiled(_notes(specs), native.export_model().getvalue()))
    return native, specs


def _compiled_anew(
    core: Any, files: Sequence[bytes], file_format: str, target: _Target
) -> tuple[Any, _Specs]:
    model = _read(core, files, file_format)
    # names as they were read: compiling adds those of inner tensors
    specs = _Specs([_spec(port) for port in model.inputs], [_spec(port) for port in model.outputs])
    return core.compile_model(model, target.device, target.settings), specs


def _imported(core: Any, blob: bytes, target: _Target) -> Any:
    """A compiled model that was kept; None when this OpenVINO does not take it after all."""
    try:
        return core.import_model(blob, target.device, target.settings)
    except RuntimeError:
        return None


def _surroundings(core: Any, target: _Target) -> tuple[str, ...]:
    """Everything but the model that its compiled form depends on."""
    import openvino  # noqa: PLC0415 (270 ms, unless it is loaded)

    return (
        openvino.get_version(),
        target.device,
        str(core.get_property(target.device, "FULL_DEVICE_NAME")),
        ",".join(sorted(target.capabilities)),
        os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
        str(target.settings["INFERENCE_PRECISION_HINT"]),
    )


def _read(core: Any, files: Sequence[bytes], file_format: str) -> Any:
    if file_format != "tflite":
        return core.read_model(*files)
    # this front end reads from a path alone, and needs the file no longer than that
    with tempfile.TemporaryDirectory(prefix="wherever-") as folder:
        path = Path(folder) / "model.tflite"
        path.write_bytes(files[0])
        return core.read_model(path)


def _threads_used(native: Any) -> int:
    streams = native.get_property("NUM_STREAMS")
    return int(native.get_property("INFERENCE_NUM_THREADS")) // max(1, int(streams))


def _precision_used(native: Any) -> str:
    """What the compiled model says, and what its layers run in."""
    says = native.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return told.precision_used(says, _layers(native))


def _layers(native: Any) -> Iterator[tuple[str, str]]:
    """(kind, precision) of what runs; nothing where a device does not tell."""
    try:
        operations = native.get_runtime_model().get_ops()
    except RuntimeError:
        return
    for operation in operations:
        info = operation.get_rt_info()
        if "layerType" in info and "runtimePrecision" in info:
            yield _text(info["layerType"]), _text(info["runtimePrecision"])


def _text(value: Any) -> str:
    """What OpenVINO keeps as text, or in a box of its own."""
    return str(value.astype(str)) if hasattr(value, "astype") else str(value)


def _ports(
    specs: _Specs, files: Sequence[bytes], file_format: str
) -> tuple[list[_Port], list[_Port]]:
    """Inputs and outputs, with the scales that only a `.tflite` file has."""
    if file_format != "tflite":
        return [_Port(each, None) for each in specs.inputs], [
            _Port(each, None) for each in specs.outputs
        ]
    scales = read_scales(files[0])
    return (
        [_Port(spec, scale) for spec, scale in zip(specs.inputs, scales[0], strict=True)],
        [_Port(spec, scale) for spec, scale in zip(specs.outputs, scales[1], strict=True)],
    )


def _spec(port: Any) -> TensorSpec:
    name = _name(port)
    shape = tuple(n.get_length() if n.is_static else -1 for n in port.get_partial_shape())
    return TensorSpec(name, _dtype(port, name), shape)


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


def _notes(specs: _Specs) -> list[list[Any]]:
    return [[[each.name, each.dtype, each.shape] for each in side] for side in specs]


def _specs_noted(notes: Any) -> _Specs:
    inputs, outputs = (
        [TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in side] for side in notes
    )
    return _Specs(inputs, outputs)
