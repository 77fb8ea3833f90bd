"""The words between a flow and what carries it out: steps, their outcomes, and the end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, TypeAlias

from wherever._escalation.words import Bar
from wherever._routing.plan import Candidate
from wherever_contracts.errors import WhereverError
from wherever_contracts.receipts import Answer
from wherever_edge.host_health.forecast import Forecast, Work


class Attempt(NamedTuple):
    """Ask one host. Yielded bare: alone, and the flow goes on with what comes of it.

    Attributes:
        candidate: the host.
        timeout_s: seconds it may take; None: the host is this process, which cannot be cut short.
        variant: the variant to ask for; "": the host's own choice.
    """

    candidate: Candidate
    timeout_s: float | None
    variant: str


class Race(NamedTuple):
    """Begin an attempt beside those that run, and wait for the first that ends, or for a time.

    Attributes:
        begin: the attempt to begin; None begins none.
        until: when to go on although none has ended, on the flow's clock; None: never.
    """

    begin: Attempt | None
    until: float | None


class Tried(NamedTuple):
    """One attempt and its end.

    Attributes:
        error: None when it answered or was given up.
        given_up: it was cancelled, because another answer was taken.
        answer: what it answered.
    """

    candidate: Candidate
    elapsed_s: float
    error: WhereverError | None
    given_up: bool = False
    answer: Answer | None = None


class Verdict(NamedTuple):
    """The answer to give, and why.

    Attributes:
        answer: the answer.
        candidate: the host that gave it.
        degraded: whether it is a lesser answer than asked for.
        reason: why this one, in a sentence; parts of it are put together when it is read.
        tried: every attempt, in the order of their ends.
        skipped: (host, why it was not asked).
        bar: what the answer was measured by; None: by nothing.
        short: whether it is under the bar, and given all the same.
    """

    answer: Answer
    candidate: Candidate
    degraded: bool
    reason: tuple[str, ...]
    tried: tuple[Tried, ...]
    skipped: tuple[tuple[str, str], ...]
    bar: Bar | None = None
    short: bool = False


Outcome: TypeAlias = Answer | WhereverError
Step: TypeAlias = Attempt | Race
# What a race is answered with: which of the attempts that the flow began by races, from 0, ended
# and how; None when its time came first.
Ended: TypeAlias = tuple[int, Outcome] | None
Flow: TypeAlias = Generator[Step, "Outcome | Ended", Verdict]


class Senses(NamedTuple):
    """What a flow can learn of the world.

    Attributes:
        now: seconds on a monotonic clock.
        admit: why a host must not be asked now; "" is leave to ask it, and the attempt must follow.
            The second argument is True when nobody else is left who could answer.
        forecast: how long a host will take for some work, as a quantile in (0, 1).
        spend: take a token for a remote attempt beyond the call's first; False when there is none.
        arrange: hosts of one place in the order in which to ask them.
        chance: a random number in [0, 1).
        timeout_s: the longest that a remote host may take when the call has no deadline.
        costs: whether each byte to and from a host costs: it is asked when that is needed.
        saving: whether the device saves power.
        bar: what answers of a variant are measured by now; None: by the plan's thresholds.
    """

    now: Callable[[], float]
    admit: Callable[[Candidate, bool], str]
    forecast: Callable[[Candidate, Work, float], Forecast]
    spend: Callable[[], bool]
    arrange: Callable[[Sequence[Candidate], Work], Sequence[Candidate]]
    chance: Callable[[], float]
    timeout_s: float
    costs: Callable[[Candidate], bool] = lambda _: False
    saving: Callable[[], bool] = lambda: False
    bar: Callable[[str], Bar | None] | None = None
