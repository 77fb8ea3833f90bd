"""A circuit breaker for one remote host. Pure: the time is passed in.

    closed ──(no connection, or no answer in time; or three slow failures in a row)──> open
    open ──(a health probe passed)──> trial
    trial ──(a call succeeded)──> closed
    trial ──(a call failed)──> open, for twice as long

While it is open no call is sent, so an outage costs one call its timeout and no more. Probes are
sent beside the calls, never by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    DeadlineError,
    RefusedError,
    RemoteError,
    UnreachableError,
)
from wherever_edge.host_health.wording import brief

State = Literal["closed", "open", "trial"]

FAILURES_IN_A_ROW = 3
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 0.5
# A timeout shorter than this many usual round trips says little about the host.
TELLING_ROUND_TRIPS = 3.0
TELLING_S = 0.03
# A failure that takes less costs its caller little.
SLOW_S = 0.05
BEING_PROBED = "it failed a moment ago and is being probed"
_NEWEST = 0.2


@dataclass(slots=True)
class Breaker:
    """The health of one host, as its calls and probes showed it.

    Attributes:
        state: closed (calls pass), open (none passes), trial (one at a time passes).
        why: the failure that opened it.
        probe_at: when the next probe is due, while open.
        usual_s: exponential average of the round trips that succeeded; 0: none yet.
    """

    state: State = "closed"
    why: str = ""
    probe_at: float = 0.0
    usual_s: float = 0.0
    pause_s: float = FIRST_PAUSE_S
    failures: int = 0
    on_trial: bool = False

    def admit(self, *, last_hope: bool = False) -> str:
        """Why a call must not be sent now; "" is leave to send one, and it must be sent.

        A host on trial passes one call at a time, and any that has nobody else to ask.
        """
        if self.state == "open":
            return f"{BEING_PROBED} ({brief(self.why)})"
        if self.state == "trial":
            if self.on_trial and not last_hope:
                return "it is coming back; another call is trying it"
            self.on_trial = True
        return ""

    def answered(self, elapsed_s: float) -> None:
        """A call got a good answer after `elapsed_s`."""
        self.usual_s += (elapsed_s - self.usual_s) * (_NEWEST if self.usual_s else 1.0)
        self.state = "closed"
        self.failures = 0
        self.pause_s = FIRST_PAUSE_S
        self.on_trial = False

    def failed(
        self, error: AttemptError, now: float, timeout_s: float, elapsed_s: float = 0.0
    ) -> None:
        """A call failed with `error` after `elapsed_s`; it had been given `timeout_s`.

        A host that answers quickly is there, whatever it answers: one broken model must not shut
        out the others.
        """
        self.on_trial = False
        alive = isinstance(error, RefusedError | RemoteError | BadAnswerError)
        if alive and elapsed_s < SLOW_S:
            self.state = "closed"
            return
        self.failures += 1
        if (
            self.state == "trial"
            or self.failures >= FAILURES_IN_A_ROW
            or self._tells(error, timeout_s)
        ):
            self._open(str(error), now)

    def released(self) -> None:
        """A call ended without saying anything about the host (it was given up)."""
        self.on_trial = False

    def probed(
        self, *, healthy: bool, now: float, elapsed_s: float = 0.0, sparing: bool = False
    ) -> None:
        """A probe ended.

        Args:
            healthy: whether the host said that it is well.
            now: the time.
            elapsed_s: how long the probe took; pauses count from the beginning of one to the
                beginning of the next, or the silence of a cut link would add to each.
            sparing: extra attempts are scarce: wait for as long as one ever does, and no longer,
                or a host that is back would never be found.
        """
        if self.state != "open":
            return
        if healthy:
            self.state = "trial"
            return
        if sparing:
            self.pause_s = LONGEST_PAUSE_S
        self._wait_longer(now - elapsed_s)

    def doubted(self, why: str, now: float) -> None:
        """Neither a call nor a probe was answered in time: the host is shut out."""
        self._open(why, now)

    def _open(self, why: str, now: float) -> None:
        reopened = self.state == "trial"
        self.state = "open"
        self.why = why
        self.failures = 0
        if reopened:
            self._wait_longer(now)
        else:
            self.probe_at = now + self.pause_s

    def _wait_longer(self, now: float) -> None:
        self.pause_s = min(2 * self.pause_s, LONGEST_PAUSE_S)
        self.probe_at = now + self.pause_s

    def _tells(self, error: AttemptError, timeout_s: float) -> bool:
        if isinstance(error, DeadlineError):
            return timeout_s >= max(TELLING_ROUND_TRIPS * self.usual_s, TELLING_S)
        return isinstance(error, UnreachableError)
