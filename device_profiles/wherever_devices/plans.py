"""What is meant to run, and how it differs from what the runtime says it does. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# Devices that are named after the software which drives them -> the hardware it computes on.
_DRIVEN = {
    "cuda": "gpu",
    "tensorrt": "gpu",
    "directml": "gpu",
    "coreml": "npu",
    "openvino": "cpu",
}


@dataclass(frozen=True, slots=True, order=True)
class RunPlan:
    """How a variant is meant to be run.

    Attributes:
        engine: the engine's name.
        device: the hardware: "cpu", or what else the engine names ("gpu", "npu", "cuda", ...).
        precision: what it computes in: "float32", "bfloat16", "float16" or "int8".
        threads: threads of one run; 0 leaves the choice to the runtime.
    """

    engine: str
    device: str
    precision: str
    threads: int

    def __str__(self) -> str:
        count = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        threads = count if self.threads else "threads by choice"
        return f"{self.engine} on {self.device}, {self.precision}, {threads}"


def hardware_of(device: str) -> str:
    """The hardware that a plan's device is, in the words of a profile: "cpu", "gpu" or "npu".

    Of "gpu.1" it is "gpu"; a device that nobody named here is its own hardware.
    """
    word = device.partition(".")[0]
    return _DRIVEN.get(word, word)


def departures(plan: RunPlan, ran: RunPlan) -> tuple[str, ...]:
    """What runs otherwise than planned, each as half a sentence.

    Args:
        plan: what was meant to run.
        ran: what the runtime says it does; its threads count only where both say a number.
    """
    found: list[str] = []
    if ran.engine != plan.engine:
        found.append(f"{ran.engine} runs in place of {plan.engine}")
    if ran.device != plan.device:
        found.append(f"{ran.engine} runs on {ran.device}, not on {plan.device}")
    if ran.precision != plan.precision:
        found.append(f"{ran.engine} computes in {ran.precision} here, not in {plan.precision}")
    if plan.threads and ran.threads and ran.threads != plan.threads:
        found.append(f"{ran.engine} uses {ran.threads} threads, not {plan.threads}")
    return tuple(found)
