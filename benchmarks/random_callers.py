"""One process that calls the models of a directory at random, and says what memory that took.

Run by `memory.py`: `random_callers.py PACKAGES --callers 4 --calls 400 [--budget-mb 150]`.
"""

from __future__ import annotations

import argparse
import json
import threading
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from wherever_contracts.errors import WhereverError
from wherever_edge.counters import COUNTERS
from wherever_edge.host import LocalHost
from wherever_edge.memory import peak_bytes, resident_bytes
from wherever_edge.packages.store import Store

if TYPE_CHECKING:
    from wherever_contracts.manifest import TensorEntry
    from wherever_contracts.tensors import Array
    from wherever_edge.packages.store import Package

MB = 1e6
_SEED = 20260101


def main() -> None:
    """Call, and print what happened as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", type=Path)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--calls", type=int, default=10)
    parser.add_argument("--budget-mb", type=int)
    parser.add_argument("--write", type=Path, help="keep each model's answer in this file")
    parser.add_argument("--compare", type=Path, help="compare answers with those of this file")
    parser.add_argument("--only", help="call this model alone")
    arguments = parser.parse_args()
    store = Store([arguments.packages], builtin=False)
    packages = [p for p in store.list() if arguments.only in (None, p.name)]
    # made before the host starts: they are the callers', not the models'
    inputs = {package.name: inputs_of(package) for package in packages}
    started = resident_bytes()
    budget = None if arguments.budget_mb is None else int(arguments.budget_mb * MB)
    host = LocalHost(store, distance="device", threads=1, memory_max_bytes=budget)
    if arguments.write:
        answers = {
            f"{name} {output}": array
            for name in inputs
            for output, array in ask(host, name, inputs[name]).items()
        }
        np.savez(arguments.write, allow_pickle=False, **answers)
    said = _called(host, inputs, arguments) if arguments.calls else {}
    said |= {
        "peak_mb": (peak_bytes() - started) / MB,
        "final_mb": (resident_bytes() - started) / MB,
        "loaded": sum(known.in_memory for known in host.loaded()),
        "models": len(inputs),
        "evictions": sum(n for key, n in COUNTERS.snapshot().items() if "evictions" in key),
    }
    print(json.dumps(said))


def inputs_of(package: Package) -> dict[str, Any]:
    """Numbers for a model that are always the same."""
    given = np.random.default_rng(_SEED)
    entries = package.manifest.variants[0].tensors.inputs
    return {entry.name: _numbers(given, entry) for entry in entries}


def ask(host: LocalHost, name: str, inputs: dict[str, Any]) -> dict[str, Array]:
    """A model's answer."""
    return dict(host.resolve(name).answer(inputs, {}).outputs)


def _numbers(given: np.random.Generator, entry: TensorEntry) -> Array:
    shape = [max(n, 1) for n in entry.shape]
    dtype = np.dtype(entry.dtype)
    if dtype.kind == "f":
        return given.uniform(-1, 1, shape).astype(dtype)
    return given.integers(0, 100, shape).astype(dtype)


def _called(
    host: LocalHost, inputs: dict[str, dict[str, Any]], arguments: argparse.Namespace
) -> dict[str, Any]:
    names = list(inputs)
    expected = dict(np.load(arguments.compare)) if arguments.compare else {}
    problems: list[str] = []

    def call(caller: int) -> None:
        chosen = np.random.default_rng(caller)
        for _ in range(arguments.calls // arguments.callers):
            name = names[chosen.integers(len(names))]
            try:
                outputs = ask(host, name, inputs[name])
            except WhereverError as error:
                problems.append(f"{name}: {error}")
                continue
            problems.extend(
                f"{name}: {output} differs"
                for output, array in outputs.items()
                if f"{name} {output}" in expected
                and not np.allclose(array, expected[f"{name} {output}"], rtol=1e-3, atol=1e-4)
            )

    callers = [threading.Thread(target=call, args=(n,)) for n in range(arguments.callers)]
    began = perf_counter()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    elapsed_s = perf_counter() - began
    return {"problems": problems, "calls_per_s": arguments.calls / elapsed_s}


if __name__ == "__main__":
    main()
