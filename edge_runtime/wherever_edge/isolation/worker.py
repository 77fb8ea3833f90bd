"""The program of a worker: loads one model and runs it for the process that started it.

    python -m wherever_edge.isolation.worker PARENT CONTROL LANE...

PARENT is the process id of who started it, the others are descriptors of sockets: over CONTROL it
is told what to load, and ends when that closes; each LANE is served by a thread of its own.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from wherever_contracts.errors import EngineError
from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import NUMBERS, Engine, Resources, Session
from wherever_edge.isolation import arena, frames

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array, TensorSpec

_BROKEN = 70
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
# The kernel ends this process before the application when memory runs out.
_EXPENDABLE = "500"
_LAYOUTS = 32
K = TypeVar("K")
V = TypeVar("V")


def main(parent: int, control_descriptor: int, *lanes: int) -> NoReturn:
    """Serve until the starter is gone."""
    _settle(parent)
    control = socket.socket(fileno=control_descriptor)
    asked = frames.receive(control)
    try:
        answer = _devices(asked) if asked.kind == frames.DEVICES else _serve(asked, lanes)
    except Exception as error:  # noqa: BLE001 (the named boundary: engines raise anything)
        frames.send(control, _failure(error))
    else:
        frames.send(control, frames.framed(frames.DONE, json.dumps(answer).encode()))
    control.recv(1)
    _end(0)


def _settle(parent: int) -> None:
    """Die with the starter, and of nothing that is meant for it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 (only here)

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_EXPENDABLE, encoding="ascii")
    if os.getppid() != parent:
        _end(0)


def _end(code: int) -> NoReturn:
    """End at once: a native runtime may hang in what it does at an orderly exit."""
    os._exit(code)


def _engine(asked: dict[str, Any]) -> Engine:
    module, _, name = asked["engine"].partition(":")
    made: Engine = getattr(import_module(module), name)()
    return made


def _devices(asked: frames.Frame) -> list[str]:
    return list(_engine(json.loads(asked.body)).devices())


def _serve(asked: frames.Frame, lanes: tuple[int, ...]) -> dict[str, Any]:
    """Load the model and open the lanes; returns what it turned out to be."""
    session = _load(json.loads(asked.body), asked.descriptor)
    for descriptor in lanes:
        lane = _Lane(socket.socket(fileno=descriptor), session.run)
        threading.Thread(target=lane.serve, daemon=True).start()
    return {
        "inputs": [_plain(spec) for spec in session.inputs],
        "outputs": [_plain(spec) for spec in session.outputs],
        "facts": asdict(session.facts),
        "ranges": dict(session.ranges),
    }


def _plain(spec: TensorSpec) -> tuple[str, str, tuple[int, ...]]:
    return spec.name, spec.dtype, spec.shape


def _load(asked: dict[str, Any], descriptor: int) -> Session:
    files: list[bytes] = []
    with arena.mapped(descriptor, asked["bytes"]) as memory:
        files.extend(memory.read(size) for size in asked["sizes"])
    given: dict[str, Any] = asked["resources"]
    if given["cache_dir"] is not None:
        given["cache_dir"] = Path(given["cache_dir"])
    return _engine(asked).open(
        files,
        file_format=asked["format"],
        plan=RunPlan(**asked["plan"]),
        resources=Resources(**given),
    )


class _Reply(NamedTuple):
    message: bytes
    views: list[tuple[str, Array]]


class _Lane:
    """The worker's end of a lane."""

    def __init__(
        self, connection: socket.socket, run: Callable[[Mapping[str, Array]], dict[str, Array]]
    ) -> None:
        self._connection = connection
        self._run = run
        self._memory = arena.nothing()
        self._feeds: dict[bytes, tuple[dict[str, Array], int]] = {}
        self._replies: dict[object, _Reply] = {}
        self._waiting: tuple[dict[str, Array], int] | None = None

    def serve(self) -> NoReturn:
        """Answer until the application is gone."""
        try:
            while True:
                self._answer(frames.receive(self._connection))
        except (EOFError, ConnectionError):
            _end(0)
        except BaseException:  # noqa: BLE001 (a lane that nobody serves would hang its callers)
            traceback.print_exc()
            _end(_BROKEN)

    def _answer(self, asked: frames.Frame) -> None:
        """Do what is asked, and say in the shared memory that it is being done.

        An application whose worker was killed between two calls suspects no input of it.
        """
        waiting, self._waiting = self._waiting, None
        if asked.kind != frames.RUN:
            self._use(arena.mapped(asked.descriptor, int(asked.body)))
        if asked.kind == frames.GROWN and waiting is not None:
            self._reply(*waiting)
        if asked.kind == frames.RUN:
            self._run_for(asked)

    def _run_for(self, asked: frames.Frame) -> None:
        feed, end = self._feeds.get(asked.body) or self._understood(asked.body)
        self._memory[arena.STATE] = arena.AT_WORK
        try:
            outputs = self._run(feed)
            _refuse_others(outputs)
        except EngineError as error:
            frames.send(self._connection, _failure(error))
        else:
            self._reply(outputs, end)
        finally:
            self._memory[arena.STATE] = arena.IDLE

    def _reply(self, outputs: dict[str, Array], start: int) -> None:
        """Put the outputs behind the inputs and tell where; or ask for memory, and wait for it."""
        key = start, *((name, array.dtype, array.shape) for name, array in outputs.items())
        reply = self._replies.get(key)
        if reply is None:
            tensors, end = frames.layout(outputs.items(), start)
            if end > len(self._memory):
                self._waiting = outputs, start
                frames.send(self._connection, frames.framed(frames.MORE, str(end).encode()))
                return
            body = frames.encoded(tensors)
            made = _Reply(frames.framed(frames.DONE, body), frames.views(body, self._memory))
            reply = _kept(self._replies, key, made)
        for name, view in reply.views:
            np.copyto(view, outputs[name])
        self._connection.sendall(reply.message)

    def _understood(self, body: bytes) -> tuple[dict[str, Array], int]:
        feed = dict(frames.views(body, self._memory))
        end = max(frames.end(body), arena.HEAD_BYTES)
        return _kept(self._feeds, body, (feed, end))

    def _use(self, memory: mmap.mmap) -> None:
        self._feeds.clear()
        self._replies.clear()
        self._memory = memory


def _kept(table: dict[K, V], key: K, value: V) -> V:
    if len(table) >= _LAYOUTS:
        table.clear()
    table[key] = value
    return value


def _refuse_others(outputs: Mapping[str, Array]) -> None:
    for name, array in outputs.items():
        if array.dtype.name not in NUMBERS:
            raise EngineError(f"output {name!r} has elements of type {array.dtype.name}")


def _failure(error: Exception) -> bytes:
    words = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
    return frames.framed(frames.FAILED, words.encode("utf-8", "replace")[: 1 << 16])


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
