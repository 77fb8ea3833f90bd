"""How it came out to run calls again, and which reasons are no failure."""

from __future__ import annotations

import numpy as np
import pytest

from wherever._replay.comparing import bits
from wherever._replay.outcome import (
    EXPLANATIONS,
    FAILURES,
    NotReplayableError,
    Reason,
    Tally,
    apart,
    differing,
    identical,
    not_run,
)
from wherever_contracts.receipts import Ran, Receipt

RAN = Ran("m", "1.0.0", "v", "p", "d", "local", "onnxruntime", "1", "cpu", "float32", 1)


def receipt(**changes):
    usual = {
        "id": "a-1",
        "ran": RAN,
        "place": "device",
        "host": "device",
        "reason": "",
        "degraded": False,
        "mode": "auto",
        "boundary": "anywhere",
        "deadline_s": None,
        "attempts": (),
        "alternatives": {},
        "total_s": 0.0,
        "engine_s": 0.0,
    }
    return Receipt(**{**usual, **changes})


def test_a_reason_either_explains_or_is_a_failure():
    assert not EXPLANATIONS.keys() & FAILURES.keys()


@pytest.mark.parametrize("near", [True, None])
@pytest.mark.parametrize("code", [*EXPLANATIONS, *FAILURES])
def test_only_what_ran_and_is_explained_is_settled(code, near):
    found = apart(receipt(), Reason(code, "why"), near=near)
    assert (found.end, found.same) == ("close" if near else "different", False)
    assert found.settled == (code in EXPLANATIONS)
    assert not not_run(receipt(), Reason(code, "why")).settled


def test_beyond_the_tolerance_only_what_was_shown_explains_it():
    supposed, shown = Reason("shared_run", ""), Reason("shared_run", "", shown=True)
    assert not apart(receipt(), supposed, near=False).settled
    assert apart(receipt(), shown, near=False).settled


def test_the_same_bits_need_no_reason():
    found = identical(receipt())
    assert (found.same, found.settled, found.reason) == (True, True, "")
    assert found.to_dict() == {
        "id": "a-1",
        "model": "m@1.0.0",
        "variant": "v",
        "end": "identical",
        "reason": "",
        "why": "",
        "far": False,
    }


def test_nothing_that_is_known_differs():
    assert differing(receipt(), RAN) is None
    assert differing(receipt(), RAN._replace(package_digest="q", trust="signed")) is None


@pytest.mark.parametrize("fact", ["engine", "engine_version", "provider", "precision"])
def test_what_ran_is_compared_fact_by_fact(fact):
    code, why, _ = differing(receipt(), RAN._replace(**{fact: "another"}))
    assert code == fact
    assert why.endswith(f"({fact.replace('_', ' ')} {getattr(RAN, fact)} then, another now)")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"cache": "hit"}, "kept"),
        ({"rows": 8}, "shared_run"),
        ({"released": "faces", "place": "cloud"}, "released"),
        ({"place": "nearby", "host": "box"}, "other_host"),
    ],
)
def test_how_a_call_was_answered_explains_other_bits(changes, code):
    assert differing(receipt(**changes), RAN).code == code


def test_all_that_differs_is_said_and_the_strongest_names_it():
    code, why, _ = differing(receipt(rows=8, place="cloud", host="gw"), RAN._replace(threads=4))
    assert code == "threads"
    assert [part.split(" (")[0] for part in why.split("; ")] == [
        EXPLANATIONS["threads"],
        EXPLANATIONS["shared_run"],
        EXPLANATIONS["other_host"],
    ]


def test_a_tally_counts_ends_and_reasons():
    tally, lost = Tally(), Reason("inputs_not_kept", "")
    for replayed in (
        identical(receipt()),
        apart(receipt(), Reason("shared_run", ""), near=True),
        apart(receipt(), Reason("unknown", ""), near=None),
        not_run(receipt(), lost),
        not_run(receipt(), lost),
    ):
        tally.add(replayed)
    assert tally.to_dict() == {
        "receipts": 5,
        "identical": 1,
        "close": 1,
        "different": 1,
        "not_run": 2,
        "reasons": {"inputs_not_kept": 2, "shared_run": 1, "unknown": 1},
        "unsettled": 3,
    }


def test_bits_tell_apart_what_is_equal_as_numbers():
    zero = {"y": np.zeros(2, np.float32)}
    assert bits(zero) == bits({"y": np.zeros(2, np.float32)})
    for other in (-np.zeros(2, np.float32), np.zeros(2), np.zeros((2, 1), np.float32)):
        assert bits(zero) != bits({"y": other})


def test_what_stops_a_replay_says_why_as_an_outcome_does():
    error = NotReplayableError("package", "digits 0.9.0 is not here")
    assert str(error) == "digits 0.9.0 is not here"
    assert error.reason == Reason("package", "digits 0.9.0 is not here")
