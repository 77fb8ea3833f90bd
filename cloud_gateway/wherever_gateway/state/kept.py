"""Answers that are kept for calls that come again: the latest in memory, all in the database."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from time import time
from typing import NamedTuple

MAX_ANSWER_BYTES = 1024 * 1024
MAX_MEMORY_BYTES = 16 * 1024 * 1024
TTL_S = 24 * 3600.0


class Kept(NamedTuple):
    """An answer that is kept.

    Attributes:
        inputs: a digest of what the call was made with.
        answer: the answer, as a message of the protocol.
        at_s: when it was given, in seconds since 1970.
    """

    inputs: str
    answer: bytes
    at_s: float


class KeptAnswers:
    """The answers of calls with an idempotency key. Safe to use from many threads.

    What does not fit the memory is found in the database, once it has been written there. Answers
    are given up when they are too old, when there are too many, and before they are written when
    the database stays away.

    Args:
        look_up: finds an answer in the database, None without one.
        wake: called when there is something to write.
        ttl_s: how long an answer is kept.
        max_bytes: how much is held in memory, written or not.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        look_up: Callable[[str], Kept | None],
        wake: Callable[[], None],
        *,
        ttl_s: float = TTL_S,
        max_bytes: int = MAX_MEMORY_BYTES,
        clock: Callable[[], float] = time,
    ) -> None:
        self.ttl_s = ttl_s
        self._look_up = look_up
        self._wake = wake
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._held: OrderedDict[str, Kept] = OrderedDict()
        self._unwritten: dict[str, Kept] = {}
        self._bytes = 0

    def fits(self, n_bytes: int) -> bool:
        """Whether an answer with tensors of so many bytes is kept."""
        return n_bytes <= min(MAX_ANSWER_BYTES, self._max_bytes)

    def find(self, id_: str) -> Kept | None:
        """The answer that was kept under an id; None when there is none, or none can be had."""
        with self._lock:
            held = self._held.get(id_)
        kept = held or self._look_up(id_)
        fresh = kept is not None and self._clock() - kept.at_s <= self.ttl_s
        return kept if fresh else None

    def keep(self, id_: str, inputs: str, answer: bytes) -> None:
        """Keep an answer."""
        kept = Kept(inputs, answer, self._clock())
        with self._lock:
            self._forget(id_)
            self._held[id_] = self._unwritten[id_] = kept
            self._bytes += len(answer)
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._held)))
        self._wake()

    def unwritten(self) -> Mapping[str, Kept]:
        """The answers that are not in the database yet."""
        with self._lock:
            return self._unwritten.copy()

    def written(self, answers: Mapping[str, Kept]) -> None:
        """These answers are in the database now."""
        with self._lock:
            for id_, kept in answers.items():
                if self._unwritten.get(id_) is kept:
                    del self._unwritten[id_]

    def _forget(self, id_: str) -> None:
        kept = self._held.pop(id_, None)
        if kept is not None:
            self._bytes -= len(kept.answer)
            self._unwritten.pop(id_, None)
