"""The three loops that carry flows out behave alike."""

from __future__ import annotations

import asyncio
from time import perf_counter

import pytest

from wherever._drivers import drive, drive_async, drive_many
from wherever._routing.plan import Candidate
from wherever._routing.steps import Attempt, Race
from wherever_contracts.errors import EngineError, InputError


def here(name: str) -> Attempt:
    return Attempt(Candidate("device", "device"), None, name)


def there(name: str) -> Attempt:
    return Attempt(Candidate("gw:8001", "cloud"), 1.0, name)


def flow(steps, fails_with=None):
    """Yields each of `steps`; returns what was sent back, or raises."""
    sent = []
    for step in steps:
        back = yield step
        sent.append(back)
    if fails_with is not None:
        raise fails_with
    return sent


class Performer:
    """Hosts that answer with the attempt's name in capitals; "never" does not, unless given up."""

    def __init__(self):
        self.given_up = []
        self.runs = []

    def perform(self, attempt):
        return attempt.variant.upper()

    def begin(self, attempt, done):
        if attempt.variant != "never":
            done(attempt.variant.upper())
        return lambda: self.given_up.append(attempt.variant)

    async def perform_async(self, attempt):
        if attempt.variant == "never":
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.given_up.append(attempt.variant)
                raise
        return attempt.variant.upper()


class ManyPerformer(Performer):
    def perform(self, steps):
        self.runs.append([position for position, _ in steps])
        return [attempt.variant.upper() for _, attempt in steps]

    def begin(self, _position, attempt, done):
        return Performer.begin(self, attempt, done)


def run_async(made, performer):
    async def run():
        try:
            return await drive_async(made, performer.perform_async)
        finally:
            await asyncio.sleep(0)  # what was cancelled ends in the loop's next turn

    return asyncio.run(run())


def run_many(made, _performer):
    performer = ManyPerformer()
    performer.given_up = _performer.given_up
    (end,) = drive_many([made], performer)
    if isinstance(end, Exception):
        raise end
    return end


@pytest.fixture(params=[drive, run_async, run_many], ids=["sync", "async", "many"])
def driver(request):
    return request.param


def test_each_attempt_gets_its_outcome_and_the_flow_its_end(driver):
    assert driver(flow([here("a"), there("b")]), Performer()) == ["A", "B"]
    assert driver(flow([]), Performer()) == []


def test_what_the_flow_raises_comes_out(driver):
    with pytest.raises(EngineError, match="broken"):
        driver(flow([here("a")], EngineError("broken")), Performer())


def test_a_race_tells_which_attempt_ended(driver):
    steps = [Race(there("never"), perf_counter()), Race(there("b"), None), Race(here("c"), None)]
    assert driver(flow(steps), Performer()) == [None, (1, "B"), (2, "C")]


def test_a_race_ends_when_its_time_has_come(driver):
    until = perf_counter() + 0.02
    performer = Performer()
    assert driver(flow([Race(there("never"), until), Race(None, until)]), performer) == [None, None]
    assert perf_counter() >= until


def test_a_pause_is_a_race_of_nobody(driver):
    until = perf_counter() + 0.01
    assert driver(flow([Race(None, until), here("a")]), Performer()) == [None, "A"]
    assert perf_counter() >= until


@pytest.mark.parametrize("error", [None, InputError("x", "a", "b")], ids=["answered", "failed"])
def test_what_still_runs_at_the_end_is_given_up(driver, error):
    performer = Performer()
    made = flow([Race(there("never"), perf_counter()), Race(there("b"), None)], error)
    try:
        driver(made, performer)
    except InputError as raised:
        assert raised is error
    assert performer.given_up == ["never"]


def test_many_flows_share_runs_of_the_device_and_end_in_their_own_places():
    performer = ManyPerformer()
    wrong = InputError("x", "a", "b")
    ends = drive_many(
        [
            flow([here("a"), here("b")]),
            flow([here("c")], wrong),
            flow([]),
            flow([here("d"), there("e"), Race(here("f"), None)]),
        ],
        performer,
    )
    assert ends == [["A", "B"], wrong, [], ["D", "E", (0, "F")]]
    assert performer.runs == [[0, 1, 3], [0, 3]]
    assert drive_many([], performer) == []


def test_a_flow_whose_time_has_come_goes_on_while_others_wait():
    performer = ManyPerformer()
    now = perf_counter()
    ends = drive_many(
        [
            flow([Race(there("never"), now + 0.03)]),
            flow([Race(there("never"), now), Race(here("a"), None)]),
        ],
        performer,
    )
    assert ends == [[None], [None, (1, "A")]]
    assert performer.given_up == ["never", "never"]
