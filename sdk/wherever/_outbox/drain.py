"""Which call is sent next, and when. Pure: the time and chance are passed in.

After each call the link is left alone for so long that on average at most a set share of it is
used. After a failure the pause doubles, and every pause is drawn by chance, so that devices which
lost the same gateway do not come back as one ("Exponential Backoff And Jitter", AWS Architecture
Blog, 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from wherever._outbox.entry import Entry
from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    BlockedError,
    BoundaryError,
    DeadlineError,
    InputError,
    NotAllowedError,
    RefusedError,
    RemoteError,
    WhereverError,
)
from wherever_contracts.places import PRIORITIES

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
# A host may ask for a longer rest than that, and gets this one at most.
LONGEST_REST_S = 600.0
# A call that made its host fail so often is given up; one that only found no host never is.
MOST_FAILURES = 5
# The time that a call is given grows with its size, as if the uplink were a slow one, and doubles
# with each time that it was not enough.
SLOW_UPLINK_BYTES_PER_S = 32_000.0
FIRST_TIMEOUT_S = 10.0
LONGEST_TIMEOUT_S = 600.0

Verdict: TypeAlias = Literal["again", "final"]


class Way(NamedTuple):
    """What the way to a host was measured to be: of an empty call, and for each byte."""

    round_trip_s: float
    up_bytes_per_s: float


class Spent(NamedTuple):
    """What sending one call took.

    Attributes:
        size: bytes that were sent.
        elapsed_s: from the call to the answer.
        away_s: how much of that the host says that it took itself.
        way: what the way there was measured to be; None: not known.
    """

    size: int
    elapsed_s: float
    away_s: float = 0.0
    way: Way | None = None

    @property
    def uplink_s(self) -> float:
        """How long the uplink was busy with it; too long where that is not certain."""
        most_s = max(0.0, self.elapsed_s - self.away_s)
        if self.way is None:
            return most_s
        # two estimates, so that neither alone can let too much be sent
        by_rate_s = self.size / self.way.up_bytes_per_s
        return min(most_s, max(by_rate_s, most_s - self.way.round_trip_s))


@dataclass(slots=True)
class _Trouble:
    """What one call has met with."""

    failures: int = 0
    timeouts: int = 0
    rests_until: float = -math.inf


@dataclass(slots=True)
class Drain:
    """The state of sending what waits.

    Args:
        share: the share of the uplink that may be used, greater than 0 and at most 1.
        chance: a number in [0, 1), another one each time.

    Attributes:
        paced_until: nothing is sent before, so that the share is kept.
        paused_until: nothing is sent before, because no host answered.
        pause_s: the pause after the next failure, before chance.
    """

    share: float
    chance: Callable[[], float]
    paced_until: float = -math.inf
    paused_until: float = -math.inf
    pause_s: float = FIRST_PAUSE_S
    _troubles: dict[str, _Trouble] = field(default_factory=dict[str, _Trouble])

    def choose(self, waiting: Iterable[Entry], now: float) -> Entry | None:
        """The call to send now: the most urgent, and of those the one that was put in first."""
        if now < max(self.paced_until, self.paused_until):
            return None
        ready = [entry for entry in waiting if self._trouble(entry).rests_until <= now]
        return min(ready, key=turn_of, default=None)

    def wait_s(self, waiting: Iterable[Entry], now: float) -> float:
        """Seconds until a call may be sent; infinity when none waits."""
        first = min((self._trouble(entry).rests_until for entry in waiting), default=math.inf)
        return max(0.0, max(first, self.paced_until, self.paused_until) - now)

    def timeout_s(self, entry: Entry, size: int) -> float:
        """How long a call may take."""
        first_s = FIRST_TIMEOUT_S + size / SLOW_UPLINK_BYTES_PER_S
        return min(LONGEST_TIMEOUT_S, first_s * 2.0 ** min(self._trouble(entry).timeouts, 16))

    def answered(self, entry: Entry, spent: Spent, now: float) -> None:
        """A call is over; the link is left alone for a while."""
        self._troubles.pop(entry.id, None)
        self.pause_s = FIRST_PAUSE_S
        self._pace(spent, now)

    def failed(self, entry: Entry, error: WhereverError, spent: Spent, now: float) -> Verdict:
        """A call was not answered; says whether it is tried again."""
        if is_final(error):
            self.answered(entry, spent, now)
            return "final"
        trouble = self._troubles.setdefault(entry.id, _Trouble())
        trouble.timeouts += isinstance(error, DeadlineError)
        trouble.failures += isinstance(error, _ITS_OWN)
        if trouble.failures >= MOST_FAILURES:
            self.answered(entry, spent, now)
            return "final"
        self._pace(spent, now)
        resumes_at = now + self._next_pause_s(error)
        if isinstance(error, _ITS_OWN):
            trouble.rests_until = resumes_at  # others may do better
        else:
            self.paused_until = resumes_at
        return "again"

    def hurry(self, now: float) -> None:
        """A host was seen to answer: what waits because none did is tried soon."""
        self.pause_s = FIRST_PAUSE_S
        self.paused_until = min(self.paused_until, now + FIRST_PAUSE_S * self.chance())

    def forget_all_but(self, ids: Collection[str]) -> None:
        """Only these calls wait still."""
        self._troubles = {id_: each for id_, each in self._troubles.items() if id_ in ids}

    def _pace(self, spent: Spent, now: float) -> None:
        rest_s = spent.uplink_s * (1.0 / self.share - 1.0)
        # chance makes rests longer, never shorter, or more than the share would be used
        self.paced_until = now + rest_s * (1.0 + 0.5 * self.chance())

    def _next_pause_s(self, error: WhereverError) -> float:
        drawn_s = self.pause_s * (0.5 + 0.5 * self.chance())
        self.pause_s = min(LONGEST_PAUSE_S, 2.0 * self.pause_s)
        said_s = error.retry_after_s if isinstance(error, AttemptError) else None
        if said_s is None:
            return drawn_s
        return max(drawn_s, min(said_s, LONGEST_REST_S) * (1.0 + 0.5 * self.chance()))

    def _trouble(self, entry: Entry) -> _Trouble:
        return self._troubles.get(entry.id, _UNTROUBLED)


def is_final(error: WhereverError) -> bool:
    """Whether a call that met with this error would meet with it again, whoever is asked when.

    A key that is missing can be set, and a host that is not there can come back; a host that said
    no to the call itself, or the guard before the network, will say so again.
    """
    return isinstance(error, _FINAL) and not isinstance(error, NotAllowedError)


def turn_of(entry: Entry) -> tuple[int, float, str]:
    """The order in which calls are sent."""
    return PRIORITIES.index(entry.priority), entry.created.wall_s, entry.id


_FINAL = (RefusedError, InputError, BlockedError, BoundaryError)
_ITS_OWN = (RemoteError, BadAnswerError)
_UNTROUBLED = _Trouble()
