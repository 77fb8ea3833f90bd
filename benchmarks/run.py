"""`make bench`: measure everything, print the table, and write it if asked."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import batching
import best_engine
import engines
import host_health
import in_cloud
import isolation
import kept
import memory
import on_device
import proof
import quality
import quantization
import records
import start_up
import transports
from gateway import rows as gateway_rows
from harness import Row, table
from routing import run as routing

PARTS: dict[str, Callable[[], list[Row]]] = {
    "start-up": start_up.rows,
    "on-device": on_device.rows,
    "in-cloud": in_cloud.rows,
    "host-health": host_health.rows,
    "transports": transports.rows,
    "kept": kept.rows,
    "records": records.rows,
    "memory": memory.rows,
    "proof": proof.rows,
    "quality": quality.rows,
    "quantization": quantization.rows,
    "batching": batching.rows,
    "best-engine": best_engine.rows,
    "isolation": isolation.rows,
    "engines": engines.rows,
    "routing": routing.rows,
    "gateway": gateway_rows.rows,
}
HEAD = """# Measured

Made by `make bench`; do not edit. What is compared takes turns in one run; figures are medians.
"""


def main() -> None:
    """Run the parts named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], help="which parts; all by default"
    )
    parser.add_argument("--write", type=Path, help="write the table to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        os.environ["WHEREVER_HOME"] = home
        rows = [row for part in arguments.parts or PARTS for row in PARTS[part]()]
    text = f"{HEAD}\n{table(rows)}\n\n{_machine()}\n"
    print(text)
    if arguments.write:
        arguments.write.write_text(text)


def _machine() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "grpcio", "numpy"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()} "
        f"{platform.machine()}, {cores} cores; {versions}."
    )


if __name__ == "__main__":
    main()
