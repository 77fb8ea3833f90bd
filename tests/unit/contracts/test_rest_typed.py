"""Typed calls: what their fields stand for, and every refusal by the name of its field."""

from __future__ import annotations

import base64
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.manifest import Signature
from wherever_contracts.tensors import WIRE_TYPES
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.json_fields import Field
from wherever_contracts.wire.rest_typed import (
    encode_answer,
    field_of_text,
    fields_of,
    only_input,
    read_call,
)
from wherever_contracts.wire.tensors import InferResponse, from_array, from_bytes, to_array


def signature(*inputs: dict, options: tuple[dict, ...] = (), **more: object) -> Signature:
    output = {"name": "y", "dtype": "float32", "shape": [-1]}
    said = {"outputs": [output], "value": {"kind": "tensors"}, **more}
    return Signature.model_validate({"inputs": inputs, "options": options, **said})


IMAGE = {"name": "image", "kind": "image"}
INK = {**IMAGE, "numbers": {"dtype": "float32", "shape": [2, 2], "min": 0, "max": 16}}
TEXT = {"name": "text", "kind": "text"}
FILE = {"name": "file", "kind": "bytes"}
PAIR = {"name": "x", "kind": "tensor", "dtype": "float32", "shape": [2]}
SCALAR = {"name": "x", "kind": "tensor", "dtype": "int64", "shape": []}
SCORE = {"name": "min_score", "default": 0.3, "min": 0, "max": 1}
ALL = signature(IMAGE, TEXT, FILE, PAIR, options=(SCORE,))
PNG = b"\x89PNG\r\n"
CODED = base64.b64encode(PNG).decode()


def read(of: Signature, **fields: object):
    given_fields = {
        name: value if isinstance(value, bytes) else Field(name, value)
        for name, value in fields.items()
    }
    return read_call("m", "1", of, given_fields)


def test_every_kind_of_input_and_what_a_call_says_about_itself_is_read():
    call = read(
        ALL,
        image=CODED,
        text="Zürich",
        file=CODED,
        x=[1, 2.5],
        min_score=0.5,
        id="a",
        variant="large",
        priority="batch",
        timeout_s=2,
    )
    request = call.request
    image, text, file, numbers = request.inputs
    assert (request.model, request.version, request.id, call.timeout_s) == ("m", "1", "a", 2.0)
    assert request.parameters == {"min_score": 0.5, "variant": "large", "priority": "batch"}
    assert [to_array(each)[0] for each in (image, text, file)] == [PNG, "Zürich".encode(), PNG]
    assert to_array(numbers).tolist() == [1.0, 2.5]


def test_bare_bytes_are_what_base64_stands_for_and_texts_are_numbers_where_they_can_be():
    call = read(ALL, image=PNG, text=b"word", file=PNG, x=b"[1, 2]", min_score=b"0.25", id=b"7")
    assert [to_array(each)[0] for each in call.request.inputs[:3]] == [PNG, b"word", PNG]
    assert to_array(call.request.inputs[3]).tolist() == [1, 2]
    assert (call.request.parameters, call.request.id) == ({"min_score": 0.25}, "7")


def test_an_image_may_be_a_data_url_and_where_the_signature_says_so_numbers():
    url = f"data:image/png;base64,{CODED}"
    assert to_array(read(signature(IMAGE), image=url).request.inputs[0])[0] == PNG
    ink = read(signature(INK), image=[[1, 2], [3, 4]]).request.inputs[0]
    assert (ink.datatype, ink.shape) == ("FP32", (2, 2))


def test_a_tensor_without_axes_is_a_bare_number():
    for value in (7, b"7"):
        tensor = read(signature({**SCALAR, "dtype": "float64"}), x=value).request.inputs[0]
        assert (tensor.shape, to_array(tensor).tolist()) == ((), 7)


NUMERIC = sorted(set(WIRE_TYPES) - {"bytes", "bool"})


@given(st.sampled_from(NUMERIC), st.lists(st.integers(1, 3), max_size=3), st.data())
def test_nested_numbers_are_the_tensor_that_they_look_like(dtype, shape, data):
    entry = {"name": "x", "kind": "tensor", "dtype": dtype, "shape": [-1] * len(shape)}
    numbers = st.integers(0, 100)
    array = np.array(
        data.draw(st.lists(numbers, min_size=math.prod(shape), max_size=math.prod(shape))), dtype
    ).reshape(shape)
    tensor = read(signature(entry), x=json.loads(json.dumps(array.tolist()))).request.inputs[0]
    back = to_array(tensor)
    assert (back.dtype, back.shape, back.tolist()) == (array.dtype, array.shape, array.tolist())


