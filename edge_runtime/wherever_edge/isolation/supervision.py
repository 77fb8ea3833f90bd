"""What is decided about workers: when one hangs, starts again, and what it may not get. Pure."""

from __future__ import annotations

import signal
from collections import OrderedDict, deque
from dataclasses import dataclass
from math import ceil, prod
from typing import Literal, TypeAlias

# A run hangs when it takes longer than both.
LEAST_HANG_S = 1.0
HANG_FACTOR = 10
FIRST_RUN_S = 10.0
_RECENT = 256
_SHAPES = 64

FIRST_DELAY_S = 0.05
# A start takes under a second, so that a worker is back within two.
LONGEST_DELAY_S = 0.5
LONGEST_START_DELAY_S = 30.0
HEALTHY_S = 10.0

CRASHES = 3
SENTENCE_S = 60.0
LONGEST_SENTENCE_S = 3600.0
_SUSPECTS = 64

# of the inputs, in order
Shapes: TypeAlias = "tuple[tuple[int, ...], ...]"
Verdict = Literal["free", "suspect", "refused"]


class Pace:
    """How long runs take, and from which time on one counts as hanging.

    The limit is `max(1 s, 10 x p99)` of the recent runs. Runs of a shape that was not answered
    before are told apart, since a runtime may compile for it first; the very first run of all has
    ten seconds. Not safe to use from several threads at once.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[Shapes, None] = OrderedDict()
        self._largest = 1
        self._again = _Limit()
        self._new = _Limit()

    def limit_s(self, shapes: Shapes) -> float:
        """Seconds after which a run of inputs of these shapes counts as hanging."""
        if shapes in self._known:
            return self._again.limit_s
        if not self._known:
            return FIRST_RUN_S
        return max(self._limit_grown_s(_elements(shapes) / self._largest), self._new.limit_s)

    def answered(self, shapes: Shapes, elapsed_s: float) -> None:
        """Remember a run that gave an answer."""
        if shapes in self._known:
            self._again.add(elapsed_s)
            return
        if self._known:
            # but not the very first one, which pays for the start of the runtime
            self._new.add(elapsed_s)
        self._largest = max(self._largest, _elements(shapes))
        self._known[shapes] = None
        if len(self._known) > _SHAPES:
            self._known.popitem(last=False)

    def _limit_grown_s(self, growth: float) -> float:
        """What is larger than anything before may take longer."""
        if growth <= 1:
            return self._again.limit_s
        return max(LEAST_HANG_S, growth * max(self._new.most_s(), self._again.most_s()))


class _Limit:
    """Ten times the 99th percentile of recent runs, and a second at least."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self.limit_s: float = LEAST_HANG_S

    def most_s(self) -> float:
        """The same without the second."""
        return HANG_FACTOR * p99(self._recent) if self._recent else 0.0

    def add(self, elapsed_s: float) -> None:
        self._recent.append(elapsed_s)
        if elapsed_s * HANG_FACTOR > LEAST_HANG_S or self.limit_s > LEAST_HANG_S:
            self.limit_s = max(LEAST_HANG_S, self.most_s())


def _elements(shapes: Shapes) -> int:
    return sum(prod(shape) for shape in shapes)


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
    worker: int


class Suspects:
    """Inputs that a worker was running when it died; the third time in a row one is refused.

    An input that is answered is free of suspicion: whoever kills workers from outside convicts
    hardly anybody. When its time is over, a minute at first, it is tried once more; if that ends
    a worker too, it is refused for twice as long. Not safe to use from several threads at once.
    """

    def __init__(self) -> None:
        self._records: OrderedDict[bytes, _Record] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def crashed(self, key: bytes, worker: int, now_s: float) -> Verdict:
        """A worker died while it ran this input; returns what follows for the input.

        Args:
            key: stands for the input.
            worker: stands for the worker, which may have run the same input for several callers.
            now_s: the time.
        """
        record = self._records.pop(key, None)
        crashes = 0 if record is None else record.crashes
        if record is None or record.worker != worker:
            crashes += 1
        sentence_s = SENTENCE_S * 2.0 ** min(max(0, crashes - CRASHES), 10)
        self._records[key] = _Record(crashes, now_s + min(sentence_s, LONGEST_SENTENCE_S), worker)
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
        return "refused" if record.crashes >= CRASHES and not served else "suspect"


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
