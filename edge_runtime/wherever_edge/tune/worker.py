"""The process in which the plans of one engine run while they are measured.

    python -m wherever_edge.tune.worker ENGINE CORES

It obeys messages on standard input, one answer each, and ends with the one who sends them. What the
runtime prints goes to standard error.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import IO, TYPE_CHECKING, Any

from wherever_contracts.errors import WhereverError
from wherever_devices.plans import RunPlan, departures
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.memory import give_back, resident_bytes
from wherever_edge.packages.checks import tensor_mismatch
from wherever_edge.packages.package import open_directory
from wherever_edge.tune.messages import receive, send

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.engines.engine import Session

    Answer = tuple[dict[str, Any], Mapping[str, Array]]

# Runs before the timed ones: at most so many, for about so long.
_WARM_RUNS = 5
_WARM_S = 0.05


class Bench:
    """The sessions of one engine that are being measured.

    Args:
        engine: the engine's name.
    """

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._engines = InstalledEngines()
        with suppress(WhereverError):
            self._engines.devices(engine)  # imports the runtime: no plan shall pay for it
        self._sessions: dict[str, Session] = {}
        self._feeds: dict[str, dict[str, Array]] = {}
        self._obey: dict[str, Callable[[dict[str, Any], dict[str, Array]], Answer]] = {
            "devices": self._devices,
            "open": self._open,
            "answer": self._answer,
            "run": self._run,
            "close": self._close,
        }

    def obey(self, order: dict[str, Any], arrays: dict[str, Array]) -> Answer:
        """Carry an order out; what goes wrong is the answer."""
        try:
            return self._obey[order["do"]](order, arrays)
        except (WhereverError, OSError, MemoryError) as error:
            return {"error": str(error) or type(error).__name__}, {}

    def _devices(self, _order: dict[str, Any], _arrays: dict[str, Array]) -> Answer:
        return {"devices": list(self._engines.devices(self._engine))}, {}

    def _open(self, order: dict[str, Any], _arrays: dict[str, Array]) -> Answer:
        plan = RunPlan(**order["plan"])
        package = open_directory(Path(order["root"]))
        variant = package.manifest.variant(order["variant"])
        files = [package.read(entry) for entry in variant.files]
        give_back()
        before = resident_bytes()
        started = perf_counter()
        session = self._engines.open(plan, variant.format, files, Resources())
        load_s = perf_counter() - started
        mismatch = tensor_mismatch(variant, session.inputs, session.outputs)
        if mismatch is not None:
            raise mismatch
        self._sessions[order["key"]] = session
        specs = [
            [[spec.name, spec.dtype, list(spec.shape)] for spec in side]
            for side in (session.inputs, session.outputs)
        ]
        return {
            "load_s": load_s,
            "before_bytes": before,
            "inputs": specs[0],
            "outputs": specs[1],
            "departures": list(departures(plan, session.facts.ran)),
        }, {}

    def _answer(self, order: dict[str, Any], arrays: dict[str, Array]) -> Answer:
        """Run once; what was given is what later runs are given, too."""
        self._feeds[order["key"]] = {name: array.copy() for name, array in arrays.items()}
        return {}, self._sessions[order["key"]].run(arrays)

    def _run(self, order: dict[str, Any], _arrays: dict[str, Array]) -> Answer:
        """Timed runs; `runs` 0 warms up."""
        run, feed = self._sessions[order["key"]].run, self._feeds[order["key"]]
        if not order["runs"]:
            return self._warmed(run, feed)
        run(feed)  # the other plans have emptied the caches since the last turn
        samples: list[float] = []
        cpu_started = process_time()
        for _ in range(order["runs"]):
            started = perf_counter()
            run(feed)
            samples.append(perf_counter() - started)
        return {"runs_s": samples, "cpu_s": process_time() - cpu_started}, {}

    def _warmed(
        self, run: Callable[[Mapping[str, Array]], object], feed: Mapping[str, Array]
    ) -> Answer:
        samples: list[float] = []
        while len(samples) < _WARM_RUNS and sum(samples) < _WARM_S:
            started = perf_counter()
            run(feed)
            samples.append(perf_counter() - started)
        return {"usual_s": median(samples), "memory_bytes": resident_bytes()}, {}

    def _close(self, order: dict[str, Any], _arrays: dict[str, Array]) -> Answer:
        session = self._sessions.pop(order["key"], None)
        self._feeds.pop(order["key"], None)
        if session is not None:
            session.close()
        return {}, {}


def main(engine: str, cores: int) -> None:
    """Serve the process that started this one, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who measures
    _keep_to(cores)
    answers = _own_output()
    bench = Bench(engine)
    while (message := receive(sys.stdin.buffer)) is not None:
        send(answers, *bench.obey(*message))


def _keep_to(cores: int) -> None:
    """Use so many cores at most, where the system can be told."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if cores < len(allowed):
            os.sched_setaffinity(0, allowed[:cores])


def _own_output() -> IO[bytes]:
    """Standard output for us alone: runtimes print to it."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
