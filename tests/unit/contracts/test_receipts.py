"""Receipts as plain data, and back."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import MISSING, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.places import BOUNDARIES, PLACES
from wherever_contracts.receipts import AttemptRecord, Expected, Ran, Receipt

TEXT = st.text(max_size=20)
WHOLE = st.integers(0, 1 << 53)
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
RAN = st.builds(Ran, *[TEXT] * (len(Ran._fields) - 1), threads=WHOLE)
ATTEMPT = st.builds(
    AttemptRecord,
    place=st.sampled_from(PLACES),
    host=TEXT,
    outcome=TEXT,
    elapsed_s=NUMBER,
    error=TEXT,
    confidence=st.none() | NUMBER,
    up_bytes=WHOLE,
)
RECEIPTS = st.builds(
    Receipt,
    id=TEXT,
    ran=RAN,
    place=st.sampled_from(PLACES),
    host=TEXT,
    reason=TEXT,
    degraded=st.booleans(),
    mode=st.just("auto"),
    boundary=st.sampled_from(BOUNDARIES),
    deadline_s=st.none() | NUMBER,
    attempts=st.lists(ATTEMPT, max_size=3).map(tuple),
    alternatives=st.dictionaries(TEXT, TEXT, max_size=3),
    total_s=NUMBER,
    engine_s=NUMBER,
    started_at=NUMBER,
    cache=st.sampled_from(["hit", "miss", "off"]),
    passed_over=TEXTS,
    substituted=TEXTS,
    rows=WHOLE,
    expected=st.dictionaries(TEXT, st.builds(Expected, NUMBER, NUMBER, WHOLE, NUMBER), max_size=2),
)
RECEIPT = Receipt(
    id="a-1",
    ran=Ran("m", "1.0.0", "small", "p", "v", "local", "onnxruntime", "1", "cpu", "int8", 1),
    place="device",
    host="device",
    reason="it is the only one",
    degraded=False,
    mode="auto",
    boundary="device",
    deadline_s=None,
    attempts=(AttemptRecord("device", "device", "answered", 0.001),),
    alternatives={"gw:8001": "the boundary"},
    total_s=0.002,
    engine_s=0.001,
    expected={"device": Expected(0.001, 0.002, 0, 3.0)},
)


def plain(receipt):
    return json.loads(json.dumps(receipt.to_dict()))


@given(RECEIPTS)
def test_a_receipt_comes_back_from_json_as_it_was(receipt):
    back = Receipt.from_dict(plain(receipt))
    assert back == receipt
    assert back.ran == receipt.ran
    assert type(back.attempts) is tuple


@given(RECEIPTS)
def test_a_receipt_comes_back_from_its_own_dictionary(receipt):
    assert Receipt.from_dict(receipt.to_dict()) == receipt


def test_what_a_newer_version_says_beside_is_left_out():
    data = plain(RECEIPT) | {"carbon_g": 3}
    data["attempts"][0]["mood"] = "good"
    data["expected"]["device"]["worst_s"] = 9
    assert Receipt.from_dict(data) == RECEIPT


def test_what_an_older_version_did_not_say_has_its_default():
    data = plain(RECEIPT)
    given = {each.name for each in fields(Receipt)}
    for each in fields(Receipt):
        if each.default is not MISSING or each.default_factory is not MISSING:
            del data[each.name]
            given.discard(each.name)
    for name in ("error", "released", "variant", "confidence", "up_bytes", "down_bytes"):
        del data["attempts"][0][name]
    back = Receipt.from_dict(data)
    assert {name: getattr(back, name) for name in given} == {
        name: getattr(RECEIPT, name) for name in given
    }
    assert (back.cache, back.rows, back.expected, back.started_at) == ("off", 1, {}, 0.0)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("id", 7, "receipt.id: expected text, found 7"),
        ("threads", 1.5, "receipt.ran.threads: expected a whole number, found 1.5"),
        ("threads", True, "receipt.ran.threads: expected a whole number, found True"),
        ("degraded", 1, "receipt.degraded: expected true or false, found 1"),
        ("total_s", "1", "receipt.total_s: expected a number, found '1'"),
        ("total_s", None, "receipt.total_s: expected a number, found None"),
        ("total_s", False, "receipt.total_s: expected a number, found False"),
        ("place", "moon", "receipt.place: expected one of device, nearby, cloud, found 'moon'"),
        ("cache", ["hit"], "receipt.cache: expected one of hit, miss, off, found ['hit']"),
        ("attempts", {}, "receipt.attempts: expected a list, found {}"),
        ("attempts", ["x"], "receipt.attempts[0]: expected an object, found 'x'"),
        ("attempts", [{}], "receipt.attempts[0]: expected 'place', found nothing"),
        ("alternatives", {"gw": 1}, "receipt.alternatives['gw']: expected text, found 1"),
        ("expected", {"gw": []}, "receipt.expected['gw']: expected an object, found []"),
    ],
)
def test_a_field_of_another_type_is_named(name, value, said):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 (its words are compared)
        Receipt.from_dict(plain(RECEIPT) | {name: value})
    assert str(refused.value) == said


@pytest.mark.parametrize(("name", "where"), [("place", "receipt"), ("engine", "receipt.ran")])
def test_a_missing_field_without_a_default_is_named(name, where):
    data = plain(RECEIPT)
    del data[name]
    with pytest.raises(ValueError, match=f"^{where}: expected '{name}', found "):
        Receipt.from_dict(data)


@pytest.mark.parametrize("data", [None, [], "receipt", 3])
def test_what_is_no_object_is_no_receipt(data):
    with pytest.raises(ValueError, match=r"^receipt: expected an object, found "):
        Receipt.from_dict(data)


@given(
    st.sampled_from([f.name for f in fields(Receipt) if f.name != "ran"]),
    st.recursive(
        st.none() | st.booleans() | NUMBER | TEXT,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
        max_leaves=4,
    ),
)
def test_a_field_of_anything_is_read_or_refused(name, value):
    with suppress(ValueError):
        back = Receipt.from_dict(plain(RECEIPT) | {name: value})
        assert Receipt.from_dict(plain(back)) == back
