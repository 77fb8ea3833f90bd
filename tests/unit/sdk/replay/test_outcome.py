"""How it came out to run calls again, and which reasons are no failure."""

from __future__ import annotations

import numpy as np
import pytest

from wherever._replay.comparing import bits
from wherever._replay.outcome import (
    EXPLANATIONS,
    FAILURES,
    Reason,
    Tally,
    differing,
    ended,
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


@pytest.mark.parametrize("code", [*EXPLANATIONS, *FAILURES])
@pytest.mark.parametrize("end", ["close", "different", "not_run"])
def test_only_what_ran_and_is_explained_is_settled(code, end):
    found = ended(receipt(), end, Reason(code, "why"))
    assert found.settled == (code in EXPLANATIONS and end != "not_run")
    assert not found.same


def test_the_same_bits_need_no_reason():
    found = ended(receipt(), "identical")
    assert (found.same, found.settled, found.reason) == (True, True, "")
    assert found.to_dict() == {
        "id": "a-1",
        "model": "m@1.0.0",
        "variant": "v",
        "end": "identical",
        "reason": "",
        "why": "",
    }


def test_nothing_that_is_known_differs():
    assert differing(receipt(), RAN) is None
    assert differing(receipt(), RAN._replace(package_digest="q", trust="signed")) is None


@pytest.mark.parametrize("fact", ["engine", "engine_version", "provider", "precision"])
def test_what_ran_is_compared_fact_by_fact(fact):
    code, why = differing(receipt(), RAN._replace(**{fact: "another"}))
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
    code, why = differing(receipt(rows=8, place="cloud", host="gw"), RAN._replace(threads=4))
    assert code == "threads"
    assert [part.split(" (")[0] for part in why.split("; ")] == [
        EXPLANATIONS["threads"],
        EXPLANATIONS["shared_run"],
        EXPLANATIONS["other_host"],
    ]


def test_a_tally_counts_ends_and_reasons():
    tally = Tally()
    for end, reason in [
        ("identical", None),
        ("close", Reason("shared_run", "")),
        ("different", Reason("unknown", "")),
        ("not_run", Reason("inputs_not_kept", "")),
        ("not_run", Reason("inputs_not_kept", "")),
    ]:
        tally.add(ended(receipt(), end, reason))
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
