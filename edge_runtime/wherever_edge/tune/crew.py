"""The processes in which plans are measured, one for each engine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import EngineCrashError, EngineError
from wherever_contracts.frames import FrameError
from wherever_edge.tune.messages import receive, send

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# A worker that takes longer to import its runtime counts as hanging.
_START_S = 60.0


class Worker:
    """A process with one engine; starting it does not wait.

    Args:
        engine: the engine's name.
        cores: how many cores it may use.
        environment: what it shall find in the environment besides ours.
    """

    def __init__(self, engine: str, cores: int, environment: Mapping[str, str]) -> None:
        self.engine = engine
        self._late = False
        self._process = subprocess.Popen(  # noqa: S603 (our own module)
            [sys.executable, "-m", "wherever_edge.tune.worker", engine, str(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )

    def ask(
        self, order: Mapping[str, Any], arrays: Mapping[str, Array], *, timeout_s: float
    ) -> tuple[dict[str, Any], dict[str, Array]]:
        """Give an order, and wait for what came of it.

        Raises:
            EngineError: the engine could not.
            EngineCrashError: the process died of it, or took too long and was ended.
        """
        timer = threading.Timer(timeout_s, self._end_late)
        timer.daemon = True  # Ctrl-C may come while it starts: nobody waits for it at the end
        try:
            timer.start()
            answer = self._exchange(order, arrays)
        finally:
            timer.cancel()
        if answer is None:
            raise EngineCrashError(self._last_words(timeout_s))
        if "error" in answer[0]:
            raise EngineError(answer[0]["error"])
        return answer

    def close(self) -> None:
        """End the process, whatever it does; nothing of it is kept."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()

    def _exchange(
        self, order: Mapping[str, Any], arrays: Mapping[str, Array]
    ) -> tuple[dict[str, Any], dict[str, Array]] | None:
        told, heard = self._process.stdin, self._process.stdout
        if told is None or heard is None:
            return None
        try:
            send(told, order, arrays)
            return receive(heard)
        except (OSError, ValueError, FrameError):
            return None

    def _end_late(self) -> None:
        self._late = True
        self._process.kill()

    def _last_words(self, timeout_s: float) -> str:
        code = self._process.wait()
        if self._late:
            return f"{self.engine} did not answer within {timeout_s:.0f} s while it was measured"
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"{self.engine} died ({how}) while it was measured"


class Crew:
    """A worker for each engine: started when it is needed, and again when it has died.

    Args:
        cores: how many cores each may use.
        environment: what they shall find in the environment besides ours.
    """

    def __init__(self, cores: int, environment: Mapping[str, str]) -> None:
        self._cores = cores
        self._environment = environment
        self._workers: dict[str, Worker] = {}

    def of(self, engine: str) -> Worker:
        """The worker that has an engine."""
        if engine not in self._workers:
            self._workers[engine] = Worker(engine, self._cores, self._environment)
        return self._workers[engine]

    def start(self, engines: Collection[str]) -> None:
        """Start the workers of some engines, and wait: one that starts disturbs who is measured."""
        for engine in engines:
            self.of(engine)
        for engine in engines:
            self.devices(engine)

    def devices(self, engine: str) -> tuple[str, ...]:
        """The hardware that an engine can use here; the CPU alone when it cannot say."""
        worker = self.of(engine)
        try:
            return tuple(worker.ask({"do": "devices"}, {}, timeout_s=_START_S)[0]["devices"])
        except EngineCrashError:
            self.bury(worker)
        except EngineError:
            pass
        return ("cpu",)

    def bury(self, worker: Worker) -> None:
        """Forget a worker that died."""
        worker.close()
        if self._workers.get(worker.engine) is worker:
            del self._workers[worker.engine]

    def close(self) -> None:
        """End them all."""
        for worker in self._workers.values():
            worker.close()
        self._workers = {}
