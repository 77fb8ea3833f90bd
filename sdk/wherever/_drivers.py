"""The loops that carry a flow out: sync, async, and many flows in step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from wherever._routing.flow import Attempt, Flow, Outcome, Verdict


def drive(flow: Flow, perform: Callable[[Attempt], Outcome]) -> Verdict:
    """Carry out one flow in this thread."""
    try:
        step = next(flow)
        while True:
            step = flow.send(perform(step))
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict


async def drive_async(flow: Flow, perform: Callable[[Attempt], Awaitable[Outcome]]) -> Verdict:
    """Carry out one flow in this task."""
    try:
        step = next(flow)
        while True:
            step = flow.send(await perform(step))
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict


def drive_many(
    flows: Sequence[Flow],
    perform: Callable[[Sequence[tuple[int, Attempt]]], Sequence[Outcome]],
) -> list[Verdict | Exception]:
    """Carry out many flows in step.

    In each round the attempts that are due are performed together, so those on one host can share
    one run of its engine. A flow that fails leaves its error in its place.

    Args:
        flows: the flows.
        perform: is given (position of the flow, attempt) and returns the outcomes in that order.
    """
    ends: dict[int, Verdict | Exception] = {}
    due: list[tuple[int, Attempt]] = []

    def advance(position: int, outcome: Outcome | None) -> None:
        flow = flows[position]
        try:
            due.append((position, next(flow) if outcome is None else flow.send(outcome)))
        except StopIteration as stop:
            ends[position] = stop.value
        except Exception as error:  # noqa: BLE001 (whatever ended the flow is its result)
            ends[position] = error

    for position in range(len(flows)):
        advance(position, None)
    while due:
        steps, due = due, []
        for (position, _), outcome in zip(steps, perform(steps), strict=True):
            advance(position, outcome)
    return [ends[position] for position in range(len(flows))]
