"""Records as lines."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from wherever._escalation.words import Aim, Budget
from wherever._records.record import (
    Judgement,
    pack_judgement,
    pack_record,
    summary_of,
    unpack_judgement,
    unpack_record,
)
from wherever_contracts.values import Label, detections

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 53), 1 << 53) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)
ARRAYS = npst.arrays(
    st.sampled_from(["bool", "uint8", "int64", "float16", "float32", "float64"]),
    npst.array_shapes(min_dims=0, max_dims=3, max_side=4),
)


@pytest.fixture
def packed(record):
    return json.loads(pack_record(record))


def line(data):
    return json.dumps(data).encode()


def test_a_record_is_one_line_of_json_with_a_schema_number(record, packed):
    written = pack_record(record)
    assert written.endswith(b"}\n")
    assert written.count(b"\n") == 1
    assert packed["schema"] == 1
    assert packed["receipt"] == json.loads(json.dumps(record.receipt.to_dict()))
    assert "outputs" not in packed


def test_a_record_of_a_call_that_the_device_answered_is_small(record):
    assert len(pack_record(record)) <= 1500


def test_a_record_comes_back_as_it_was(record):
    assert unpack_record(pack_record(record)) == record


def test_what_was_asked_of_escalation_comes_back_and_takes_no_room_where_nothing_was(record):
    aim = Aim(0.02, 0.9, None, Budget(calls=600.0))
    assert unpack_record(pack_record(dataclasses.replace(record, aim=aim))).aim == aim
    assert b'"aim"' not in pack_record(record)


@given(outputs=st.dictionaries(st.text(max_size=9), ARRAYS, max_size=3))
def test_outputs_come_back_to_the_bit(the_record, outputs):
    record = dataclasses.replace(the_record, outputs=outputs)
    back = unpack_record(pack_record(record)).outputs
    assert back.keys() == outputs.keys()
    for name, array in outputs.items():
        assert (back[name].dtype, back[name].shape) == (array.dtype, array.shape)
        assert back[name].tobytes() == array.tobytes()


def test_outputs_of_bytes_come_back(record):
    texts = np.array([b"one", b"", b"\xff"], dtype=object)
    back = unpack_record(pack_record(dataclasses.replace(record, outputs={"text": texts})))
    assert back.outputs["text"].tolist() == texts.tolist()


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_a_number_that_json_cannot_write_is_null(record, odd):
    strange = dataclasses.replace(
        record, confidence=odd, summary={"label": "8", "score": odd, "ranking": [odd, 1.0]}
    )
    back = unpack_record(pack_record(strange))
    assert back.confidence is None
    assert back.summary == {"label": "8", "score": None, "ranking": [None, 1.0]}


def test_numbers_of_numpy_are_written_as_numbers(record):
    given_ = dataclasses.replace(
        record, confidence=np.float32(0.5), options={"min_score": np.float64(0.25)}
    )
    back = unpack_record(pack_record(given_))
    assert (back.confidence, back.options) == (0.5, {"min_score": 0.25})


def test_what_cannot_be_written_is_refused(record):
    with pytest.raises(ValueError, match=r"it cannot be written as JSON: .*set is not"):
        pack_record(dataclasses.replace(record, summary={"labels": {1, 2}}))


def test_what_a_newer_version_says_beside_is_left_out(record, packed):
    packed["mood"] = "good"
    packed["receipt"]["mood"] = "good"
    assert unpack_record(line(packed)) == record


def test_what_an_older_version_did_not_say_has_its_default(record, packed):
    for name in ("input_digest", "answer_digest", "reference", "priority", "strict"):
        del packed[name]
    back = unpack_record(line(packed))
    assert (back.input_digest, back.reference, back.priority) == ("", "", "interactive")
    assert not back.strict


@pytest.mark.parametrize("schema", [2, "1", None])
def test_a_line_of_another_schema_is_refused(packed, schema):
    with pytest.raises(ValueError, match="expected schema 1, found"):
        unpack_record(line(packed | {"schema": schema}))


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("options", {"min_score": "a"}, r"record.options\['min_score'\]: expected a number"),
        ("priority", "soon", "record.priority: expected one of interactive, batch, background"),
        ("receipt", 3, "record.receipt: expected an object"),
        ("summary", [], "record.summary: expected an object"),
        ("outputs", {"x": 1}, r"record.outputs\['x'\]: expected an object"),
        ("outputs", {"x": {"datatype": "FP32", "shape": [2], "data": "AAAA"}}, "8 bytes for FP32"),
        ("outputs", {"x": {"datatype": "FP32", "shape": [1], "data": "A?"}}, "base64|padding"),
    ],
)
def test_a_field_of_another_type_is_named(packed, name, value, said):
    with pytest.raises(ValueError, match=said):
        unpack_record(line(packed | {name: value}))


@given(cut=st.integers(1, 1000))
def test_a_line_that_is_cut_off_is_refused(the_record, cut):
    whole = pack_record(the_record)
    with pytest.raises(ValueError, match=r"."):
        unpack_record(whole[: max(0, len(whole) - 1 - cut)])


@given(st.binary(max_size=200))
def test_a_line_of_anything_else_is_refused(data):
    with pytest.raises(ValueError, match=r"."):
        unpack_record(data)


@given(
    id_=st.text(max_size=20), at=st.floats(0, 4e9), label=PLAIN, accepted=st.none() | st.booleans()
)
def test_a_judgement_comes_back_as_it_was(id_, at, label, accepted):
    said = Judgement(id_, at, label, accepted)
    assert unpack_judgement(pack_judgement(said)) == said


def test_a_summary_says_what_was_found_in_short():
    label = Label(("no", "yes"), np.array([0.25, 0.75], np.float32))
    assert summary_of(label) == {"label": "yes", "score": 0.75}
    boxes = np.zeros((3, 4), np.float32)
    found = detections(("cat", "dog"), boxes, np.ones(3, np.float32), np.array([1, 0, 1]))
    assert summary_of(found) == {"found": {"dog": 2, "cat": 1}}
    assert summary_of([]) == {"found": {}}
    assert summary_of(np.zeros((1, 5))) == {"shapes": {"": [1, 5]}}
    assert summary_of({"a": np.zeros(3), "b": np.zeros((0, 2))}) == {
        "shapes": {"a": [3], "b": [0, 2]}
    }
