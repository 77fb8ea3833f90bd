"""ONNX Runtime, with the execution providers that the installed one has."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import EngineError
from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines.engine import (
    Engine,
    EngineFacts,
    Resources,
    Session,
    importable,
    interrupt_in,
)
from wherever_edge.engines.onnx_file import precision_of
from wherever_edge.engines.onnx_providers import (
    CPU,
    PROVIDERS,
    computes,
    device_of,
    devices_among,
    options_for,
)

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_devices.plans import RunPlan

_DTYPES = {
    "tensor(bool)": "bool",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(float16)": "float16",
    "tensor(float)": "float32",
    "tensor(double)": "float64",
}
_ASSIGNED = "get_provider_graph_assignment_info"
# y = x + x, float32, one number: the smallest model that shows whether a provider works
_PROBE = bytes.fromhex(
    "08083a350a0e0a01780a017812017922034164641201625a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a001010"
)


class OnnxRuntimeEngine(Engine):
    """Loads `.onnx` files, without spinning threads.

    Spinning costs 9.7 ms of CPU a request instead of 2.7 at 50 requests a second, for no latency.
    """

    name = "onnxruntime"
    formats = ("onnx",)

    def missing(self) -> str:
        """Why ONNX Runtime cannot be used; "" when it can."""
        return "" if importable("onnxruntime") else "not installed: pip install onnxruntime"

    def devices(self) -> tuple[str, ...]:
        """Devices whose provider is installed and computes something here."""
        return self._devices

    def advice(self, device: str) -> str:
        """The distribution that has the device's provider, or what that one lacks."""
        known = PROVIDERS.get(device)
        if known is None:
            return ""
        if known.name in _runtime().get_available_providers():
            return f"install {known.libraries}: {known.name} is there and does not start"
        return f"pip install {known.package} in place of onnxruntime"

    @cached_property
    def _devices(self) -> tuple[str, ...]:
        ort = _runtime()
        offered = devices_among(ort.get_available_providers())
        return tuple(device for device in offered if device == "cpu" or _works(ort, device))

    def _open(
        self, files: Sequence[bytes], *, file_format: str, plan: RunPlan, resources: Resources
    ) -> Session:
        """Load an ONNX model from its bytes."""
        ort = _runtime()
        native = _session(ort, files[0], plan, resources)
        provider, words = computes(_assigned(native), native.get_providers())
        facts = EngineFacts(
            engine=self.name,
            version=ort.__version__,
            provider=words,
            precision=_precision_used(native, files[0], plan),
            threads=native.get_session_options().intra_op_num_threads,
            device=device_of(provider),
        )
        return _OnnxSession(native, facts, serial=PROVIDERS[plan.device].serial)


class _OnnxSession(Session):
    __slots__ = ("_names", "_native_run")

    def __init__(self, native: Any, facts: EngineFacts, *, serial: bool) -> None:
        super().__init__(
            tuple(_spec(node) for node in native.get_inputs()),
            tuple(_spec(node) for node in native.get_outputs()),
            facts,
        )
        self._names = [spec.name for spec in self.outputs]
        self._native_run = one_by_one(native.run) if serial else native.run

    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        if len(self._names) == 1:
            return {self._names[0]: self._native_run(self._names, feed)[0]}
        return dict(zip(self._names, self._native_run(self._names, feed), strict=True))


def one_by_one(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which never runs in two threads at a time."""
    lock = threading.Lock()

    def run(*args: Any) -> Any:
        with lock:
            return function(*args)

    return run


def _runtime() -> Any:
    # from 1.29 on it reports to its makers from a thread, which a forked child waits for in vain
    # when it ends
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime  # noqa: PLC0415 (110 ms)  # pyright: ignore[reportMissingTypeStubs]
    except ImportError as error:
        if (interrupt := interrupt_in(error)) is not None:
            raise interrupt from None
        raise EngineError(
            f"onnxruntime cannot be imported ({error}); try: pip install onnxruntime"
        ) from error
    return onnxruntime  # it carries no types


def _session(ort: Any, model: bytes, plan: RunPlan, resources: Resources) -> Any:
    return ort.InferenceSession(
        model,
        _options(ort, plan, resources),
        providers=_asked(plan, resources.cache_dir),
        enable_fallback=0,  # it would start anew on the processor when a run fails, and print so
    )


def _options(ort: Any, plan: RunPlan, resources: Resources) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = plan.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4 if plan.device != "cpu" else 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if resources.frugal:  # the arena keeps the most that any run ever took
        options.enable_cpu_mem_arena = False
        options.enable_mem_pattern = False
    if plan.device == "directml":  # it takes no session with them
        options.enable_mem_pattern = False
    if plan.device != "cpu":
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def _asked(plan: RunPlan, cache_dir: Path | None) -> list[Any]:
    if plan.device == "cpu":
        return [CPU]
    return [(PROVIDERS[plan.device].name, options_for(plan, cache_dir)), CPU]


def _works(ort: Any, device: str) -> bool:
    """Whether a provider that is installed also runs: without its libraries it is passed over."""
    from wherever_devices.plans import RunPlan  # noqa: PLC0415 (here alone)

    plan = RunPlan(OnnxRuntimeEngine.name, device, "float32", 1)
    try:
        native = _session(ort, _PROBE, plan, Resources())
    except Exception:  # noqa: BLE001 (a provider that cannot start raises anything)
        return False
    return bool(native.get_providers()[0] == PROVIDERS[device].name)


def _assigned(native: Any) -> list[tuple[str, int]]:
    """Provider -> nodes; nothing of a single provider, or from an ONNX Runtime before 1.24."""
    if len(native.get_providers()) == 1 or not hasattr(native, _ASSIGNED):
        return []
    counts: dict[str, int] = {}
    for part in getattr(native, _ASSIGNED)():
        counts[part.ep_name] = counts.get(part.ep_name, 0) + len(part.get_nodes())
    return [*counts.items()]


def _precision_used(native: Any, model: bytes, plan: RunPlan) -> str:
    """What the file says, or less where the provider says that it was told so."""
    stated = precision_of(model) or plan.precision
    tensorrt = native.get_provider_options().get(PROVIDERS["tensorrt"].name, {})
    if stated == "float32" and tensorrt.get("trt_fp16_enable") in ("1", "True"):
        return "float16"
    return stated


def _spec(node: Any) -> TensorSpec:
    if node.type not in _DTYPES:
        raise EngineError(f"tensor {node.name!r} has type {node.type}, which is not supported")
    shape = tuple(n if isinstance(n, int) else -1 for n in node.shape)
    return TensorSpec(node.name, _DTYPES[node.type], shape)
