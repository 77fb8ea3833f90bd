"""What the router would have known of each host, learned from what it would have seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from wherever._routing.steps import Senses
from wherever_contracts.errors import AttemptError
from wherever_edge.host_health.balance import arrange
from wherever_edge.host_health.forecast import Forecast, Traffic, Work
from wherever_edge.host_health.health import HostHealth
from wherever_edge.host_health.tokens import RetryTokens

if TYPE_CHECKING:
    from wherever._escalation.words import Bar
    from wherever._routing.pace import DevicePace
    from wherever._routing.plan import Candidate
    from wherever._whatif.virtual import Clock
    from wherever_contracts.errors import WhereverError
    from wherever_contracts.places import Place

# As in `wherever._watch` and the settings.
QUIET_S = 3.0
IN_USE_S = 30.0
PROBE_TIMEOUT_S = 0.5


class Hosts:
    """The health of every host, and the budget for extra attempts that they share.

    Args:
        clock: the virtual time.
        places: of each remote host.
        round_trip_s: (host, when) -> the most that a probe takes then; None: it is not answered.
        chance: numbers in [0, 1).
        timeout_s: the longest that a remote host may take for a call without a deadline.
    """

    def __init__(
        self,
        clock: Clock,
        places: Mapping[str, Place],
        round_trip_s: Callable[[str, float], float | None],
        chance: Callable[[], float],
        timeout_s: float,
    ) -> None:
        self._clock = clock
        self._health = {host: HostHealth(place) for host, place in places.items()}
        self._asked_at = dict.fromkeys(places, -IN_USE_S)
        self._probing: set[str] = set()
        self._tended: set[str] = set()
        self._round_trip_s = round_trip_s
        self._chance = chance
        self._timeout_s = timeout_s
        self._tokens = RetryTokens()

    def senses(self, device: DevicePace, bar: Callable[[str], Bar | None]) -> Senses:
        """What calls of one model can learn of the world."""

        def forecast(candidate: Candidate, work: Work, quantile: float) -> Forecast:
            if candidate.place == "device":
                return device.forecast(quantile, self._clock.now)
            return self._health[candidate.host].forecast(work, quantile, self._clock.now)

        return Senses(
            now=lambda: self._clock.now,
            admit=self._admit,
            forecast=forecast,
            spend=self._tokens.spend,
            arrange=self._arrange,
            chance=self._chance,
            timeout_s=self._timeout_s,
            bar=bar,
        )

    def began(self, host: str, work: Work) -> int:
        """A call is sent to a host; returns its ticket."""
        self._asked_at[host] = self._clock.now
        if host not in self._tended:
            self._tended.add(host)
            self._clock.at(self._clock.now + QUIET_S, lambda: self._tend(host))
        return self._health[host].began(work, self._clock.now)

    def answered(self, host: str, ticket: int, traffic: Traffic) -> None:
        """A call was answered."""
        self._health[host].answered(ticket, traffic, self._clock.now)
        self._tokens.answered()

    def failed(self, host: str, ticket: int, error: WhereverError, timeout_s: float) -> None:
        """A call failed; it had been given `timeout_s`."""
        self._health[host].failed(ticket, error, self._clock.now, timeout_s)
        if isinstance(error, AttemptError) and error.retryable:
            self._tokens.failed()
        self._watch(host)

    def given_up(self, host: str, ticket: int) -> None:
        """A call was cancelled."""
        self._health[host].given_up(ticket, self._clock.now)
        self._watch(host)

    def _admit(self, candidate: Candidate, last_hope: bool) -> str:  # noqa: FBT001 (Senses')
        why_not = self._health[candidate.host].admit(self._clock.now, last_hope=last_hope)
        if why_not:
            self._watch(candidate.host)
        return why_not

    def _arrange(self, group: Sequence[Candidate], work: Work) -> Sequence[Candidate]:
        now = self._clock.now
        return arrange(group, lambda each: self._health[each.host].burden(work, now), self._chance)

    def _watch(self, host: str) -> None:
        """Probe a host that calls are kept from, when that is due, until they are not."""
        if host in self._probing:
            return
        in_s = self._health[host].probe_in_s(self._clock.now)
        if in_s is not None:
            self._probing.add(host)
            self._clock.at(self._clock.now + in_s, lambda: self._probe(host))

    def _tend(self, host: str) -> None:
        """Probe a host that is used and was quiet for a while."""
        now = self._clock.now
        if now - self._asked_at[host] >= IN_USE_S:
            self._tended.discard(host)
            return
        quiet_s = self._health[host].quiet_s(now)
        if quiet_s >= QUIET_S and host not in self._probing:
            self._probing.add(host)
            self._probe(host)
            quiet_s = 0.0
        self._clock.at(now + max(QUIET_S / 4, QUIET_S - quiet_s), lambda: self._tend(host))

    def _probe(self, host: str) -> None:
        now = self._clock.now
        most_s = self._round_trip_s(host, now)
        healthy = most_s is not None
        usual_s = self._health[host].cost.facts(now).round_trip_p50_s
        elapsed_s = PROBE_TIMEOUT_S if most_s is None else min(most_s, usual_s, PROBE_TIMEOUT_S)

        def probed() -> None:
            self._probing.discard(host)
            self._health[host].probed(
                healthy,
                elapsed_s,
                self._clock.now,
                timeout_s=PROBE_TIMEOUT_S,
                sparing=not self._tokens.allows,
            )
            self._watch(host)

        self._clock.at(self._clock.now + elapsed_s, probed)
