"""The three loops that carry flows out behave alike."""

from __future__ import annotations

import asyncio

import pytest

from wherever._drivers import drive, drive_async, drive_many
from wherever_contracts.errors import EngineError, InputError


def flow(asks, fails_with=None):
    """Yields each of `asks`; returns the outcomes, or raises."""
    outcomes = []
    for ask in asks:
        outcome = yield ask
        outcomes.append(outcome)
    if fails_with is not None:
        raise fails_with
    return outcomes


def one_by_one(name):
    if name == "sync":
        return lambda made: drive(made, str.upper)
    if name == "async":

        async def upper(step):
            return step.upper()

        return lambda made: asyncio.run(drive_async(made, upper))

    def many(made):
        (end,) = drive_many([made], lambda steps: [step.upper() for _, step in steps])
        if isinstance(end, Exception):
            raise end
        return end

    return many


@pytest.fixture(params=["sync", "async", "many"])
def driver(request):
    return one_by_one(request.param)


def test_each_step_gets_its_outcome_and_the_flow_its_end(driver):
    assert driver(flow(["a", "b"])) == ["A", "B"]
    assert driver(flow([])) == []


def test_what_the_flow_raises_comes_out(driver):
    with pytest.raises(EngineError, match="broken"):
        driver(flow(["a"], EngineError("broken")))


def test_many_flows_are_performed_in_rounds_and_end_in_their_own_places():
    rounds = []

    def perform(steps):
        rounds.append([position for position, _ in steps])
        return [step.upper() for _, step in steps]

    wrong = InputError("x", "a", "b")
    ends = drive_many([flow("ab"), flow("c", wrong), flow(""), flow("def")], perform)
    assert rounds == [[0, 1, 3], [0, 3], [3]]
    assert ends == [["A", "B"], wrong, [], ["D", "E", "F"]]
    assert drive_many([], perform) == []
