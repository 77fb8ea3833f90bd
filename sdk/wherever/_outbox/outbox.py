"""The outbox of one client: what is put in, sent, and what came of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

from wherever._outbox.age import Stamp
from wherever._outbox.box import Bounds, Box, Waiting
from wherever._outbox.clock import stamp_now
from wherever._outbox.courier import Courier, Send
from wherever._outbox.disk import RealDisk
from wherever._outbox.drain import Drain, turn_of
from wherever._outbox.entry import Letter, Result
from wherever._outbox.turn import Turn
from wherever._outbox.worker import Worker
from wherever_contracts.errors import InputError, UpgradeError, WhereverError

MAX_ENTRIES = 10_000
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.02, 0.5


class Limits(NamedTuple):
    """What the settings say.

    Attributes:
        max_bytes: calls and results together.
        ttl_s: how long a call waits, and how long its result is kept after that.
        share: how much of the uplink is used.
        metered: whether calls are sent over a link that costs by the byte, too.
    """

    max_bytes: int
    ttl_s: float
    share: float
    metered: bool


class Tried(NamedTuple):
    """A call that was sent by hand: what came of it, or why it waits still."""

    waiting: Waiting
    result: Result | None
    error: WhereverError | None


class Outbox:
    """The outbox of a home. Safe to use from many threads; several processes may share a home.

    Nothing is written and no thread is made before a call is put in, or waits from before.

    Args:
        home: the state directory.
        limits: what the settings say.
        send: sends a call; see `Courier`.
        metered: whether the link costs by the byte now.
        on_upgrade: called with the result of each call, at least once.
        now: the time.
    """

    def __init__(
        self,
        home: Path,
        limits: Limits,
        send: Send,
        *,
        metered: Callable[[], bool] = lambda: False,
        on_upgrade: Callable[[Result], None] | None = None,
        now: Callable[[], Stamp] = stamp_now,
    ) -> None:
        self.limits = limits
        self._now = now
        self._send = send
        self.box: Box = open_box(home, limits, now)
        self._turn = Turn(self.box.root / ".turn")
        self._changed = threading.Condition()
        self._courier = self._new_courier(limits.share)
        self._worker = Worker(
            self.box,
            self._turn,
            self._courier,
            tell=None if on_upgrade is None else partial(_tell, self.box, on_upgrade),
            metered=(lambda: False) if limits.metered else metered,
            recorded=self._tell_waiters,
        )

    def stamp(self) -> Stamp:
        """This moment, for a call that is put in now."""
        return self._now()

    def add(self, letter: Letter) -> None:
        """Put a call in; see `Box.add`. It is sent beside the calls that follow."""
        self.box.add(letter)
        self._worker.start()

    def start(self) -> None:
        """See to what waits from before, or has not been told."""
        self._worker.start()

    def hurry(self) -> None:
        """A host was seen to answer: try soon what waits because none did."""
        self._worker.hurry()

    def result(self, id_: str, timeout_s: float | None = None) -> Result | None:
        """What came of a call; None when it waits still.

        Args:
            id_: the call's.
            timeout_s: how long to wait for it; None: not at all.

        Raises:
            UpgradeError: no such call is known; it never was, or its result was forgotten.
            InputError: the id or the timeout is no such thing.
        """
        until = monotonic() + _checked(timeout_s)
        look_s = _FIRST_LOOK_S
        if timeout_s:
            self.hurry()
        while True:
            result = self._known(id_)
            left_s = until - monotonic()
            if result is not None or left_s <= 0:
                return result
            with self._changed:  # another process may have the turn, so it is looked at, too
                self._changed.wait(min(look_s, left_s))
            look_s = min(2 * look_s, _LONGEST_LOOK_S)

    def why_waiting(self, id_: str) -> str:
        """Why a call was not answered when this process last tried; "" when it did not try."""
        error = self._courier.last_error.get(id_)
        return "" if error is None else str(error)

    def send_all(self, share: float) -> Iterator[Tried]:
        """Send what waits now, in its order, each call once; ends early when no host answers.

        Args:
            share: how much of the uplink is used.

        Raises:
            UpgradeError: another process is sending, or this one's own thread.
            OSError: the disk fails.
        """
        waiting = sorted(self.box.waiting(), key=lambda each: turn_of(each.entry))
        if not waiting:
            return
        if self._turn.mine or not self._turn.take():
            raise UpgradeError("what waits is being sent already; look again later", "busy")
        try:
            self.box.recover()
            courier = self._new_courier(share)
            for each in waiting:
                sleep(max(0.0, courier.drain.paced_until - monotonic()))
                result = courier.deliver(each.entry)
                error = courier.last_error.get(each.entry.id)
                yield Tried(each, result, error)
                if courier.drain.paused_until > monotonic():
                    return
        finally:
            self._turn.give_back()

    def close(self, timeout_s: float = 1.0) -> None:
        """Stop sending, and wait so long for a call that is on its way.

        What waits, and what was on its way and is not over, waits for the next client.
        """
        self._worker.close(timeout_s)
        with self._changed:
            self._changed.notify_all()

    def _known(self, id_: str) -> Result | None:
        result = self.box.result(id_)
        if result is not None or self.box.waits(id_):
            return result
        result = self.box.result(id_)  # it may have come between the two
        if result is None:
            raise UpgradeError(_unknown(self.box, id_), "unknown")
        return result

    def _new_courier(self, share: float) -> Courier:
        return Courier(self.box, Drain(share, random.random), self._send, self._now)

    def _tell_waiters(self) -> None:
        with self._changed:
            self._changed.notify_all()


def open_box(home: Path, limits: Limits, now: Callable[[], Stamp] = stamp_now) -> Box:
    """The calls and results of a home, on this machine's disk."""
    bounds = Bounds(limits.max_bytes, MAX_ENTRIES, limits.ttl_s)
    return Box(home / "outbox", RealDisk(), now, bounds)


def _checked(timeout_s: object) -> float:
    if timeout_s is None:
        return 0.0
    if not isinstance(timeout_s, int | float) or not timeout_s >= 0:
        raise InputError("timeout_s", "seconds, 0 or more", f"{timeout_s!r:.100}", kind="argument")
    return timeout_s


def _tell(box: Box, on_upgrade: Callable[[Result], None], id_: str) -> None:
    result = box.result(id_)
    if result is not None:  # or it was damaged, and there is nothing to tell
        on_upgrade(result)


def _unknown(box: Box, id_: str) -> str:
    if box.is_damaged(id_):
        return f"the file of call {id_} was damaged on the disk; it lies in {box.root / 'damaged'}"
    return (
        f"the outbox in {box.root} knows no call {id_}: it was not put in, or what came of it "
        "was forgotten since"
    )
