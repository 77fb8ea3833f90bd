"""Sends one call and writes down what came of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import NamedTuple, TypeAlias

from wherever._outbox.age import Stamp
from wherever._outbox.box import Box
from wherever._outbox.drain import Drain, Spent, Way
from wherever._outbox.entry import Entry, Letter, Result
from wherever_contracts.errors import RemoteError, WhereverError
from wherever_contracts.frames import FrameError
from wherever_contracts.places import Place
from wherever_contracts.receipts import Answer
from wherever_edge.counters import COUNTERS

_log = logging.getLogger(__name__)


class Delivered(NamedTuple):
    """An answer, who gave it, and what the way there was measured to be (None: not known)."""

    answer: Answer
    place: Place
    host: str
    way: Way | None = None


Send: TypeAlias = Callable[[Letter, float], Delivered]


class Courier:
    """Takes calls from a box to a host. For one thread at a time.

    Args:
        box: where they wait.
        drain: which goes first, and when.
        send: sends a call, in so many seconds; raises `WhereverError` when there is no answer.
        now: the time, for results.

    Attributes:
        last_error: why a call was not answered when it was last tried, by its id.
    """

    def __init__(self, box: Box, drain: Drain, send: Send, now: Callable[[], Stamp]) -> None:
        self._box = box
        self._send = send
        self._now = now
        self.drain = drain
        self.last_error: dict[str, WhereverError] = {}
        self._unwritten: list[Result] = []

    def deliver(self, entry: Entry) -> Result | None:
        """Send a call once; None when there is no result yet.

        Raises:
            OSError: the disk fails; what came is kept in memory, and `write` writes it.
        """
        letter = self._box.letter(entry.id)
        if letter is None:
            return None
        result = self._sent(letter)
        if result is not None:
            self._unwritten.append(result)
            self.write()
        return result

    def write(self) -> None:
        """Write down the results that a failing disk did not take.

        Raises:
            OSError: it still fails.
        """
        while self._unwritten:
            self._record(self._unwritten[0])
            del self._unwritten[0]

    def forget_all_but(self, waiting: Iterable[Entry]) -> None:
        """Drop what is remembered of calls that wait no more."""
        ids = {entry.id for entry in waiting}
        self.last_error = {id_: why for id_, why in self.last_error.items() if id_ in ids}
        self.drain.forget_all_but(ids)

    def _sent(self, letter: Letter) -> Result | None:
        entry, request, signature = letter
        size = sum(len(tensor.data) for tensor in request.inputs)
        began = monotonic()
        try:
            delivered = self._send(letter, self.drain.timeout_s(entry, size))
        except WhereverError as error:
            return self._failed(letter, error, Spent(size, monotonic() - began))
        except Exception as error:  # noqa: BLE001 (one call must not stop the others)
            _log.exception("the outbox could not send call %s", entry.id)
            failure = RemoteError(f"sending it ended with {type(error).__name__}: {error}")
            return self._failed(letter, failure, Spent(size, monotonic() - began))
        answer, place, host, way = delivered
        away_s = answer.engine_s + answer.queue_s
        ended = monotonic()
        self.drain.answered(entry, Spent(size, ended - began, away_s, way), ended)
        return Result(entry, signature, self._now(), answer, place, host)

    def _failed(self, letter: Letter, error: WhereverError, spent: Spent) -> Result | None:
        # it is kept; the frames behind it would keep the whole message alive
        error.__cause__ = error.__context__ = None
        self.last_error[letter.entry.id] = error.with_traceback(None)
        if self.drain.failed(letter.entry, error, spent, monotonic()) == "again":
            return None
        return _refused(letter.entry, letter.signature, self._now(), error)

    def _record(self, result: Result) -> None:
        try:
            fresh = self._box.record(result)
        except FrameError as error:
            fresh = self._box.record(_refused(result.entry, result.signature, self._now(), error))
        if fresh:
            how = "answered" if result.answer is not None else result.kind
            COUNTERS.add("wherever_outbox_ended_total", how=how)


def _refused(entry: Entry, signature: bytes, now: Stamp, error: Exception) -> Result:
    why = f"{type(error).__name__}: {error}"
    return Result(entry, signature, now, None, kind="refused", error=why)
