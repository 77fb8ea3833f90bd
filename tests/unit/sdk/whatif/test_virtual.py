"""Flows on a virtual clock go as the drivers take them through real time."""

from __future__ import annotations

import math

from wherever._routing.plan import Candidate
from wherever._routing.steps import Attempt, Race
from wherever._whatif.virtual import Clock, Course
from wherever_contracts.errors import UnreachableError

HERE = Attempt(Candidate("device", "device"), None, "")
THERE = Attempt(Candidate("gateway", "cloud"), 1.0, "")


def carried_out(flow, takes):
    """What a flow ended with, when, and who was given up."""
    clock, ends, given_up = Clock(), [], []

    def begin(attempt, done):
        host = attempt.candidate.host
        clock.at(clock.now + takes[host], lambda: done(host))
        return lambda: given_up.append(host)

    Course(clock, flow, begin, lambda ending: ends.append((clock.now, ending))).advance()
    clock.run(lambda: bool(ends))
    return ends, given_up


def test_events_happen_in_order_and_none_at_infinity():
    clock, seen = Clock(), []
    for moment in (2.0, 1.0, 1.0, math.inf):
        clock.at(moment, lambda moment=moment: seen.append((clock.now, moment)))
    clock.run(lambda: False)
    assert seen == [(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)]
    clock.at(0.5, lambda: seen.append(clock.now))
    clock.run(lambda: False)
    assert seen[-1] == 2.0


def test_an_attempt_alone_takes_its_time():
    def flow():
        return (yield HERE)

    assert carried_out(flow(), {"device": 0.5}) == ([(0.5, "device")], [])


def test_the_first_of_a_race_ends_it_and_the_other_is_given_up():
    def flow():
        assert (yield Race(THERE, 0.2)) is None
        return (yield Race(HERE, None))

    assert carried_out(flow(), {"device": 0.1, "gateway": 9.0}) == (
        [(0.30000000000000004, (1, "device"))],
        ["gateway"],
    )


def test_one_that_ends_while_nobody_waits_is_heard_with_the_next_step():
    def flow():
        first = yield Race(THERE, 0.1)
        alone = yield HERE
        second = yield Race(None, None)
        return first, alone, second

    ends, given_up = carried_out(flow(), {"device": 1.0, "gateway": 0.5})
    assert ends == [(1.1, (None, "device", (0, "gateway")))]
    assert given_up == []


def test_a_second_end_at_the_same_moment_waits_for_its_turn():
    def flow():
        yield Race(THERE, 0.0)
        first = yield Race(HERE, None)
        second = yield Race(None, None)
        return {first[1], second[1]}

    ends, _ = carried_out(flow(), {"device": 0.5, "gateway": 0.5})
    assert ends[0][1] == {"device", "gateway"}


def test_an_error_of_the_flow_is_its_end():
    error = UnreachableError("gateway: gone")

    def flow():
        yield HERE
        raise error

    assert carried_out(flow(), {"device": 0.5}) == ([(0.5, error)], [])
