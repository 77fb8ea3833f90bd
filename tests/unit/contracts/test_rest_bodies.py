"""REST bodies: identities, what other clients send, and anything malformed."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import InputError
from wherever_contracts.tensors import DTYPE_OF_WIRE
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.metadata import ModelMetadata, TensorMetadata
from wherever_contracts.wire.rest_bodies import (
    RestRequest,
    decode_request,
    encode_metadata,
    encode_response,
    with_hint,
)
from wherever_contracts.wire.tensors import (
    InferRequest,
    InferResponse,
    WireTensor,
    from_array,
    from_bytes,
    to_array,
)

PLAIN = RestRequest(InferRequest("m", "", "", {}, ()), None, False, {})
RAW = PLAIN._replace(raw=True)

BF16 = {"name": "x", "datatype": "BF16", "shape": [2]}

NUMERIC = sorted(set(DTYPE_OF_WIRE) - {"BYTES"})
SHAPES = st.lists(st.integers(0, 4), max_size=3).map(tuple)
NAMES = st.text(max_size=8)  # lone surrogates too, which JSON can write
CONTENT_TYPES = st.sampled_from(["", "base64", "str", "image/png", "text/plain"])


@st.composite
def numeric(draw: st.DrawFn) -> WireTensor:
    shape = draw(SHAPES)
    dtype = np.dtype(DTYPE_OF_WIRE[draw(st.sampled_from(NUMERIC))])
    count = math.prod(shape)
    array = np.frombuffer(
        draw(st.binary(min_size=count * dtype.itemsize, max_size=count * dtype.itemsize)), dtype
    )
    if dtype.kind == "b":
        array = np.frombuffer(array.tobytes(), np.uint8) > 127
    elif dtype.kind == "f":
        array = np.where(np.isfinite(array), array, 0).astype(dtype)
    return from_array(draw(NAMES), array.reshape(shape))


@st.composite
def byte_strings(draw: st.DrawFn) -> WireTensor:
    shape = draw(SHAPES)
    count = math.prod(shape)
    element = draw(st.sampled_from([st.binary(max_size=9), st.text(max_size=9).map(utf8)]))
    elements = draw(st.lists(element, min_size=count, max_size=count))
    return from_bytes(draw(NAMES), elements, shape, draw(CONTENT_TYPES))


TENSORS = st.lists(numeric() | byte_strings(), max_size=4).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=12,
)


def utf8(text: str) -> bytes:
    return text.encode(errors="replace")


def response(*tensors: WireTensor, **parameters: Any) -> InferResponse:
    return InferResponse("m", "1.0.0", "", parameters, tensors)


def as_request(body: bytes, json_size: int) -> RestRequest:
    """The request whose inputs are the outputs of a response."""
    said = json.loads(body[:json_size])
    inputs = json.dumps({"inputs": said["outputs"]}).encode()
    return decode_request("m", "", inputs + body[json_size:], len(inputs))


def ask(**changes: Any) -> bytes:
    """The body of a good request, with fields of its input changed; ... leaves one out."""
    top = {key: changes.pop(key) for key in ("id", "parameters", "outputs") if key in changes}
    entry = {"name": "x", "datatype": "FP32", "shape": [3], "data": [1, 2.5, 3], **changes}
    entry = {name: value for name, value in entry.items() if value is not ...}
    if "input_parameters" in entry:
        entry["parameters"] = entry.pop("input_parameters")
    return json.dumps({"inputs": [entry], **top}).encode()


def decode(body: bytes, json_size: int | None = None) -> RestRequest:
    return decode_request("m", "", body, json_size)


def only_input(body: bytes, json_size: int | None = None) -> WireTensor:
    (tensor,) = decode(body, json_size).request.inputs
    return tensor


def refusal(body: bytes, json_size: int | None = None) -> str:
    with pytest.raises(WireError) as caught:
        decode(body, json_size)
    return str(caught.value)


# --- identities ---


@given(TENSORS)
@settings(max_examples=150, deadline=None)
def test_outputs_written_as_json_are_read_back_as_the_same_inputs(tensors):
    body = encode_response(response(*tensors), PLAIN)
    assert body.json_size == len(body.content)
    again = as_request(*body).request.inputs
    assert [(t.name, t.datatype, t.shape, bytes(t.data)) for t in again] == [
        (t.name, t.datatype, t.shape, bytes(t.data)) for t in tensors
    ]


@given(TENSORS)
@settings(max_examples=100, deadline=None)
def test_outputs_written_as_raw_contents_are_read_back_as_the_same_inputs(tensors):
    body = encode_response(response(*tensors), RAW)
    again = as_request(*body).request.inputs
    assert [(t.name, t.datatype, t.shape, bytes(t.data)) for t in again] == [
        (t.name, t.datatype, t.shape, bytes(t.data)) for t in tensors
    ]


@given(numeric())
@settings(deadline=None)
def test_nested_data_means_the_same_as_flat_data(tensor):
    nested = to_array(tensor).tolist() if tensor.shape else [to_array(tensor).item()]
    body = ask(datatype=tensor.datatype, shape=tensor.shape, data=nested)
    assert bytes(only_input(body).data) == bytes(tensor.data)


@given(NAMES, NAMES, st.dictionaries(NAMES, NAMES | st.booleans() | st.integers(-9, 2**64 - 1)))
@settings(deadline=None)
def test_ids_names_and_parameters_come_through(id_, name, parameters):
    body = ask(id=id_, parameters={"p": True, **parameters}, outputs=[{"name": name}])
    request = decode(body).request
    assert (request.model, request.id, request.outputs) == ("m", id_, (name,))
    assert request.parameters == {"p": True, **parameters}
    said = json.loads(encode_response(response(p=1), PLAIN).content)
    assert (said["parameters"], "id" in said) == ({"p": 1}, False)


# --- whatever comes ---


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_a_request_or_refused_in_words(value):
    body = json.dumps(value).encode()
    try:
        assert isinstance(decode(body), RestRequest)
    except WireError as error:
        assert "expected" in str(error)


@given(JSON, st.sampled_from(["name", "datatype", "shape", "data", "input_parameters", "outputs"]))
@settings(max_examples=300, deadline=None)
def test_any_value_of_any_field_is_taken_or_refused_in_words(value, field):
    try:
        tensor = only_input(ask(**{field: value}))
    except WireError as error:
        assert "expected" in str(error)
    else:
        assert to_array(tensor).shape == tensor.shape


@given(st.binary(max_size=60), st.none() | st.integers(0, 70))
@settings(deadline=None)
def test_any_bytes_are_refused_in_words(body, json_size):
    assert "expected" in refusal(body, json_size)


HUGE = int("9" * 400)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ...}, "inputs[0].name: expected a string, found nothing"),
        ({"name": None}, "inputs[0].name: expected a string, found null"),
        ({"name": 7}, "inputs[0].name: expected a string, found 7"),
        ({"datatype": "FP8"}, 'found "FP8"'),
        ({"datatype": "fp32"}, "inputs[0].datatype: expected one of BOOL, UINT8"),
        ({"shape": ...}, "inputs[0].shape: expected an array, found nothing"),
        ({"shape": 3}, "inputs[0].shape: expected an array, found 3"),
        ({"shape": [-1]}, "inputs[0].shape[0]: expected a whole number from 0 to"),
        ({"shape": [3.0]}, "inputs[0].shape[0]: expected a whole number from 0"),
        ({"shape": [True]}, "found true"),
        ({"shape": [2**63]}, "found 9223372036854775808"),
        ({"shape": [2]}, "inputs[0].data: expected 2 elements for the shape [2], found 3"),
        ({"shape": []}, "expected 1 elements for the shape [], found 3"),
        ({"shape": [2**40, 2**40]}, "found 3"),
        ({"data": ...}, "inputs[0].data: expected an array, found nothing"),
        ({"data": 5}, "inputs[0].data: expected an array, found 5"),
        ({"data": "abc"}, 'inputs[0].data: expected an array, found "abc"'),
        ({"data": [1, 2, "3"]}, "expected numbers for FP32, found a string of 1"),
        ({"data": [1, 2, None]}, "expected numbers for FP32, found null"),
        ({"data": [1, 2, True]}, "expected numbers for FP32, found true"),
        ({"data": [1, 2, {}]}, "expected numbers for FP32, found an object"),
        ({"data": [1, 2, [3]]}, "expected numbers for FP32, found an array of 1"),
        ({"data": [1, 2, 1e39]}, "expected numbers of at most 3.40282e+38, found a larger one"),
        ({"data": [1, 2, HUGE]}, "found a larger one"),
        ({"data": [[1, 2, 3]]}, "expected 3 elements for the shape [3], found 1"),
        ({"shape": [1, 3], "data": [[1, 2], [3]]}, "expected rows of one length"),
        ({"shape": [1, 3], "data": [[1, 2], 3]}, "expected rows of one length"),
        ({"shape": [1, 3], "data": [[1], [2], [3]]}, "nested as the shape [1, 3], found one of [3"),
        ({"shape": [1, 3, 1], "data": [[1, 2, 3]]}, "found one of [1, 3]"),
        ({"datatype": "INT8", "data": [1, 2, 128]}, "expected numbers from -128 to 127, found 128"),
        ({"datatype": "UINT64", "data": [1, 2, -1]}, "found -1"),
        ({"datatype": "INT64", "data": [1, 2, HUGE]}, "9999..."),
        ({"datatype": "INT64", "data": [1, 2, 3.0]}, "whole numbers for INT64, found 3.0"),
        ({"datatype": "BOOL", "data": [True, False, 1]}, "expected booleans for BOOL, found 1"),
        ({"datatype": "BYTES", "data": ["a", "b", 3]}, "inputs[0].data[2]: expected a string"),
        ({"datatype": "BYTES", "data": ["a", "b", "\ud800"]}, "expected text that UTF-8 can hold"),
        ({"input_parameters": {"content_type": 3}}, "inputs[0].parameters.content_type: expected"),
        ({"input_parameters": {"a": {}}}, "inputs[0].parameters.a: expected a string, a boolean"),
        ({"input_parameters": [1]}, "inputs[0].parameters: expected an object, found an array of"),
        ({"input_parameters": {"shared_memory_region": "r"}}, "it is not supported here"),
        ({"input_parameters": {"binary_data_size": 12}}, "data: expected nothing beside the par"),
        ({"input_parameters": {"binary_data_size": 12}, "data": ...}, "at most the 0 bytes"),
        ({"id": 7}, "id: expected a string, found 7"),
        ({"parameters": 7}, "parameters: expected an object, found 7"),
        ({"parameters": {"p": [1]}}, "parameters.p: expected a string, a boolean or a number"),
        ({"parameters": {"p": None}}, "parameters.p: expected a string, a boolean or a number"),
        ({"parameters": {"p": 2**64}}, "parameters.p: expected a string, a boolean or a number"),
        ({"parameters": {"timeout": -1}}, "parameters.timeout: expected a whole number from 0"),
        ({"parameters": {"timeout": "1"}}, "parameters.timeout: expected a whole number from 0"),
        ({"parameters": {"binary_data_output": 1}}, "binary_data_output: expected true or false"),
        ({"outputs": {}}, "outputs: expected an array, found an object"),
        ({"outputs": [{}]}, "outputs[0].name: expected a string, found nothing"),
        ({"outputs": ["y"]}, 'outputs[0]: expected an object, found "y"'),
        (
            {"outputs": [{"name": "y", "parameters": {"classification": "3"}}]},
            "classification: expected a whole number from 0",
        ),
        (
            {"outputs": [{"name": "y", "parameters": {"shared_memory_region": "a"}}]},
            "not supported here",
        ),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "expected true or false"),
    ],
)
def test_a_malformed_field_is_named_with_what_was_expected_and_what_came(changes, words):
    assert words in refusal(ask(**changes))


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "the body: expected a JSON document, found none"),
        (b"\xff", "found none ('utf-8' codec can't decode byte 0xff"),
        (b"[]", "the body: expected an object, found an array of 0"),
        (b"null", "inputs: expected an array, found nothing"),
        (b"{}", "inputs: expected an array, found nothing"),
        (b'{"inputs": 1}', "inputs: expected an array, found 1"),
        (b'{"inputs": [2]}', "inputs[0]: expected an object, found 2"),
        (b'{"inputs": []} {}', "found none (Extra data"),
        (b"[" * 100_000, "the body: expected a JSON document, found none"),
        (b"9" * 10_000, "the body: expected a JSON document, found none"),
    ],
)
def test_a_body_that_is_no_request_is_refused_in_words(body, words):
    assert words in refusal(body)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("place", ["data", "parameters"])
def test_numbers_that_are_not_finite_are_refused(number, place):
    written = ask(data=[1, 2, 77]) if place == "data" else ask(parameters={"p": 77})
    words = refusal(written.replace(b"77", number.encode()))
    assert ("JSON" in words) == (number != "1e999")


def test_lengths_and_ranks_that_memory_cannot_have_are_left_to_the_model():
    for shape in ([0, 2**62], [1] * 100):
        tensor = only_input(ask(shape=shape, data=[1] * math.prod(shape)))
        with pytest.raises(ValueError, match=r"too big|maximum supported dimension"):
            to_array(tensor)


# --- numbers that JSON cannot carry ---


def test_outputs_that_are_not_finite_become_null_in_json_and_stay_what_they_are_raw():
    array = np.array([1.5, np.nan, np.inf, -np.inf], np.float32)
    answer = response(from_array("y", array), confidence=math.nan)
    said = json.loads(encode_response(answer, PLAIN).content, parse_constant=pytest.fail)
    assert said["outputs"][0]["data"] == [1.5, None, None, None]
    assert said["parameters"] == {"confidence": None}
    content, size = encode_response(answer, RAW)
    assert content[size:] == array.tobytes()


# --- what strings stand for ---


@pytest.mark.parametrize("content_type", ["base64", "image/png", "application/octet-stream"])
def test_strings_are_base64_when_their_content_type_is_base64_or_a_media_type(content_type):
    data = [base64.b64encode(b"\x89PNG").decode()]
    parameters = {"content_type": content_type}
    tensor = only_input(ask(datatype="BYTES", shape=[1], data=data, input_parameters=parameters))
    assert to_array(tensor).tolist() == [b"\x89PNG"]
    assert tensor.content_type == ("" if content_type == "base64" else content_type)


@pytest.mark.parametrize("content_type", ["", "str", "text/plain", "TEXT/html"])
def test_strings_are_themselves_with_every_other_content_type(content_type):
    parameters = {"content_type": content_type} if content_type else {}
    body = ask(datatype="BYTES", shape=[2], data=["AAAA", "é"], input_parameters=parameters)
    assert to_array(only_input(body)).tolist() == [b"AAAA", "é".encode()]


@pytest.mark.parametrize("text", [7, "A", "AA==\n", "data:image/png;base64,AAAA", "é", "AA-_"])
def test_what_is_no_base64_is_refused_and_not_guessed_at(text):
    parameters = {"content_type": "image/png"}
    body = ask(datatype="BYTES", shape=[1], data=[text], input_parameters=parameters)
    expected = "a string" if text == 7 else "base64 without line breaks, as the content_type is"
    assert f"inputs[0].data[0]: expected {expected}" in refusal(body)


def test_the_content_type_of_numbers_changes_nothing():
    assert only_input(ask(input_parameters={"content_type": "np"})).datatype == "FP32"


def test_bytes_that_are_no_text_are_written_as_base64_and_said_to_be_so():
    answer = response(from_bytes("text", [b"a", b"b"], (2,)), from_bytes("blob", [b"\xff"]))
    text, blob = json.loads(encode_response(answer, PLAIN).content)["outputs"]
    assert text == {"name": "text", "datatype": "BYTES", "shape": [2], "data": ["a", "b"]}
    assert blob["data"] == ["/w=="]
    assert blob["parameters"] == {"content_type": "base64"}


def hinted(data: str, field: str = "x", **changes: Any) -> str:
    request = decode(ask(**{"datatype": "BYTES", "shape": [1], "data": [data], **changes})).request
    return str(with_hint(InputError(field, "an image", "other bytes"), request))


def test_base64_sent_as_plain_text_is_refused_with_what_to_do():
    picture = base64.b64encode(bytes(100)).decode()
    assert hinted(picture).endswith('give the input the parameter {"content_type": "base64"}')
    assert hinted("plain words, nothing else at all").endswith("found other bytes")
    assert hinted(picture, field="y").endswith("found other bytes")
    said = {"content_type": "text/plain"}
    assert hinted(picture, input_parameters=said).endswith("found other bytes")


# --- parameters of the protocol's extensions ---


@pytest.mark.parametrize(
    ("parameters", "timeout_s"),
    [({}, None), ({"timeout": 0}, None), ({"timeout": 250_000}, 0.25)],
)
def test_the_timeout_is_in_microseconds(parameters, timeout_s):
    assert decode(ask(parameters=parameters)).timeout_s == timeout_s


def test_raw_contents_are_handed_out_in_order_and_all_of_them():
    entries = [
        {"name": n, "datatype": "UINT8", "shape": [k], "parameters": {"binary_data_size": k}}
        for n, k in (("a", 2), ("b", 3))
    ]
    text = json.dumps({"inputs": entries}).encode()
    a, b = decode(text + b"12345", len(text)).request.inputs
    assert (bytes(a.data), bytes(b.data)) == (b"12", b"345")
    assert "found 1 bytes more" in refusal(text + b"123456", len(text))
    assert "inputs[1].parameters.binary_data_size: expected at most the 2 bytes" in refusal(
        text + b"1234", len(text)
    )
    assert f"expected {len(text) + 1} bytes of JSON, found {len(text)}" in refusal(
        text, len(text) + 1
    )


def test_outputs_come_raw_or_as_json_as_each_was_asked_for():
    wanted = [{"name": "a"}, {"name": "b", "parameters": {"binary_data": False}}]
    asked = decode(ask(parameters={"binary_data_output": True}, outputs=wanted))
    tensors = [from_array(name, np.arange(2, dtype=np.int16)) for name in "ab"]
    content, size = encode_response(response(*tensors), asked)
    a, b = json.loads(content[:size])["outputs"]
    assert a["parameters"] == {"binary_data_size": 4}
    assert "data" not in a
    assert b["data"] == [0, 1]
    assert content[size:] == bytes(tensors[0].data)


def test_metadata_lists_tensors_as_objects():
    tensor = TensorMetadata("x", "FP32", (-1, 3))
    said = json.loads(encode_metadata(ModelMetadata("m", ("1.0.0",), "p", (tensor,), ())))
    assert said == {
        "name": "m",
        "versions": ["1.0.0"],
        "platform": "p",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [],
    }


def test_bfloat16_comes_as_raw_contents_and_stands_for_float32():
    document = json.dumps({"inputs": [{**BF16, "parameters": {"binary_data_size": 4}}]}).encode()
    raw = np.array([1.5, -2.0], np.float32).view(np.uint16)[1::2].tobytes()
    asked = decode_request("m", "", document + raw, len(document))
    assert to_array(asked.request.inputs[0]).tolist() == [1.5, -2.0]
    with pytest.raises(WireError, match="raw contents behind the JSON, which BF16 alone has"):
        decode_request("m", "", json.dumps({"inputs": [{**BF16, "data": [1, 2]}]}).encode(), None)
