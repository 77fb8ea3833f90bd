"""The thread that sends what waits and calls back with what came; there is none without work."""

from __future__ import annotations

import logging
import math
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from wherever._outbox.box import Box
from wherever._outbox.courier import Courier
from wherever._outbox.turn import Turn
from wherever_edge.counters import COUNTERS

if TYPE_CHECKING:
    from wherever._outbox.entry import Entry

_log = logging.getLogger(__name__)

# How often it looks whether another process that sends has ended, or a link is metered no more.
LOOK_EVERY_S = 1.0
METERED_EVERY_S = 30.0
# How long a disk, or a callback, that failed is left alone.
DISK_REST_S = 2.0
CALLBACK_REST_S = 30.0
TIDY_EVERY_S = 60.0


class Worker:
    """Sends the calls of a box, one at a time, for as long as there are any.

    Args:
        box: where they wait.
        turn: who of several processes sends.
        courier: sends one.
        tell: called with the id of each call that has its result; until it returns, again and
            again, also after a restart. None: nobody wants to know.
        metered: whether the link costs by the byte now, and nothing may be sent for that.
        recorded: called after each result.
    """

    def __init__(
        self,
        box: Box,
        turn: Turn,
        courier: Courier,
        *,
        tell: Callable[[str], None] | None,
        metered: Callable[[], bool],
        recorded: Callable[[], None],
    ) -> None:
        self._box = box
        self._turn = turn
        self._courier = courier
        self._tell = tell
        self._metered = metered
        self._recorded = recorded
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._tidy_at = -math.inf
        self._tell_at = -math.inf
        self._told: set[str] = set()

    def start(self) -> None:
        """See to what waits from now on; a thread is made when there is something."""
        with self._lock:
            if self._closed:
                return
            self._wake.set()
            if self._thread is None and self._has_work():
                thread = threading.Thread(
                    target=_work,
                    args=(weakref.ref(self), self._wake, self._turn),
                    name="wherever-outbox",
                    daemon=True,
                )
                with suppress(RuntimeError):  # no thread is to be had; what is put in next tries
                    thread.start()
                    self._thread = thread

    def hurry(self) -> None:
        """A host was seen to answer: try soon what waits because none did."""
        if self._thread is not None:
            self._courier.drain.hurry(monotonic())
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Stop, and wait so long for the thread to end."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wake.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def advance(self) -> float | None:
        """Do what is to be done now; seconds until there is more, None when there is none."""
        wait_s = 0.0 if self._closed else self._guarded_step()
        if wait_s == math.inf or self._closed:
            return None if self._leaves() else 0.0
        return min(wait_s, TIDY_EVERY_S)

    def left(self, thread: threading.Thread) -> None:
        """Note that a thread has ended, however it did; another may have taken its place."""
        with self._lock:
            if self._thread is thread:
                self._turn.give_back()
                self._thread = None

    def _leaves(self) -> bool:
        """End the thread, unless there is work since."""
        with self._lock:
            if not self._closed and self._has_work():
                return False
            self._turn.give_back()  # not later: the turn may be another thread's then
            self._thread = None
            return True

    def _has_work(self) -> bool:
        try:
            return bool(self._box.waiting() or self._untold())
        except OSError as error:
            _log.warning("the outbox in %s cannot be read: %s", self._box.root, error)
            return False

    def _guarded_step(self) -> float:
        """Seconds until the next step, whatever the disk does."""
        try:
            return self._step()
        except OSError as error:
            COUNTERS.add("wherever_outbox_disk_failures_total")
            _log.warning("the outbox in %s does not work now: %s", self._box.root, error)
            return DISK_REST_S

    def _step(self) -> float:
        told_s = self._tell_all()
        entries = [each.entry for each in self._box.waiting()]
        if not entries:
            self._turn.give_back()
            return told_s
        if self._metered():
            if self._is_any_over(entries) and self._take_turn():
                self._tidy()  # whoever waits for an answer is told, though nothing is sent
            self._turn.give_back()
            return METERED_EVERY_S
        if not self._take_turn():
            return LOOK_EVERY_S
        self._courier.write()
        self._tidy()
        drain = self._courier.drain
        entry = drain.choose(entries, monotonic())
        if entry is None:
            if drain.paused_until > monotonic():
                self._turn.give_back()  # another process may know a host that answers
            return min(told_s, drain.wait_s(entries, monotonic()))
        if self._courier.deliver(entry) is not None:
            self._recorded()
        self._courier.forget_all_but(entries)
        return 0.0

    def _is_any_over(self, entries: Sequence[Entry]) -> bool:
        return any(self._box.age_s(each.created) >= each.ttl_s for each in entries)

    def _take_turn(self) -> bool:
        if not self._turn.mine and self._turn.take():
            self._box.recover()
        return self._turn.mine

    def _tidy(self) -> None:
        if monotonic() >= self._tidy_at:
            self._tidy_at = monotonic() + TIDY_EVERY_S
            if self._box.expire():
                self._recorded()
            self._box.prune()

    def _untold(self) -> list[str]:
        if self._tell is None:
            return []
        return [id_ for id_ in self._box.untold() if id_ not in self._told]

    def _tell_all(self) -> float:
        """Call back for each result that nobody was told of; seconds until that is tried again."""
        if monotonic() < self._tell_at:
            return self._tell_at - monotonic()
        for id_ in self._untold():
            if not self._tell_one(id_):
                self._tell_at = monotonic() + CALLBACK_REST_S
                return CALLBACK_REST_S
        return math.inf

    def _tell_one(self, id_: str) -> bool:
        assert self._tell is not None  # noqa: S101 (nothing is untold without it)
        try:
            self._tell(id_)
        except Exception:  # noqa: BLE001 (a callback may raise anything)
            _log.exception("the callback for upgrade %s failed; it is called again", id_)
            return False
        self._told.add(id_)
        self._box.told(id_)
        return True


def _work(worker: weakref.ref[Worker], wake: threading.Event, turn: Turn) -> None:
    """Work until there is none, or nobody has the worker any more."""
    try:
        while (target := worker()) is not None:
            wake.clear()
            wait_s = target.advance()
            if wait_s is None:
                return
            del target
            wake.wait(wait_s)
    finally:
        target = worker()
        if target is None:
            turn.give_back()
        else:
            target.left(threading.current_thread())
