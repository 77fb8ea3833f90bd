"""The memory that the sessions of a host share: measured as the process has it, and bounded."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import EngineError
from wherever_edge.counters import COUNTERS
from wherever_edge.eviction import Tenant, expected_bytes, is_tight, to_put_out, too_large

if TYPE_CHECKING:
    from wherever_edge.engines.engine import Session
    from wherever_edge.resident import Resident

_LOG = logging.getLogger(__name__)
_NEVER_S = float("inf")
# Of the budget, what is left to the runs that go on while a session is opened.
_SPARE = 0.04
# Between two looks at the memory while models run: a look takes 20 us.
_LOOK_EVERY_S = 0.05
# The same where nothing more can be done, as a look then costs milliseconds, or is urgent.
_LOOK_IN_VAIN_S = 1.0
# For how long a session that is to come waits for the last runs of those that were put out.
_DRAIN_S = 5.0
_REMEMBERED = 4
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # as <malloc.h> has them
_LARGE_BYTES = 512 << 10
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Room:
    """Memory without a limit.

    Attributes:
        due_s: the time, by `perf_counter`, after which a run should call `look`.
    """

    due_s: float = _NEVER_S

    @contextmanager
    def opening(self, resident: Resident) -> Generator[None]:
        """Around the opening of a session: notes what it takes."""
        before = resident_bytes()
        yield
        taken = resident_bytes() - before + _workers_bytes([resident])
        resident.held_bytes = max(0, taken)

    def look(self, now_s: float) -> None:
        """See whether more is taken than may be."""

    def too_large(self, needs_bytes: int, resident: Resident | None) -> str:
        """Why a session cannot ever be here, as half a sentence; "" when it may be."""
        return ""


class Budget(Room):
    """Memory of which only so much may be taken.

    What is taken is the growth of the process, and of the processes that engines run in, since the
    host began: the runtimes count, and so does what the application takes meanwhile. Sessions are
    opened one at a time, each after those that were used longest ago have made room.

    A session that nothing can make room for is opened all the same: the budget bounds what stays.

    Where the budget is tight, sessions are also run once when they are opened, so that their size
    is known, and the allocator is told to return what it can: see `free_at_once`.

    Args:
        max_bytes: what may be taken.
        started_bytes: what the process took when the host began.
        residents: the sessions there are, in memory or not.
        pinned: says which of them may not be put out.
    """

    def __init__(
        self,
        max_bytes: int,
        started_bytes: int,
        residents: Callable[[], Collection[Resident]],
        pinned: Callable[[Resident], bool],
    ) -> None:
        self.max_bytes: int = max_bytes
        self._aim_bytes = int(max_bytes * (1 - _SPARE))
        self._started_bytes = started_bytes
        self._residents = residents
        self._pinned = pinned
        self._lock = threading.RLock()
        self._tight = is_tight(max_bytes)
        self._look_every_s = _LOOK_EVERY_S if self._tight else _LOOK_IN_VAIN_S
        if self._tight:
            free_at_once()
        self._engines: set[str] = set()

    @contextmanager
    def opening(self, resident: Resident) -> Generator[None]:
        """Around the opening of a session: makes room before, and sees what it took after."""
        with self._lock:
            first = resident.plan.engine not in self._engines
            self._make_room(self._expected(resident, first=first), resident, _DRAIN_S)
            peak, before = peak_bytes(), self.taken_bytes()
            yield
            self._engines.add(resident.plan.engine)
            if self._tight:
                _run_once(resident.session)
            self._learn(resident, before, peak, first=first)
            self._make_room(0, resident, 0.0)
            self.due_s = perf_counter() + self._look_every_s

    def look(self, now_s: float) -> None:
        """Put out whom it takes when runs have made the process larger than it may be."""
        if not self._lock.acquire(blocking=False):
            return  # a session is being opened, which looks as well
        try:
            self.due_s = now_s + self._look_every_s
            inside = self._inside()
            newest = max(inside, key=lambda resident: resident.used, default=None)
            self._make_room(0, newest, 0.0)
            if self.taken_bytes() > self._aim_bytes:
                self.due_s = now_s + _LOOK_IN_VAIN_S
        finally:
            self._lock.release()

    def too_large(self, needs_bytes: int, resident: Resident | None) -> str:
        """Why a session cannot ever be within the budget, as half a sentence; "" when it may be."""
        return too_large(needs_bytes, resident.measured if resident else (), self.max_bytes)

    def taken_bytes(self) -> int:
        """What is taken now.

        The growth of the process, but not less than what its sessions took when they were opened:
        it may have been larger when the host began than it is without them.
        """
        inside = self._inside()
        grown = resident_bytes() - self._started_bytes + _workers_bytes(inside)
        return max(grown, sum(resident.held_bytes for resident in inside))

    def _make_room(self, coming_bytes: int, keep: Resident | None, wait_s: float) -> None:
        """Put sessions out until what comes fits, or nobody is left who may be put out."""
        if self.taken_bytes() + coming_bytes <= self._aim_bytes:
            return
        give_back()
        until_s = perf_counter() + wait_s
        while leaving := self._leaving(coming_bytes, keep):
            drained = [resident.put_out() for resident in leaving]
            for resident in leaving:
                _count(resident)
            for event in filter(None, drained):
                event.wait(max(0.0, until_s - perf_counter()))
            give_back()

    def _leaving(self, coming_bytes: int, keep: Resident | None) -> list[Resident]:
        inside = {id(resident): resident for resident in self._inside()}
        tenants = [
            Tenant(
                key,
                resident.used,
                self._held(resident),
                stays=resident is keep
                or self._pinned(resident)
                or not resident.lodging.may_leave(),
            )
            for key, resident in inside.items()
        ]
        leaving = to_put_out(
            tenants,
            taken_bytes=self.taken_bytes(),
            coming_bytes=coming_bytes,
            max_bytes=self._aim_bytes,
        )
        return [inside[id_] for id_ in (tenant.key for tenant in leaving)]

    def _inside(self) -> list[Resident]:
        return [resident for resident in self._residents() if resident.session is not None]

    def _held(self, resident: Resident) -> int:
        return resident.held_bytes or self._expected(resident, first=False)

    def _expected(self, resident: Resident, *, first: bool) -> int:
        lodging = resident.lodging
        return expected_bytes(
            resident.plan.engine,
            lodging.file_bytes,
            lodging.needs_bytes,
            resident.measured,
            first=first,
        )

    def _learn(self, resident: Resident, before: int, peak: int, *, first: bool) -> None:
        """Note what a session holds, and what opening it took at its height."""
        grown = self.taken_bytes() - before
        if first or not resident_bytes():  # the runtime came along, or the system does not tell
            guess = self._expected(resident, first=False)
            resident.held_bytes = min(grown, guess) if grown > 0 else guess
            return
        resident.held_bytes = max(0, grown)
        now = peak_bytes()
        height = now - self._started_bytes - before if now > peak else 0
        taken = max(resident.held_bytes + resident.lodging.file_bytes, height)
        resident.measured = (*resident.measured[1 - _REMEMBERED :], taken)


def resident_bytes(pid: int = 0) -> int:
    """The memory that a process has; 0 where the system does not tell, or it has ended.

    Args:
        pid: the process; 0 means this one.
    """
    try:
        with open(f"/proc/{pid or 'self'}/statm", "rb") as file:  # noqa: PTH123 (8 us)
            return int(file.read().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0 if sys.platform == "linux" else _resident_bytes_elsewhere(pid)


def peak_bytes() -> int:
    """The most memory that this process ever had; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        return 0
    found = re.search(rb"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def give_back() -> None:
    """Return what the allocator keeps of freed memory to the system, where it is glibc."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


def free_at_once() -> None:
    """Let freed blocks go back to the system, where the allocator is glibc; for good.

    Left alone, it serves blocks as large as the largest that was ever freed, and those of each
    thread, from heaps that it can hardly shrink: 25 models that took turns for 100 calls left
    40 MB there. The price is that threads wait for each other's small blocks.
    """
    libc = _libc()
    if libc is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_ARENA_MAX, 1)


@cache
def _libc() -> Any:
    """The C library, where it is glibc."""
    import ctypes  # noqa: PLC0415 (7 ms)

    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # Windows
        return None
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None


def _resident_bytes_elsewhere(pid: int) -> int:
    try:
        psutil: Any = import_module("psutil")
    except ImportError:
        return 0
    try:
        return int(psutil.Process(pid or None).memory_info().rss)
    except psutil.Error:
        return 0


def _workers_bytes(residents: Collection[Resident]) -> int:
    """The memory of the processes, other than this one, that sessions live in."""
    sessions = [session for resident in residents if (session := resident.session) is not None]
    return sum(map(resident_bytes, {pid for session in sessions for pid in session.pids}))


def _run_once(session: Session | None) -> None:
    """Run on zeros: what a model takes shows in its first run."""
    with suppress(EngineError):
        if session is not None:
            session.warm()


def _count(resident: Resident) -> None:
    model, version, variant = resident.lodging[:3]
    _LOG.info("%s %s: %s leaves the memory", model, version, variant)
    COUNTERS.add("wherever_evictions_total", model=model, variant=variant)
