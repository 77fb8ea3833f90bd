"""What is decided about backends: who answers, what travels, how long, again or not, and whose."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import (
    AttemptError,
    BadAnswerError,
    BlockedError,
    ClosedError,
    DeadlineError,
    ForbiddenError,
    ForkedError,
    InputError,
    ModelNotFoundError,
    NotAllowedError,
    OverloadedError,
    RefusedError,
    RemoteError,
    UnreachableError,
    UntrustedPeerError,
    WhereverError,
)
from wherever_contracts.wire.tensors import InferRequest, InferResponse, WireTensor
from wherever_edge.host_health.ejection import Standing
from wherever_edge.host_health.forecast import Forecast
from wherever_edge.host_health.health import HostHealth
from wherever_gateway.backends import attempts, travel, verdicts, wording
from wherever_gateway.backends.absences import ABSENT_S, PRESENT_S, Absences
from wherever_gateway.backends.names import Named, Names
from wherever_gateway.backends.order import Bearing, lighter
from wherever_gateway.backends.remembered import Remembered
from wherever_gateway.backends.room import Room

TENSOR = WireTensor("x", "BF16", (2,), memoryview(b"1234"))
REQUEST = InferRequest("here", "", "id", {}, (TENSOR,))


# --- names ---


def test_a_model_named_in_full_is_found_before_patterns_and_the_first_that_fits_counts():
    names = Names(
        {
            "wide": {"bert*": None, "yolo?": "detector"},
            "exact": {"bert-large": "bert_large_v2", "plain": None},
            "late": {"bert*": None, "plain": "other"},
        }
    )
    assert names.find("bert-large") == Named("exact", "bert_large_v2")
    assert names.find("bert-small") == Named("wide", "bert-small")
    assert names.find("yolo8") == Named("wide", "detector")
    assert names.find("plain") == Named("exact", "plain")
    assert names.find("BERT-small") is None
    assert set(names.known) == {"bert-large", "plain"}


def test_the_tensors_of_a_variant_are_where_its_model_is():
    names = Names({"far": {"judge": "scales"}})
    assert names.find("judge--large") == Named("far", "scales--large")
    assert names.find("other--large") is None


# --- what travels ---


def outbound(kin: bool = False, granted: Any = "interactive", **parameters: Any) -> InferRequest:
    request = REQUEST._replace(parameters=parameters)
    return travel.outbound(request, "there", boundary="site", priority=granted, kin=kin)


def test_tensors_travel_as_they_are():
    request = outbound()
    assert request.inputs[0] is TENSOR
    assert travel.up_bytes(request) == 4
    assert (request.model, request.id, request.boundary) == ("there", "id", "site")
    response = InferResponse("there", "2", "other", {}, (TENSOR,))
    back = travel.inbound(response, REQUEST)
    assert back.outputs[0] is TENSOR
    assert (back.model, back.version, back.id) == ("here", "2", "id")


def test_what_only_ours_understand_goes_to_ours_alone():
    said = {"signature": "s", "priority": "interactive", "threshold": 0.5, "variant": ""}
    assert outbound(**said).parameters == {"threshold": 0.5}
    passed = outbound(kin=True, granted="batch", **said).parameters
    assert passed == {"signature": "s", "priority": "batch", "threshold": 0.5, "variant": ""}
    assert "priority" not in outbound(kin=True, **said).parameters
    assert travel.needs_kin({"signature": "s"})
    assert not travel.needs_kin({"threshold": 0.5})


def test_another_server_s_priority_is_a_number_and_passes():
    request = REQUEST._replace(parameters={"priority": 3})
    passed = travel.outbound(request, "t", boundary="site", priority="batch", kin=False)
    assert passed.parameters == {"priority": 3}


@pytest.mark.parametrize("kin", [True, False])
def test_keys_of_repeated_calls_do_not_travel_and_sequences_are_not_begun(kin):
    assert outbound(kin=kin, idempotency_key="k", sequence_id=0).parameters == {}
    with pytest.raises(RefusedError, match="sequence"):
        outbound(kin=kin, sequence_id=7)


def test_a_variant_is_asked_of_those_alone_who_know_what_that_is():
    assert outbound(kin=True, variant="large").parameters == {"variant": "large"}
    with pytest.raises(RefusedError, match="'large'"):
        outbound(variant="large")


def test_what_is_about_the_connection_behind_does_not_come_back():
    said = {
        "wherever_ran": "{}",
        "wherever_load": 0.5,
        "wherever_ping_ms": 1000,
        "wherever_rows": 4,
        "theirs": True,
    }
    response = InferResponse("there", "2", "", said, ())
    assert travel.inbound(response, REQUEST).parameters == {
        "wherever_ran": "{}",
        "wherever_rows": 4,
        "theirs": True,
    }


def test_what_a_server_of_ours_says_is_counted():
    said = {
        "wherever_ran": json.dumps({"variant": "large"}),
        "wherever_engine_s": 0.25,
        "wherever_queue_s": 0.5,
        "wherever_rows": 4,
        "wherever_load": 2.0,
    }
    response = InferResponse("here", "2", "", said, (TENSOR,))
    assert travel.served(response, "far") == ("here", "2", "large", 0.5, 0.25, 4, "far")
    assert travel.shown(response) == (4, 0.5, 0.25, 2.0)


@pytest.mark.parametrize("ran", ["", "[1]", "{", '"x"', "[" * 100_000])
def test_a_server_that_says_nothing_or_nonsense_is_counted_all_the_same(ran):
    said = {"wherever_ran": ran, "wherever_rows": "many", "wherever_load": "full"}
    response = InferResponse("here", "2", "", said, ())
    assert travel.served(response, "far") == ("here", "2", "", 0.0, 0.0, 1, "far")
    assert travel.shown(response).load is None


def test_no_call_passes_its_boundary():
    travel.refuse_beyond("anywhere", "cloud", "far")
    travel.refuse_beyond("site", "nearby", "far")
    for boundary, place in (("site", "cloud"), ("device", "nearby"), ("unknown", "device")):
        with pytest.raises(ForbiddenError, match="nothing was sent"):
            travel.refuse_beyond(boundary, place, "far")


# --- what a server does not have ---


def test_a_model_that_is_not_there_is_looked_for_again_after_a_while():
    absences = Absences()
    assert not absences.lacks("m", "", 0.0)
    assert absences.is_due("m", "", 0.0)
    absences.note("m", "", 0.0, has=False)
    assert absences.lacks("m", "", 1.0)
    assert not absences.is_due("m", "", 1.0)
    assert not absences.lacks("m", "2", 1.0)
    assert not absences.lacks("m", "", ABSENT_S)
    absences.note("m", "", 0.0, has=True)
    assert not absences.lacks("m", "", 1.0)
    assert absences.is_due("m", "", PRESENT_S)


def test_names_that_strangers_make_up_take_no_memory():
    absences = Absences()
    for number in range(5000):
        absences.note(str(number), "", 0.0, has=False)
    assert sum(absences.lacks(str(number), "", 1.0) for number in range(5000)) <= 1024


def test_what_was_said_of_a_model_is_fresh_for_a_while_and_known_after():
    remembered: Remembered[bool] = Remembered(1.0)
    assert remembered.fresh("m", "", 0.0) is None
    assert remembered.last("m", "") is None
    remembered.keep("m", "", said=False, now=0.0)
    assert remembered.fresh("m", "", 0.5) is False
    assert remembered.fresh("m", "", 1.0) is None
    assert remembered.last("m", "") is False
    for number in range(5000):
        remembered.keep(str(number), "", said=True, now=0.0)
    assert sum(remembered.last(str(number), "") is True for number in range(5000)) <= 1024


# --- attempts ---


def test_a_quick_model_is_waited_for_a_moment_when_another_server_can_be_asked():
    quick = Forecast(0.005, 20.0)
    assert attempts.attempt(quick, 10.0, again=True) == (attempts.LEAST_PATIENCE_S, False, False)
    assert attempts.attempt(quick, 10.0, again=False) == (10.0, True, True)
    assert attempts.attempt(quick, 0.1, again=True) == (0.1, True, False)


def test_a_slow_model_is_given_its_time_and_can_be_given_up():
    assert attempts.attempt(Forecast(1.0, 20.0), 10.0, again=True) == (3.0, False, True)


def test_of_a_model_that_is_not_known_half_the_time_is_kept_back():
    assert attempts.attempt(Forecast(0.1, 1.0), 10.0, again=True) == (5.0, False, True)


def forbidden_to_repeat() -> WhereverError:
    error = OverloadedError("full")
    error.retry_after_s = math.inf
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (UnreachableError(""), True),
        (UntrustedPeerError(""), True),
        (ClosedError(""), True),
        (OverloadedError(""), True),
        (RemoteError(""), True),
        (forbidden_to_repeat(), False),
        (DeadlineError(""), False),
        (RefusedError(""), False),
        (BadAnswerError(""), False),
        (BlockedError(""), False),
    ],
)
def test_another_server_is_asked_where_the_same_call_may_succeed(error, again):
    assert attempts.is_worth_another(error) is again


def test_servers_that_were_there_a_moment_ago_are_waited_for():
    assert attempts.waits_s(0.5, 10.0) == attempts.LONGEST_LULL_S
    assert attempts.waits_s(0.5, 0.4) == 0.2
    assert attempts.waits_s(60.0, 10.0) == 0.0


# --- order ---


def bearing(burden_s: float, samples: float = 9.0, success: float = 1.0, calls: float = 9.0):
    return Bearing(burden_s, Forecast(0.01, samples), Standing(success, 0.0, calls))


def test_the_lighter_of_two_is_asked():
    assert lighter(bearing(0.01), bearing(0.02))
    assert not lighter(bearing(0.02), bearing(0.01))


def test_a_server_that_fails_its_calls_bears_more_until_that_is_long_ago():
    assert lighter(bearing(0.05), bearing(0.01, success=0.0))
    assert lighter(bearing(0.01, success=0.0, calls=0.1), bearing(0.05))


def test_a_new_server_is_as_quick_as_the_other_until_it_shows_otherwise():
    new = Bearing(0.5, Forecast(0.25, 0.0), Standing(1.0, 0.0, 0.0))  # one call on its way
    assert lighter(new, bearing(0.03))
    assert not lighter(new, bearing(0.01))
    assert lighter(bearing(0.01), new)


# --- room ---


def test_everybody_finds_room_while_there_is_plenty():
    room = Room()
    assert all(room.enter("one", 1.0, 16) for _ in range(8))
    assert room.inside == 8


def test_the_last_places_are_for_those_who_have_none():
    room = Room()
    assert sum(room.enter("heavy", 1.0, 16) for _ in range(100)) == 14
    assert room.enter("light", 1.0, 16)
    assert room.enter("other", 1.0, 16)
    assert not room.enter("third", 1.0, 16)
    room.leave("heavy")
    assert not room.enter("heavy", 1.0, 16)
    assert room.enter("third", 1.0, 16)


def test_shares_go_by_weight():
    room = Room()
    counts = {"one": 0, "three": 0}
    for _ in range(100):
        for name, weight in (("one", 1.0), ("three", 3.0)):
            counts[name] += room.enter(name, weight, 40)
    assert counts["three"] > counts["one"] >= 10


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=200),
    st.integers(min_value=0, max_value=20),
)
def test_there_are_never_more_inside_than_may_be_and_who_leaves_makes_room(steps, most):
    room, held = Room(), {"a": 0, "b": 0, "c": 0}
    for tenant, leaves in steps:
        if leaves and held[tenant]:
            room.leave(tenant)
            held[tenant] -= 1
        elif not leaves:
            held[tenant] += room.enter(tenant, 1.0, most)
        assert room.inside == sum(held.values()) <= most


# --- verdicts ---


def shut(name: str = "a:1", **changes: Any) -> verdicts.Shut:
    return verdicts.Shut(name, "why", HostHealth("cloud").facts(0.0)._replace(**changes))


def overloaded(after_s: float | None) -> OverloadedError:
    error = OverloadedError("full")
    error.retry_after_s = after_s
    return error


def nobody(tried=(), off=(), lacking=()) -> WhereverError:
    errors = [verdicts.Tried(f"s:{at}", error) for at, error in enumerate(tried)]
    return verdicts.nobody("far", "m", errors, off, lacking)


def test_when_no_server_answers_callers_read_what_is_wrong_and_the_log_says_where():
    tried = [verdicts.Tried("s:0", UnreachableError("s:0 is away"))]
    off = [shut("a:1", state="open"), shut("c:3", state="open")]
    error = verdicts.nobody("far", "m", tried, off, ["b:2"])
    assert type(error) is UnreachableError
    for words in (
        "one server could not be reached",
        "2 servers had failed a moment ago",
        "one server did not have the model",
    ):
        assert words in str(error)
    log = verdicts.logged(tried, off, ["b:2"])
    for words in ("s:0 is away", "a:1 was not asked: why", "b:2 does not have the model"):
        assert words in log
    assert not any(address in str(error) for address in ("s:0", "a:1", "c:3", "b:2"))
    assert verdicts.logged((), (), ()) == "the call's time was over before a server had answered"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pushed_back_s": 0.2, "state": "open"}, "had asked to be sent no call for now"),
        ({"state": "trial"}, "had just come back"),
        ({"doubtful": True}, "overdue"),
        ({"ejected_s": 5.0}, "worse than others"),
        ({"in_flight": 4, "limit": 4}, "as many calls on the way"),
    ],
)
def test_why_a_server_was_sent_nothing_is_told(changes, words):
    assert words in wording.kept_away(shut(**changes).facts)


def said(kind: type[AttemptError], status: str, words: str) -> verdicts.Tried:
    error = kind(f"10.0.0.5:8001 did not like it ({status}: {words})")
    error.status, error.said, error.retry_after_s = status, words, 3.0
    return verdicts.Tried("10.0.0.5:8001", error)


def test_what_a_server_says_of_a_call_passes_in_its_own_words():
    words = "input 'x': expected [1,3,224,224] of FP32 in v1.2.3, found 12:30:05 of std::bad_alloc"
    for kind, status in (
        (RefusedError, "INVALID_ARGUMENT"),
        (RefusedError, "NOT_FOUND"),
        (RefusedError, "UNIMPLEMENTED"),
        (RemoteError, "INTERNAL"),
    ):
        error = verdicts.told("far", "m", said(kind, status, words))
        assert words in str(error)
        assert "10.0.0.5" not in str(error)
    assert (error.status, error.retry_after_s) == ("INTERNAL", 3.0)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (UnreachableError, "UNAVAILABLE"),
        (UntrustedPeerError, "UNAVAILABLE"),
        (DeadlineError, "DEADLINE_EXCEEDED"),
        (OverloadedError, "RESOURCE_EXHAUSTED"),
        (NotAllowedError, "UNAUTHENTICATED"),
    ],
)
def test_what_the_way_to_a_server_says_is_for_the_log_alone(kind, status):
    words = "failed to connect to all addresses; last error: triton-7.internal refused"
    tried = said(kind, status, words)
    error = verdicts.told("far", "m", tried)
    assert "'far'" in str(error)
    assert "internal" not in str(error)
    assert "10.0.0.5" not in str(error)
    assert words in verdicts.logged([tried], (), ())


@pytest.mark.parametrize(
    ("words", "passed"),
    [
        ("gpu-3.lan:8001 is busy", "the server is busy"),
        ("at http://gpu-3.lan:8001/v2: busy", "at the server/v2: busy"),
        ("gpu-3.lan says", "the server says"),
        ("not gpu-3.lan.example", "not gpu-3.lan.example"),
        ("see grpc://other:8001/x, or not", "see an address/x, or not"),
        ("ipv4:10.1.2.3:8001: refused", "ipv4:an address: refused"),
        ("at 10.1.2.3.", "at an address."),
        ("ipv6:[fe80::1]:8001 and fe80::2: refused", "ipv6:an address and an address: refused"),
        ("version 1.2.3, 1.2.3.4.5 and 999.1.1.1", "version 1.2.3, 1.2.3.4.5 and 999.1.1.1"),
        ("a[1:2], [3] at 12:30:05, std::bad", "a[1:2], [3] at 12:30:05, std::bad"),
    ],
)
def test_no_address_is_left_in_the_words_of_a_server(words, passed):
    assert wording.without_addresses(words, "gpu-3.lan:8001") == passed


def test_a_server_without_a_dot_in_its_name_is_known_by_its_port():
    assert wording.without_addresses("triton:8001 ran triton", "triton:8001") == (
        "the server ran triton"
    )


def test_what_was_wrong_before_a_call_was_sent_is_told_without_the_address():
    large = RefusedError("the call to a:1 has 70 bytes and the limit is 64; send less")
    told = verdicts.told("far", "m", verdicts.Tried("a:1", large))
    assert "the call to the server has 70 bytes and the limit is 64" in str(told)
    broken = BadAnswerError("http://a:1 answered with a tensor of 3 bytes")
    told = verdicts.told("far", "m", verdicts.Tried("a:1", broken))
    assert type(told) is BadAnswerError
    assert "the server answered with a tensor of 3 bytes" in str(told)
    for error in (ClosedError("the connection to a:1 was closed"), ForkedError("no a:1")):
        told = verdicts.told("far", "m", verdicts.Tried("a:1", error))
        assert isinstance(told, UnreachableError if type(error) is ClosedError else RemoteError)
        assert "a:1" not in str(told)


def test_the_operator_is_told_what_is_not_the_caller_s():
    assert verdicts.is_the_callers(RefusedError("no"))
    assert not verdicts.is_the_callers(NotAllowedError("no"))
    assert not verdicts.is_the_callers(UnreachableError("away"))


def test_a_backend_without_room_says_when_there_may_be_some():
    busy = shut(in_flight=32, limit=32, usual_s=0.5)
    pushed = shut(pushed_back_s=0.2, state="open")
    error = nobody([UnreachableError("away")], [busy, pushed, shut(state="open")])
    assert isinstance(error, OverloadedError)
    assert error.retry_after_s == 0.2
    assert nobody([overloaded(0.3)]).retry_after_s == 0.3
    assert 0 < nobody([overloaded(None)]).retry_after_s < 0.1


def test_an_error_that_says_more_than_absence_is_passed_on():
    assert isinstance(nobody([UnreachableError("away"), RemoteError("broken")]), RemoteError)
    assert nobody([overloaded(math.inf)]).retry_after_s == math.inf


def test_a_model_that_no_server_has_is_not_found():
    assert isinstance(nobody((), (), ["a:1"]), ModelNotFoundError)


def refused(kind: type[AttemptError], status: str) -> AttemptError:
    error = kind("no")
    error.status = status
    return error


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (refused(RefusedError, "NOT_FOUND"), ModelNotFoundError),
        (refused(RefusedError, "404"), ModelNotFoundError),
        (refused(RefusedError, "INVALID_ARGUMENT"), InputError),
        (refused(RefusedError, "400"), InputError),
        (refused(RefusedError, "UNIMPLEMENTED"), RefusedError),
        (refused(NotAllowedError, "UNAUTHENTICATED"), RemoteError),
        (refused(ForbiddenError, "403"), RemoteError),
        (BlockedError("stays here"), RemoteError),
        (OverloadedError("full"), OverloadedError),
    ],
)
def test_what_concerns_the_caller_is_told_as_its_own(error, means):
    assert type(verdicts.told("far", "m", verdicts.Tried("a:1", error))) is means


def test_those_who_wait_no_more_and_those_who_waited_too_long_are_told_so():
    assert "nobody waits" in str(verdicts.given_up("far"))
    tried = [verdicts.Tried("a:1", UnreachableError("a:1 is away"))]
    assert "one server could not be reached" in str(verdicts.out_of_time("far", tried))
    assert "did not answer in time; give" in str(verdicts.out_of_time("far", []))
    assert verdicts.crowded("far", 3, 0.0).retry_after_s == 0.01
    assert verdicts.crowded("far", 3, 60.0).retry_after_s == 1.0
