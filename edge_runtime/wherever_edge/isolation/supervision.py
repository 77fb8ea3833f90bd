"""What is decided about workers: when one hangs, starts again, and what it may not get. Pure."""

from __future__ import annotations

import signal
from collections import OrderedDict, deque
from dataclasses import dataclass
from math import ceil
from typing import Literal

# A run hangs when it takes longer than both.
LEAST_HANG_S = 1.0
HANG_FACTOR = 10
# Runs of a shape that was never answered before may compile kernels first.
NEW_SHAPE_S = 10.0
_RECENT = 256
_SHAPES = 64

FIRST_DELAY_S = 0.05
# A start takes under a second, so that a worker is back within two.
LONGEST_DELAY_S = 1.0
LONGEST_START_DELAY_S = 30.0
HEALTHY_S = 10.0

SENTENCE_S = 600.0
_CRASHES = 2
_SUSPECTS = 64

Verdict = Literal["free", "suspect", "refused"]


class Pace:
    """How long runs take, and from which time on one counts as hanging.

    The limit is `max(1 s, 10 x p99)` of the recent runs; at least 10 s for a shape that was never
    answered. Not safe to use from several threads at once.
    """

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._known: OrderedDict[object, None] = OrderedDict()
        self._limit_s = LEAST_HANG_S

    def limit_s(self, shape: object) -> float:
        """Seconds after which a run of inputs of this shape counts as hanging."""
        if shape in self._known:
            return self._limit_s
        return max(NEW_SHAPE_S, self._limit_s)

    def answered(self, shape: object, elapsed_s: float) -> None:
        """Remember a run that gave an answer."""
        if shape not in self._known:
            # the first run of a shape is slow and says nothing about the next ones
            self._know(shape)
            return
        self._recent.append(elapsed_s)
        if elapsed_s * HANG_FACTOR > LEAST_HANG_S or self._limit_s > LEAST_HANG_S:
            self._limit_s = max(LEAST_HANG_S, HANG_FACTOR * p99(self._recent))

    def _know(self, shape: object) -> None:
        self._known[shape] = None
        if len(self._known) > _SHAPES:
            self._known.popitem(last=False)


def p99(samples: deque[float]) -> float:
    """The smallest sample that 99 % of them do not exceed."""
    return sorted(samples)[ceil(len(samples) * 0.99) - 1]


class Backoff:
    """How long to wait before a worker is started again.

    At once the first time; then longer each time, until a worker has lived for a while. One that
    could not even load is given more time than one that answered and died.
    """

    def __init__(self) -> None:
        self._deaths = 0

    def delay_s(self, *, lived_s: float, was_ready: bool) -> float:
        """The wait after a death.

        Args:
            lived_s: how long the worker had been ready; 0 when it never was.
            was_ready: whether it had loaded its model.
        """
        if lived_s >= HEALTHY_S:
            self._deaths = 0
        self._deaths += 1
        if self._deaths == 1:
            return 0.0
        longest_s = LONGEST_DELAY_S if was_ready else LONGEST_START_DELAY_S
        return min(FIRST_DELAY_S * 2.0 ** min(self._deaths - 2, 30), longest_s)


@dataclass(slots=True)
class _Record:
    crashes: int
    until_s: float


class Suspects:
    """Inputs that a worker was running when it died; one that did so twice is refused for a time.

    An input that is answered is free of suspicion, so that deaths from outside convict nobody.
    When the time is over it is tried once more. Not safe to use from several threads at once.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def crashed(self, key: bytes, now_s: float) -> Verdict:
        """A worker died while it ran this input; returns what follows for the input."""
        record = self._records.pop(key, None)
        crashes = 1 if record is None else record.crashes + 1
        self._records[key] = _Record(crashes, now_s + SENTENCE_S)
        if len(self._records) > _SUSPECTS:
            self._records.popitem(last=False)
        return self.verdict(key, now_s)

    def answered(self, key: bytes) -> None:
        """The input was answered: it is not what killed the worker."""
        self._records.pop(key, None)

    def verdict(self, key: bytes, now_s: float) -> Verdict:
        """Whether the input may run: "free", "suspect" (no other suspect beside it), "refused"."""
        record = self._records.get(key)
        if record is None:
            return "free"
        served = now_s >= record.until_s
        return "refused" if record.crashes >= _CRASHES and not served else "suspect"


def how_it_ended(returncode: int) -> str:
    """The end of a process in one word, as counters use it: "SIGSEGV", "exit 3"."""
    if returncode >= 0:
        return f"exit {returncode}"
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def told(how: str, last_words: str = "") -> str:
    """The same as half a sentence about the worker: "was killed by SIGSEGV"."""
    said = f'; its last words: "{last_words}"' if last_words else ""
    if how.startswith("exit"):
        return f"ended by itself ({how.replace('exit', 'exit code')}){said}"
    hint = " (the system does this when memory runs out)" if how == "SIGKILL" else ""
    return f"was killed by {how}{hint}{said}"
