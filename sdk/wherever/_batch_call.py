"""Many calls of a route, carried out in step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever._calls import Call
from wherever_contracts.urgency import Urgency
from wherever_edge.host_health.forecast import Forecast, Work

if TYPE_CHECKING:
    from wherever._drivers import Done, GiveUp
    from wherever._kept import KeptAnswers
    from wherever._route import Route
    from wherever._routing.plan import Candidate
    from wherever._routing.steps import Attempt, Outcome, Senses

    _Forecast: TypeAlias = Callable[[Candidate, Work, float], Forecast]


class BatchCall:
    """Many calls in step: those due on the device share a run, those elsewhere run at once."""

    __slots__ = ("_options", "_route", "_rows", "_urgency", "calls", "senses")

    def __init__(
        self,
        route: Route,
        rows: Sequence[Mapping[str, Any]],
        options: Mapping[str, float],
        kept: KeptAnswers | None,
        urgency: Urgency,
        *,
        strict: bool,
    ) -> None:
        self._route = route
        self._rows = rows
        self._options = options
        self._urgency = urgency
        self.calls: list[Call] = [
            route.call(row, options, kept=kept, urgency=urgency, strict=strict) for row in rows
        ]
        # not a method of this: a cycle would keep the inputs until the collector comes
        forecast = _of_batch(route.senses.forecast, len(rows))
        self.senses: Senses = route.senses._replace(forecast=forecast)

    def perform(self, steps: Sequence[tuple[int, Attempt]]) -> list[Outcome]:
        """Carry out attempts on this device; those with a kept answer are not made."""
        outcomes: dict[int, Outcome] = {}
        for position, attempt in steps:
            found = self.calls[position].find(attempt)
            if found is not None:
                outcomes[position] = found
        made = [step for step in steps if step[0] not in outcomes]
        positions = [position for position, _ in made]
        outcomes.update(zip(positions, self._ask_device(positions), strict=True))
        for position, attempt in made:
            self.calls[position].keep(attempt, outcomes[position])
        return [self.calls[position].judged(outcomes[position]) for position, _ in steps]

    def begin(self, position: int, attempt: Attempt, done: Done) -> GiveUp:
        """Begin a remote attempt of one row; see `Call.begin`."""
        return self.calls[position].begin(attempt, done)

    def _ask_device(self, positions: Sequence[int]) -> Sequence[Outcome]:
        route = self._route
        device = route.device
        if not positions or device is None:
            return []
        started = perf_counter()
        answers = device.answer_many(
            [self._rows[i] for i in positions], self._options, self._urgency
        )
        if route.pace is not None:
            now = perf_counter()
            route.pace.took((now - started) / len(positions), now)
        return answers


def _of_batch(forecast: _Forecast, rows: int) -> _Forecast:
    """Forecasts for a batch: the whole of it may have to fall back to the device together."""

    def batch_forecast(candidate: Candidate, work: Work, quantile: float) -> Forecast:
        expected = forecast(candidate, work, quantile)
        if candidate.place != "device":
            return expected
        return expected._replace(latency_s=rows * expected.latency_s)

    return batch_forecast
