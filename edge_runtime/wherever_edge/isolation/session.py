"""A session whose engine runs in a worker process."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import EngineCrashError, EngineError
from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines.engine import EngineFacts, Session
from wherever_edge.isolation.fingerprints import digest, sample
from wherever_edge.isolation.process import BROKEN_OFF, WorkerGone
from wherever_edge.isolation.supervision import CRASHES, Pace, Suspects, Verdict

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.isolation.keeper import Keeper


class IsolatedSession(Session):
    """Runs a variant in a worker, and outlives it.

    When the worker dies of a call, that call gets `EngineCrashError`; calls get it at once while
    another worker is started. The worker ends with the session.
    """

    def __init__(self, keeper: Keeper, answer: Mapping[str, Any]) -> None:
        super().__init__(
            _specs(answer["inputs"]), _specs(answer["outputs"]), EngineFacts(**answer["facts"])
        )
        self._ranges = {name: (low, high) for name, (low, high) in answer["ranges"].items()}
        self._keeper = keeper
        self._lock = threading.Lock()
        self._pace = Pace()
        self._suspects = Suspects()
        self._samples: set[bytes] = set()
        self._one_suspect = threading.Lock()
        weakref.finalize(self, keeper.stop)

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Input -> the numbers that the least and the greatest quantized value stand for."""
        return self._ranges

    @property
    def pids(self) -> tuple[int, ...]:
        """The worker's process id; nothing while there is none."""
        worker = self._keeper.worker
        return () if worker is None else (worker.pid,)

    def recovers(self, timeout_s: float) -> bool:
        """Wait for a worker; True when one is there."""
        return self._keeper.wait_ready(timeout_s)

    def close(self) -> None:
        """End the worker."""
        self._keeper.close()

    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        if self._samples and sample(feed) in self._samples:
            return self._run_watched(feed)
        return self._run_in_worker(feed)

    def _run_watched(self, feed: dict[str, Array]) -> dict[str, Array]:
        """Run what may be what killed a worker, with no other such input beside it."""
        key = digest(feed)
        if self._verdict(key) == "free":
            return self._run_in_worker(feed)
        with self._one_suspect:
            if self._verdict(key) == "refused":
                raise self._refusal()
            outputs = self._run_in_worker(feed)
            with self._lock:
                self._suspects.answered(key)
                if not self._suspects:
                    self._samples.clear()
        return outputs

    def _run_in_worker(self, feed: dict[str, Array]) -> dict[str, Array]:
        worker = self._keeper.worker
        if worker is None:
            raise self._keeper.away()
        shapes = tuple([array.shape for array in feed.values()])
        with self._lock:
            limit_s = self._pace.limit_s(shapes)
        try:
            outputs, elapsed_s = worker.run(feed, shapes, limit_s)
        except WorkerGone as gone:
            self._keeper.lost(worker, gone.death)
            raise self._crash(gone, worker.pid, feed) from None
        except EngineError:
            raise
        except BaseException:
            self._keeper.lost(worker, BROKEN_OFF)
            raise
        with self._lock:
            self._pace.answered(shapes, elapsed_s)
        return outputs

    def _verdict(self, key: bytes) -> Verdict:
        with self._lock:
            return self._suspects.verdict(key, monotonic())

    def _crash(self, gone: WorkerGone, pid: int, feed: dict[str, Array]) -> EngineCrashError:
        crash = EngineCrashError(f"the worker of {self.facts.engine} {gone.death.words}")
        if gone.blamed:
            key = digest(feed)
            with self._lock:
                self._samples.add(sample(feed))
                crash.retryable = self._suspects.crashed(key, pid, monotonic()) != "refused"
        return crash

    def _refusal(self) -> EngineCrashError:
        refusal = EngineCrashError(
            f"this input ended the worker of {self.facts.engine} {CRASHES} times, and is not run "
            "in it for a while"
        )
        refusal.retryable = False
        return refusal


def _specs(plain: list[tuple[str, str, list[int]]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in plain)