@pytest.mark.parametrize(
    ("of", "fields", "words"),
    [
        (signature(IMAGE), {}, "image: expected an image as a string in base64, found nothing"),
        (signature(INK), {}, r"image: .*, or numbers nested as \[2, 2\], found nothing"),
        (signature(TEXT), {}, "text: expected a string, found nothing"),
        (signature(FILE), {}, "file: expected bytes as a string in base64, found nothing"),
        (signature(PAIR), {}, r"x: expected numbers nested as \[2\], found nothing"),
        (signature(IMAGE), {"image": 3}, "image: expected an image as a string in base64, found 3"),
        (signature(IMAGE), {"image": None}, "image: expected an image .*, found null"),
        (signature(IMAGE), {"image": "no?"}, "image: expected base64 .*, found a string of 3"),
        (signature(IMAGE), {"image": "data:image/png,x"}, "image: expected base64 .*, found a st"),
        (signature(IMAGE), {"image": [[1]]}, "image: expected an image .*, found an array of 1"),
        (signature(TEXT), {"text": ["a"]}, "text: expected a string, found an array of 1"),
        (signature(TEXT), {"text": "\ud800"}, "text: expected text that UTF-8 can hold"),
        (signature(PAIR), {"x": "1"}, 'x: expected an array, found "1"'),
        (signature(PAIR), {"x": b"\xff"}, "x: expected text in UTF-8, found bytes that are not"),
        (signature(PAIR), {"x": b"[1,"}, "expected a JSON document"),
        (signature(PAIR), {"x": [1, "a"]}, "x: expected numbers for FP32, found a string of 1"),
        (signature(PAIR), {"x": [[1], [2, 3]]}, "x: expected rows of one length"),
        (signature(PAIR), {"x": [1, None]}, "x: expected numbers for FP32, found null"),
        (signature(SCALAR), {"x": 0.5}, "x: expected whole numbers for INT64, found 0.5"),
        (ALL, {"imag": 3}, r"field 'imag': expected one of image, text, file, x, min_score, id"),
        (
            signature(PAIR, options=(SCORE,)),
            {"min_score": True},
            "min_score: expected a number, found t",
        ),
        (
            signature(PAIR, options=(SCORE,)),
            {"min_score": "a"},
            "min_score: expected a number, found ",
        ),
        (
            signature(PAIR, options=(SCORE,)),
            {"min_score": None},
            "min_score: expected a number, found n",
        ),
        (
            signature(PAIR, options=(SCORE,)),
            {"min_score": 10**400},
            "min_score: expected a number, f",
        ),
        (signature(PAIR), {"timeout_s": 0}, "timeout_s: expected seconds from 0.001"),
        (signature(PAIR), {"timeout_s": 1e9}, "timeout_s: expected seconds from 0.001 to 86400"),
        (signature(PAIR), {"priority": "high"}, "priority: expected one of interactive"),
        (signature(PAIR), {"priority": 3}, "priority: expected a string, found 3"),
        (signature(PAIR), {"id": 3}, "id: expected a string, found 3"),
        (signature(PAIR), {"variant": ""}, "variant: expected the id of a variant"),
        (signature(PAIR), {"variant": {}}, "variant: expected a string, found an object"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_name_of_its_field(of, fields, words):
    plain = {"x": [1, 2]} if "x" in [entry.name for entry in of.inputs] else {}
    missing = not fields
    with pytest.raises(WireError, match=words):
        read(of, **({} if missing else {**plain, **fields}))


def test_arrays_nested_without_end_are_refused():
    deep: list = []
    for _ in range(40):
        deep = [deep]
    with pytest.raises(WireError, match="x: expected at most 32 arrays"):
        read(signature(PAIR), x=deep)


def test_a_name_that_means_several_things_means_the_input_before_the_option():
    both = signature({**TEXT, "name": "id"}, options=({**SCORE, "name": "timeout_s"},))
    call = read(both, id="a text", timeout_s=0.5)
    assert (call.request.id, call.timeout_s) == ("", None)
    assert call.request.parameters == {"timeout_s": 0.5}


def test_fields_are_those_of_an_object():
    assert fields_of(b'{"x": [1]}')["x"].value == [1]
    for body in (b"[1]", b'"x"', b"3", b"null"):
        with pytest.raises(WireError, match="the body: expected an object"):
            fields_of(body)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("min_score", "0.5", 0.5),
        ("min_score", "nan", "nan"),
        ("min_score", "a", "a"),
        ("id", "7", "7"),
        ("variant", "1e3", "1e3"),
        ("timeout_s", "2", 2.0),
    ],
)
def test_texts_of_queries_are_numbers_where_they_can_be(name, text, value):
    assert field_of_text(name, text).value == value


def test_the_only_input_goes_by_its_kind():
    assert only_input(signature(IMAGE), ["image"]) == "image"
    assert only_input(signature(IMAGE), ["text"]) == ""
    assert only_input(signature(IMAGE, TEXT), ["image"]) == ""


# --- answers ---

RAN = json.dumps({"model": "m", "variant": "v"})


def answered(of: Signature, *tensors, **said):
    parameters = {"wherever_ran": RAN, **{f"wherever_{name}": each for name, each in said.items()}}
    response = InferResponse("m", "1.0.0", "a", parameters, tensors)
    body = encode_answer(of, response)
    return json.loads(body, parse_constant=pytest.fail)


def test_an_answer_has_the_value_how_sure_it_is_and_what_ran():
    labels = {"kind": "label", "scores": "y", "labels": ["no", "yes"]}
    scores = from_array("y", np.array([0.25, 0.75], np.float32))
    said = answered(
        signature(PAIR, value=labels), scores, confidence=0.75, rows=3, substituted='["a: b"]'
    )
    assert said["value"] == {"label": "yes", "score": 0.75}
    assert (said["model"], said["version"], said["id"]) == ("m", "1.0.0", "a")
    assert (said["confidence"], said["rows"], said["substituted"]) == (0.75, 3, ["a: b"])
    assert said["ran"] == {"model": "m", "variant": "v"}


def test_numbers_that_json_lacks_are_null():
    odd = from_array("y", np.array([1, np.nan, np.inf], np.float32))
    assert answered(signature(PAIR), odd)["value"] == {"y": [1.0, None, None]}
    assert answered(signature(PAIR), odd, confidence=math.nan)["confidence"] is None


def test_bytes_of_other_servers_are_text_where_they_can_be():
    words = from_bytes("y", ["ü".encode(), b"\xff"], (2, 1))
    assert answered(signature(PAIR), words)["value"] == {"y": [["ü"], ["/w=="]]}
