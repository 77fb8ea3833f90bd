"""A steady stream of calls while the gateway is killed, restarted, frozen and thawed.

A phase sends every digit once, in their order, so its figures are the same in each run and can be
compared with another phase's. Only the phases that wait for the gateway to come back are as long
as that takes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever.cli._demo_gateway import CAN_FREEZE, DemoGateway
from wherever.cli._demo_modes import Digit
from wherever.cli._recording import WHERES, Call, GatewayState, Mark, Recording, Where
from wherever_contracts.errors import WhereverError

if TYPE_CHECKING:
    from wherever._handle import Model

CALLS_PER_S = 350.0
DEADLINE_S = 0.3
BACK_WITHIN_S = 15.0


class Phase(NamedTuple):
    """A part of the stream.

    Attributes:
        name: what it is called.
        act: the method of `DemoGateway` that is called first; "" for none.
        mark: what was done, in a word.
        state: what the gateway does from then on.
        waits: it ends with the first answer from the gateway, not after every digit.
    """

    name: str
    act: str = ""
    mark: str = ""
    state: GatewayState = "up"
    waits: bool = False


KILLING = (
    Phase("gateway up"),
    Phase("killed", "kill", "killed", "killed"),
    Phase("restarting", "start", "restarted", "starting", waits=True),
    Phase("back"),
)
FREEZING = (
    Phase("frozen", "freeze", "frozen", "frozen"),
    Phase("waking", "thaw", "thawed", "waking", waits=True),
    Phase("back again"),
)
PHASES = KILLING + (FREEZING if CAN_FREEZE else ())


@dataclass(slots=True)
class PhaseResult:
    """What came of the calls of one phase.

    Attributes:
        mark: what was done to the gateway when it began.
        waited: whether it lasted until the gateway was back; then its counts differ between runs.
        late: how many calls used up their deadline.
    """

    name: str
    mark: str
    waited: bool
    calls: int
    right: int
    device: int
    cloud: int
    kept: int
    failed: int
    late: int
    slowest_s: float
    took_s: float

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        counts = {"calls": self.calls, "right": self.right, "accuracy": self.right / self.calls}
        counts |= {"device": self.device, "cloud": self.cloud, "kept": self.kept}
        measured = {"took_s": self.took_s, "slowest_ms": self.slowest_s * 1000}
        if self.waited:
            return {"name": self.name, "failed": self.failed, "measured": measured | counts}
        return {"name": self.name, "failed": self.failed, **counts, "measured": measured}


class Stream:
    """Calls at a steady pace, and what is done to the gateway between them.

    Attributes:
        recording: every call and every act so far.
        error: what the first failed call said.
    """

    def __init__(
        self,
        model: Model,
        digits: Sequence[Digit],
        gateway: DemoGateway,
        watch: Callable[[Recording], None],
    ) -> None:
        self._model = model
        self._digits = digits
        self._gateway = gateway
        self._watch = watch
        self._started = perf_counter()
        self._due_s = 0.0
        self.recording = Recording()
        self.error = ""

    def run(self, phases: Iterable[Phase] = PHASES) -> Iterator[PhaseResult]:
        """Go through the phases; each is given when it has ended.

        Raises:
            WhereverError: the gateway did not come back.
        """
        self._started = perf_counter()
        for phase in phases:
            if phase.act:
                getattr(self._gateway, phase.act)()
                self._mark(phase.mark, phase.state)
            first, began_s = len(self.recording.calls), self._now()
            if phase.waits:
                self._stream_until_back()
                self._mark("back", "up")
            else:
                self._stream_all()
            yield self._result(phase, first, began_s)

    def _stream_all(self) -> None:
        for digit in self._digits:
            self._call(digit)

    def _stream_until_back(self) -> None:
        ends_s = self._now() + BACK_WITHIN_S
        for digit in itertools.cycle(self._digits):
            if self._call(digit) == "cloud":
                return
            self._gateway.check()
            if self._now() > ends_s:
                raise WhereverError(
                    f"no call reached the gateway within {BACK_WITHIN_S:g} s of its coming back"
                )

    def _call(self, digit: Digit) -> Where:
        """One call, when it is due; after a slow one the pace goes on from there."""
        sleep(max(0.0, self._due_s - self._now()))
        at_s = self._now()
        self._due_s = max(self._due_s, at_s - 1 / CALLS_PER_S) + 1 / CALLS_PER_S
        where, right = self._outcome(digit)
        self.recording.calls.append(Call(at_s, self._now() - at_s, where, right))
        self._watch(self.recording)
        return where

    def _outcome(self, digit: Digit) -> tuple[Where, bool]:
        try:
            prediction = self._model(digit.ink, deadline_s=DEADLINE_S)
        except WhereverError as error:
            self.error = self.error or str(error)
            return "failed", False
        right = prediction.value == digit.truth
        if prediction.place != "device":
            return "cloud", right
        return ("kept" if prediction.degraded else "device"), right

    def _mark(self, text: str, state: GatewayState) -> None:
        self.recording.marks.append(Mark(self._now(), text, state))

    def _now(self) -> float:
        return perf_counter() - self._started

    def _result(self, phase: Phase, first: int, began_s: float) -> PhaseResult:
        calls = self.recording.calls[first:]
        counts = {where: sum(call.where == where for call in calls) for where in WHERES}
        return PhaseResult(
            phase.name,
            phase.mark,
            phase.waits,
            len(calls),
            sum(call.right for call in calls),
            **counts,
            late=sum(call.took_s >= DEADLINE_S * 0.9 for call in calls),
            slowest_s=max(call.took_s for call in calls),
            took_s=self._now() - began_s,
        )
