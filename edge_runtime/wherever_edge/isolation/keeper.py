"""The thread that looks after the worker of a session: starts it, and starts it again."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import sys
import threading
import weakref
from collections.abc import Mapping
from time import monotonic
from typing import Any

from wherever_contracts.errors import EngineCrashError, EngineError
from wherever_edge.counters import COUNTERS
from wherever_edge.isolation import frames
from wherever_edge.isolation.process import Death, Worker
from wherever_edge.isolation.supervision import Backoff

_LOG = logging.getLogger(__name__)
# Compiling a large model for an accelerator takes a minute.
_LOADED_S = 180.0
_CLOSED_S = 2.0
_READ = 1 << 16
# Ends that were meant.
_ORDERLY = {"closed", "interrupt"}


class Keeper:
    """Keeps one worker alive until it is told to stop. Safe to use from many threads.

    The thread that starts a worker lives as long as the worker: the system ends a worker that asked
    for it when the *thread* dies that started it, not the process.

    Attributes:
        worker: the worker while it is ready, else None.
    """

    def __init__(
        self, engine: str, asked: Mapping[str, Any], *, kind: bytes, files: int, lanes: int
    ) -> None:
        self.engine = engine
        self.worker: Worker | None = None
        self._message = frames.framed(kind, json.dumps(asked).encode())
        self._files = files
        self._lanes = lanes
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._current: Worker | None = None
        self._answer: dict[str, Any] | None = None
        self._refused: EngineError | None = None
        self._last: Death | None = None
        self._next_start_s = 0.0
        self._stopping = False
        self._thread = threading.Thread(target=self._keep, name=f"{engine} keeper", daemon=True)
        _keepers.add(self)
        self._thread.start()

    def first_answer(self) -> Any:
        """What the first worker said once it was ready; waits for it.

        Raises:
            EngineError: the engine could not load the model, or died of it.
        """
        with self._changed:
            while self._answer is None and self._refused is None:
                self._changed.wait()
        if self._refused is not None:
            raise self._refused
        return self._answer

    def away(self) -> EngineError:
        """Why there is no worker now."""
        if os.getpid() != self._pid:
            return EngineError(
                f"{self.engine} was loaded before this process was forked; load the model anew"
            )
        if self._stopping:
            return EngineError(f"the session of {self.engine} was closed")
        with self._changed:
            in_s = max(0.0, self._next_start_s - monotonic())
            words = self._last.words if self._last else "is not there"
        when = f"in {in_s:.1f} s" if in_s else "now"
        return EngineCrashError(
            f"the worker of {self.engine} {words}; another one is started {when}"
        )

    def lost(self, worker: Worker, death: Death) -> None:
        """A call found the worker dead; nobody gets it any more."""
        with self._changed:
            if self.worker is worker:
                self.worker, self._last = None, death

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait for a worker; False when none is ready in time, or will be."""
        until_s = monotonic() + timeout_s
        with self._changed:
            while self.worker is None:
                left_s = until_s - monotonic()
                if self._stopping or left_s <= 0 or self._next_start_s > until_s:
                    return False
                self._changed.wait(left_s)
        return True

    def stop(self) -> None:
        """End the worker, and start no other; returns at once.

        A second time it takes no lock: the end of the interpreter may have frozen the keeper's
        thread with it.
        """
        if os.getpid() != self._pid or self._stopping:
            return
        with self._changed:
            self._stopping = True
            self.worker = None
            if self._current is not None:
                self._current.hang_up()
            self._changed.notify_all()

    def close(self) -> None:
        """End the worker and wait for it."""
        self.stop()
        if os.getpid() == self._pid and not sys.is_finalizing():
            self._thread.join(2 * _CLOSED_S)

    def disown(self) -> None:
        """Let go of a worker that belongs to the parent; called in the child of a fork."""
        self.worker = None
        self._changed = threading.Condition()
        if self._current is not None:
            self._current.disown()
        self._release_files()

    def _keep(self) -> None:
        try:
            self._keep_one_alive()
        finally:
            with self._changed:
                self._stopping = True
                self.worker = None
                if self._answer is None and self._refused is None:
                    self._refused = EngineError(f"the keeper of {self.engine}'s worker failed")
                self._changed.notify_all()
            self._release_files()

    def _keep_one_alive(self) -> None:
        backoff = Backoff()
        while not self._stopping:
            was_ready, lived_s = self._one_life()
            if self._answer is None:
                break
            self._pause(backoff.delay_s(lived_s=lived_s, was_ready=was_ready))

    def _one_life(self) -> tuple[bool, float]:
        """Start a worker and stay with it; returns whether it was ready, and for how long."""
        try:
            worker = Worker.start(self._lanes)
        except OSError as error:
            self._ended(Death("start", f"could not be started ({error})"))
            return False, 0.0
        with self._changed:
            self._current = worker
            if self._stopping:
                worker.hang_up()
        ready = self._prepare(worker)
        ready_s = monotonic()
        self._stay(worker)
        self._ended(worker.reap())
        return ready, monotonic() - ready_s if ready else 0.0

    def _prepare(self, worker: Worker) -> bool:
        """Let the worker load the model; True once it is at work."""
        with contextlib.suppress(OSError):
            frames.send(worker.control, self._message, self._files)
        said = self._first_word(worker)
        if said is None:
            return False
        if said.kind == frames.FAILED:
            self._refuse(worker, EngineError(said.body.decode("utf-8", "replace")))
            return False
        self._ready(worker, json.loads(said.body))
        return True

    def _first_word(self, worker: Worker) -> frames.Frame | None:
        """What the worker says to what it was asked; None when it ends, or is ended, before."""
        watched = _watching(worker)
        until_s = monotonic() + _LOADED_S
        while sources := _next(watched, until_s - monotonic()):
            if worker.control.fileno() in sources:
                try:
                    return frames.receive(worker.control)
                except (EOFError, OSError):
                    return None
            if not self._listen(worker):
                return None
        worker.end(Death("hang", f"had not loaded the model after {_LOADED_S:.0f} s and was ended"))
        return None

    def _stay(self, worker: Worker) -> None:
        """Listen until the worker is gone; one that only hung up is ended."""
        watched = _watching(worker)
        limit_s = None
        while True:
            sources = _next(watched, limit_s)
            if not sources:
                worker.kill()
                limit_s = None
            if worker.control.fileno() in sources:
                watched.unregister(worker.control.fileno())
                limit_s = _CLOSED_S
            if worker.stderr in sources and not self._listen(worker):
                return

    def _listen(self, worker: Worker) -> bool:
        """Log what the worker prints; False once it has closed the line."""
        printed = os.read(worker.stderr, _READ)
        for line in worker.heard(printed):
            _LOG.info("%s (process %d): %s", self.engine, worker.pid, line)
        return bool(printed)

    def _ready(self, worker: Worker, answer: Any) -> None:
        with self._changed:
            if self._answer is None:
                self._answer = answer
            else:
                COUNTERS.add("wherever_worker_restarts_total", engine=self.engine)
            if not self._stopping:
                self.worker = worker
            self._changed.notify_all()

    def _refuse(self, worker: Worker, error: EngineError) -> None:
        with self._changed:
            if self._answer is None:
                self._refused = error
        worker.hang_up(Death("load", f"could not load the model again ({error})"))

    def _ended(self, death: Death) -> None:
        # whoever opens the session is told why it cannot be; that is no crash
        if death.how not in _ORDERLY and self._refused is None:
            COUNTERS.add("wherever_worker_crashes_total", engine=self.engine, how=death.how)
            _LOG.warning("the worker of %s %s", self.engine, death.words)
        with self._changed:
            self.worker = self._current = None
            self._last = death
            if self._answer is None and self._refused is None:
                words = f"the worker of {self.engine} {death.words} before it had loaded the model"
                self._refused = EngineCrashError(words)
            self._changed.notify_all()

    def _pause(self, delay_s: float) -> None:
        with self._changed:
            self._next_start_s = monotonic() + delay_s
            while not self._stopping and (left_s := self._next_start_s - monotonic()) > 0:
                self._changed.wait(left_s)

    def _release_files(self) -> None:
        files, self._files = self._files, -1
        if files >= 0:
            os.close(files)


def _watching(worker: Worker) -> select.poll:
    watched = select.poll()
    for source in (worker.control.fileno(), worker.stderr):
        watched.register(source, select.POLLIN)
    return watched


def _next(watched: select.poll, limit_s: float | None) -> set[int]:
    limit_ms = None if limit_s is None else max(0.0, limit_s) * 1000
    return {source for source, _ in watched.poll(limit_ms)}


_keepers: weakref.WeakSet[Keeper] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for keeper in list(_keepers):
        keeper.disown()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
