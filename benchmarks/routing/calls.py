"""What is said of calls, and what a policy has to do."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from routing.scenarios import Row
from wherever._routing.steps import Attempt, Race
from wherever_contracts.errors import AttemptError, WhereverError
from wherever_contracts.places import Place
from wherever_contracts.receipts import Answer
from wherever_edge.host_health.forecast import Traffic, Work

if TYPE_CHECKING:
    from routing.world import World

Outcome: TypeAlias = Answer | WhereverError
Ending: TypeAlias = tuple[Answer, Place]
"""The answer that a call gives, and where it came from."""
Steps: TypeAlias = Generator[Attempt | Race, "Outcome | tuple[int, Outcome] | None", Ending]


class Call(NamedTuple):
    """One call: its number, when it was made, its input, and when its answer is wanted."""

    number: int
    began: float
    row: Row
    deadline_s: float | None


class Record(NamedTuple):
    """What came of a call.

    Attributes:
        place: where its answer came from; "": it failed.
        elapsed_s: from the call to the answer.
        right: whether the answer was right.
        received: how many of its attempts reached a gateway.
        used: whether the answer was a gateway's.
        alone_s: what the device alone would have taken.
    """

    call: Call
    place: Place | str
    elapsed_s: float
    right: bool
    received: int
    used: bool
    alone_s: float

    @property
    def in_time(self) -> bool:
        """Whether the answer came by the deadline."""
        deadline_s = self.call.deadline_s
        return bool(self.place) and (deadline_s is None or self.elapsed_s <= deadline_s)


class Policy(Protocol):
    """Decides how each call is carried out, and learns from what comes of it."""

    name: str

    def start(self, world: World) -> None:
        """Take note of the world; called once, at its beginning."""
        ...

    def flow(self, call: Call) -> Steps:
        """The steps of one call."""
        ...

    def began(self, attempt: Attempt, work: Work) -> int:
        """A remote attempt begins; the number is passed on when it ends."""
        ...

    def answered(self, attempt: Attempt, ticket: int, traffic: Traffic) -> None:
        """An attempt was answered, here (ticket -1) or there."""
        ...

    def failed(self, attempt: Attempt, ticket: int, error: AttemptError) -> None:
        """A remote attempt failed."""
        ...

    def given_up(self, attempt: Attempt, ticket: int) -> None:
        """A remote attempt was cancelled."""
        ...
