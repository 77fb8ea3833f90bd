"""ONNX Runtime's execution providers as devices of a plan, and what each is told. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherever_devices.plans import RunPlan

CPU = "CPUExecutionProvider"


@dataclass(frozen=True, slots=True)
class Provider:
    """An execution provider.

    Attributes:
        name: what ONNX Runtime calls it.
        package: the distribution of ONNX Runtime that has it.
        libraries: what that needs besides.
        serial: one session of it may not be run by several threads at once.
    """

    name: str
    package: str
    libraries: str
    serial: bool = False


PROVIDERS: dict[str, Provider] = {
    "cpu": Provider(CPU, "onnxruntime", "nothing"),
    "cuda": Provider("CUDAExecutionProvider", "onnxruntime-gpu", "NVIDIA's driver, CUDA and cuDNN"),
    "tensorrt": Provider("TensorrtExecutionProvider", "onnxruntime-gpu", "CUDA and TensorRT"),
    "openvino": Provider(
        "OpenVINOExecutionProvider", "onnxruntime-openvino", "the openvino of the same release"
    ),
    "directml": Provider(
        "DmlExecutionProvider", "onnxruntime-directml", "a driver of DirectX 12", serial=True
    ),
    "coreml": Provider("CoreMLExecutionProvider", "onnxruntime (on macOS)", "macOS 12 or later"),
}
_DEVICES = {provider.name: device for device, provider in PROVIDERS.items()}


def device_of(provider: str) -> str:
    """The device that a provider stands for; one that nobody named here keeps its own name."""
    return _DEVICES.get(provider, provider)


def devices_among(available: Sequence[str]) -> tuple[str, ...]:
    """The devices whose providers are among `available`, the processor first."""
    return tuple(device for device, each in PROVIDERS.items() if each.name in available)


def options_for(plan: RunPlan, cache_dir: Path | None) -> dict[str, str]:
    """What the provider of a plan's device is told.

    Providers that compute float32 in fewer bits unless they are told otherwise (TF32 on NVIDIA's
    processors, bfloat16 in OpenVINO) are told; none searches for its algorithms by timing them,
    which would choose another one from start to start.
    """
    match plan.device:
        case "cuda":
            return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
        case "tensorrt":
            return {"trt_fp16_enable": _flag(plan.precision == "float16")} | _engines_in(cache_dir)
        case "openvino":
            return _openvino(plan)
        case "coreml":
            return {"ModelFormat": "MLProgram", "AllowLowPrecisionAccumulationOnGPU": "0"}
        case _:
            return {}


def computes(assigned: Sequence[tuple[str, int]], providers: Sequence[str]) -> tuple[str, str]:
    """Which provider computes, and the same in words that tell what it left to others.

    Args:
        assigned: provider -> how many nodes of the graph it got; empty where that is not told.
        providers: the session's providers, the preferred one first; each may take a node that
            those before it do not know.
    """
    counts = dict(assigned)
    total = sum(counts.values())
    first = next((name for name in providers if counts.get(name)), None)
    if total == 0 or first is None:
        return providers[0], providers[0]
    if counts[first] == total:
        return first, first
    return first, f"{first} ({counts[first]} of {total} nodes)"


def _openvino(plan: RunPlan) -> dict[str, str]:
    options = {"device_type": "CPU", "precision": "FP32"}
    return options | ({"num_of_threads": str(plan.threads)} if plan.threads else {})


def _engines_in(cache_dir: Path | None) -> dict[str, str]:
    if cache_dir is None:
        return {}
    return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(cache_dir / "tensorrt")}


def _flag(on: bool) -> str:  # noqa: FBT001 (what the flag says)
    return "1" if on else "0"
