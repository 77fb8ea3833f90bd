"""Knowing that this process was forked after gRPC had been used.

gRPC's threads and sockets do not survive a fork. What a child sees when it goes on regardless was
tried with grpcio 1.85: mostly an answer, but also calls that hang past their deadline, and 4
crashes in 60 forks of a busy parent. So a child never uses gRPC: it goes over REST, on connections
of its own, and where there is no REST it gets an error, always the same one.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol

from wherever_contracts.errors import ForkedError

_used = False
_forked_after_use = False


class Forkable(Protocol):
    """What has to begin anew in a child."""

    def after_fork(self) -> object:
        """Drop what belongs to the parent; gives it back, so that nothing of it is ever freed."""
        ...


def begin_anew_in_children(one: Forkable) -> None:
    """Call `one.after_fork()` in every child of this process, for as long as `one` lives."""
    _forkables.add(one)


def note_use() -> None:
    """Say that gRPC is used from now on.

    Raises:
        ForkedError: a parent of this process had used it.
    """
    global _used  # noqa: PLW0603 (a fact about the process)
    refuse_in_child()
    # or gRPC would start threads in a child, on the sockets of its parent; read when it is imported
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    _used = True


def refuse_in_child() -> None:
    """Refuse to go on in a child of a process that had used gRPC.

    Raises:
        ForkedError: this is such a child.
    """
    if _forked_after_use:
        raise error()


def error(more: str = "") -> ForkedError:
    """The error of a child that needs gRPC; `more` says what else was tried."""
    return ForkedError(
        "this process was forked from one that had already used the network, and gRPC does "
        "not work in such a child; let the gateway serve HTTP beside gRPC, start the process "
        "another way (multiprocessing's 'spawn' or 'forkserver'), or make the first call over "
        f"the network after the fork{f' ({more})' if more else ''}"
    )


def in_child() -> bool:
    """True in a child of a process that had used gRPC."""
    return _forked_after_use


_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()


def _after_fork() -> None:
    global _forked_after_use  # noqa: PLW0603 (a fact about the process)
    _forked_after_use = _forked_after_use or _used
    inherited = [one.after_fork() for one in list(_forkables)]
    if _forked_after_use:
        _never_free(inherited)


def _never_free(inherited: list[object]) -> None:
    """Keep what a child inherited of gRPC to the end of the process, and through it.

    Whatever of it is freed, by the collector or when the interpreter ends, makes gRPC shut down
    in a child that has none of its threads, and abort now and then.
    """
    import ctypes  # noqa: PLC0415 (only in such a child)
    import gc  # noqa: PLC0415

    gc.freeze()
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
