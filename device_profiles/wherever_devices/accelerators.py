"""What else than the processor could compute, and on which board it sits."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from wherever_devices.kernel import entries, text

_VENDORS = {
    "0x8086": "intel",
    "0x10de": "nvidia",
    "0x1002": "amd",
    "0x1022": "amd",
    "0x1af4": "virtual",
    "0x1234": "virtual",
    "0x15ad": "virtual",
}


class Accelerator(NamedTuple):
    """A device that may be there for computing; an engine says whether it can use it.

    Attributes:
        kind: "gpu" or "npu".
        vendor: "intel", "nvidia", "amd"; else the driver's name; "" when nothing says.
        node: its file below /dev.
    """

    kind: Literal["gpu", "npu"]
    vendor: str
    node: str


def accelerators(root: Path) -> tuple[Accelerator, ...] | None:
    """The GPUs and NPUs that have a device file; None where there are no such files to look at.

    A display adapter of a virtual machine is none.

    Args:
        root: where the `dev`, `etc` and `sys` file systems are mounted.
    """
    if not (root / "sys/class").is_dir():
        return None
    cuda = _cuda(root)
    drawing = (_known(root, "gpu", node) for node in entries(root / "dev/dri", "renderD*"))
    return (
        *cuda,
        *(
            found
            for found in drawing
            if found.vendor != "virtual" and not (cuda and found.vendor == "nvidia")
        ),
        *(_known(root, "npu", node) for node in entries(root / "dev/accel", "accel*")),
    )


def board(root: Path) -> str:
    """The board's name as its device tree says, such as "Raspberry Pi 5 Model B Rev 1.0"; or ""."""
    model = text(root / "proc/device-tree/model")
    if "Jetson" not in model and text(root / "etc/nv_tegra_release"):
        return f"Jetson ({model})" if model else "Jetson"
    return model


def _cuda(root: Path) -> tuple[Accelerator, ...]:
    nodes = entries(root / "dev", "nvidia[0-9]*")
    if not nodes and text(root / "etc/nv_tegra_release"):
        nodes = [*entries(root / "dev", "nvhost-gpu"), *entries(root / "dev", "nvgpu")][:1]
    return tuple(Accelerator("gpu", "nvidia", f"/dev/{node.name}") for node in nodes)


def _known(root: Path, kind: Literal["gpu", "npu"], node: Path) -> Accelerator:
    group = "drm" if kind == "gpu" else "accel"
    device = root / "sys/class" / group / node.name / "device"
    vendor = _VENDORS.get(text(device / "vendor")) or _driver(text(device / "uevent"))
    return Accelerator(kind, vendor, f"/dev/{node.parent.name}/{node.name}")


def _driver(uevent: str) -> str:
    """A system on a chip has no vendor's number; its driver (v3d, panthor, rocket) names it."""
    found = (line.partition("=") for line in uevent.splitlines())
    name = next((value for key, _, value in found if key == "DRIVER"), "")
    return "virtual" if name.startswith("virtio") else name
