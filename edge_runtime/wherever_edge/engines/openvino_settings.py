"""What OpenVINO is told for a plan, and what its answers mean. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wherever_devices.plans import RunPlan

_CAPABILITIES = {"bfloat16": ("BF16", "bf16"), "float16": ("FP16", "f16")}
_NAME_OF_TYPE = {
    "f32": "float32",
    "float32": "float32",
    "f16": "float16",
    "float16": "float16",
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "f64": "float64",
    "float64": "float64",
}
_INTEGERS = frozenset({"i8", "u8", "i4", "u4"})
_UNLIMITED = frozenset({"", "DEFAULT", "ALL"})
# layers that do the work; data that is only moved stays what the file stored it as
_HEAVY = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})


def settings_for(plan: RunPlan, runs: int, capabilities: Collection[str]) -> dict[str, Any]:
    """What a model is compiled with.

    Args:
        plan: how it is to run.
        runs: runs that are expected at once.
        capabilities: what the device says that it computes in.
    """
    precision = {"INFERENCE_PRECISION_HINT": precision_asked(plan.precision, capabilities)}
    if plan.device != "cpu":
        return precision | {"PERFORMANCE_HINT": "LATENCY"}
    return precision | _threading(plan.threads, runs)


def precision_asked(precision: str, capabilities: Collection[str]) -> str:
    """The precision in OpenVINO's word, where the device computes in it.

    What is not quantized of an int8 model is computed in float32. A device without float32 (an
    NPU) is asked for float16, and says so.
    """
    capability, word = _CAPABILITIES.get(precision, ("FP32", "f32"))
    if capability in capabilities:
        return word
    return "f32" if "FP32" in capabilities else "f16"


def capabilities_under(capabilities: Collection[str], limit: str) -> frozenset[str]:
    """What a processor computes in under a limit on its instructions (`ONEDNN_MAX_CPU_ISA`).

    OpenVINO goes on telling what the processor could do without the limit; bfloat16 and float16
    that it then computes under AVX2 end in an exception at the first run.

    Args:
        capabilities: what the device says.
        limit: the variable's value, "" when it is not set.
    """
    if limit.upper().startswith(("AVX512", "AVX10")) or limit.upper() in _UNLIMITED:
        return frozenset(capabilities)
    return frozenset(capabilities) - {"BF16", "FP16"}


def precision_used(says: str, layers: Iterable[tuple[str, str]]) -> str:
    """What a compiled model computes in.

    Args:
        says: what it answers when it is asked for its precision.
        layers: (kind, what it is computed in) of its layers.
    """
    used = _NAME_OF_TYPE.get(says, says)
    heavy = {precision for kind, precision in layers if kind in _HEAVY}
    return "int8" if used in ("float32", "float16") and heavy & _INTEGERS else used


def device_word(name: str) -> str:
    """OpenVINO's name of a device in the words of a plan: "GPU.1" is "gpu.1", "GPU.0" is "gpu"."""
    return name.strip("()").lower().removesuffix(".0")


def _threading(threads: int, runs: int) -> dict[str, Any]:
    """`threads` for a run, as many streams as runs are expected at once; no core is pinned.

    Sessions do not know of each other: pinned, they would sit on the same cores.
    """
    if threads == 0:
        return {"ENABLE_CPU_PINNING": False}
    return {
        "ENABLE_CPU_PINNING": False,
        "INFERENCE_NUM_THREADS": threads * runs,
        "NUM_STREAMS": runs,
    }
