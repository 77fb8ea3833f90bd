"""Which protocol the calls to a host use."""

from __future__ import annotations

import pytest

from wherever_edge.oip.transport import (
    ASK_GRPC_EVERY_S,
    BEATEN_FOR_S,
    BEATEN_TIMES,
    LONGEST_ASKING_S,
    Transport,
    ports_to_ask,
    share,
)


@pytest.fixture
def transport() -> Transport:
    return Transport(grpc=True, rest=True)


@pytest.fixture
def over_rest(transport: Transport) -> Transport:
    transport.reached("rest", now=100.0)
    return transport


def test_where_only_one_can_be_spoken_there_is_no_choice() -> None:
    grpc = Transport(grpc=True, rest=False)
    assert grpc.chosen == "grpc"
    grpc.lost()
    assert grpc.chosen == "grpc"
    rest = Transport(grpc=False, rest=True)
    assert (rest.chosen, rest.order) == (None, ("rest",))
    rest.reached("rest", 0.0)
    assert not rest.take_turn(1e9)
    assert Transport(grpc=False, rest=False).order == ()


def test_grpc_is_asked_first_and_what_answers_is_kept(transport: Transport) -> None:
    assert transport.chosen is None
    assert transport.order == ("grpc", "rest")
    transport.reached("rest", 0.0)
    assert transport.chosen == "rest"
    transport.reached("grpc", 1.0)
    assert transport.chosen == "grpc"


def test_a_host_that_is_lost_is_looked_for_again(over_rest: Transport) -> None:
    over_rest.lost()
    assert over_rest.chosen is None
    assert over_rest.order == ("grpc", "rest")


def test_over_rest_grpc_is_asked_for_again_once_in_each_turn(over_rest: Transport) -> None:
    first = 100.0 + ASK_GRPC_EVERY_S
    assert not over_rest.take_turn(first - 0.1)
    assert over_rest.take_turn(first)
    assert not over_rest.take_turn(first + 0.1)
    assert over_rest.take_turn(first + ASK_GRPC_EVERY_S)


def test_over_grpc_there_are_no_turns(transport: Transport) -> None:
    assert not transport.take_turn(1e9)
    transport.reached("grpc", 0.0)
    assert not transport.take_turn(1e9)


def test_a_host_that_spoke_grpc_goes_over_to_rest_only_after_many_probes(
    transport: Transport,
) -> None:
    transport.reached("grpc", 0.0)
    for number in range(BEATEN_TIMES):
        transport.beaten(number * 0.1)
    assert transport.chosen == "grpc"
    transport.beaten(BEATEN_FOR_S)
    assert transport.chosen == "rest"


def test_few_failures_far_apart_are_not_enough_and_one_answer_wipes_them_out(
    transport: Transport,
) -> None:
    transport.reached("grpc", 0.0)
    transport.beaten(0.0)
    transport.beaten(100.0)
    assert transport.chosen == "grpc"
    transport.well()
    transport.beaten(200.0)
    assert transport.chosen == "grpc"


def test_half_of_the_time_is_kept_for_what_is_asked_next() -> None:
    assert share(2.0, more_to_ask=True) == 1.0
    assert share(2.0, more_to_ask=False) == 2.0
    assert share(60.0, more_to_ask=True) == LONGEST_ASKING_S
    assert share(None, more_to_ask=False) == LONGEST_ASKING_S


def test_where_something_answered_rest_is_looked_for_first_and_where_nothing_did_not_at_all() -> (
    None
):
    assert ports_to_ask((8000, 8001), 8001, silent=False) == (8001, 8000)
    assert ports_to_ask((8000, 8001), 8001, silent=True) == (8000,)
    assert ports_to_ask((443,), 8001, silent=True) == (443,)
    assert ports_to_ask((1,), 1, silent=True) == (1,)
