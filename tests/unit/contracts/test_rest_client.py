"""The client's half of REST bodies: what it writes is what the server reads, and back."""

from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.wire import rest_bodies, rest_client
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.metadata import ModelMetadata, ServerMetadata, TensorMetadata
from wherever_contracts.wire.tensors import InferRequest, InferResponse, from_array, from_bytes

TENSORS = (
    from_array("x", np.arange(6, dtype=np.float32).reshape(2, 3)),
    from_array("large", np.ones(2000)),
    from_bytes("picture", [b"\xff\xd8"], content_type="image/jpeg"),
    from_array("none", np.zeros((0, 3), np.int8)),
)
OUTPUT = {"name": "y", "datatype": "FP32", "shape": [1]}
RAW = {"parameters": {"binary_data_size": 4}}
RESPONSE = InferResponse(
    "m", "1.0.0", "i", {"wherever_ran": "{}", "wherever_confidence": 0.5}, TENSORS[:2]
)


def asked(request: InferRequest, timeout_s: float | None = None) -> rest_bodies.RestRequest:
    body = rest_client.encode_request(request, timeout_s)
    content = b"".join([body.document, *body.contents])
    assert len(content) == body.size
    return rest_bodies.decode_request(request.model, request.version, content, len(body.document))


def answered(response: InferResponse, *, raw: bool) -> InferResponse:
    plain = rest_bodies.RestRequest(InferRequest("m", "", "", {}, ()), None, raw, {})
    return rest_client.decode_response(*rest_bodies.encode_response(response, plain))


parameters = st.dictionaries(
    st.text(max_size=5),
    st.text(max_size=5)
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False),
    max_size=3,
)


@given(parameters, st.text(max_size=5), st.lists(st.text(max_size=5), max_size=2))
def test_what_a_client_asks_is_what_the_server_reads(given_parameters, id_, outputs):
    request = InferRequest("m", "", id_, given_parameters, TENSORS, tuple(outputs))
    read = asked(request)
    assert read.raw
    found = dict(read.request.parameters)
    assert found.pop("binary_data_output") is True
    expected = {k: v for k, v in given_parameters.items() if k != "binary_data_output"}
    assert found == expected
    assert read.request._replace(parameters=request.parameters) == request


def test_a_server_that_does_not_know_raw_contents_is_sent_json():
    texts = from_bytes("text", ["grüß".encode(), b""], (2,), "str")
    tensors = (*TENSORS, texts)
    body = rest_client.encode_request(InferRequest("m", "", "i", {}, tensors), None, raw=False)
    assert body.contents == ()
    assert body.size == len(body.document)
    assert b"binary" not in body.document
    read = rest_bodies.decode_request("m", "", body.document, None).request
    assert [(t.name, t.datatype, t.shape) for t in read.inputs] == [
        (t.name, t.datatype, t.shape) for t in tensors
    ]
    assert [bytes(t.data) for t in read.inputs] == [bytes(t.data) for t in tensors]


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_json_cannot_say_is_not_sent_as_something_else(value):
    tensors = (from_array("x", np.array([value], np.float32)),)
    with pytest.raises(WireError, match="JSON has neither"):
        rest_client.encode_request(InferRequest("m", "", "", {}, tensors), None, raw=False)


def test_the_time_that_is_left_travels_along():
    assert asked(InferRequest("m", "", "", {}, ()), 0.25).timeout_s == pytest.approx(0.25)
    assert asked(InferRequest("m", "", "", {}, ()), 1e-9).timeout_s is not None
    assert asked(InferRequest("m", "", "", {}, ())).timeout_s is None


@pytest.mark.parametrize("raw", [True, False])
def test_what_a_server_answers_is_what_the_client_reads(raw):
    read = answered(RESPONSE, raw=raw)
    assert read == RESPONSE._replace(outputs=read.outputs, protocol="rest")
    assert [(t.name, t.shape, bytes(t.data)) for t in read.outputs] == [
        (t.name, t.shape, bytes(t.data)) for t in RESPONSE.outputs
    ]


def test_a_parameter_that_json_cannot_hold_is_left_out_of_an_answer_and_refused_in_a_request():
    nothing = {"wherever_confidence": float("nan")}
    assert answered(RESPONSE._replace(parameters=nothing), raw=True).parameters == {}
    with pytest.raises(WireError, match="cannot be put into JSON"):
        rest_client.encode_request(InferRequest("m", "", "", nothing, ()), None)


@pytest.mark.parametrize(
    ("body", "json_size", "words"),
    [
        (b"", None, "JSON"),
        (b"<html>", None, "JSON"),
        (b"[]", None, "an object"),
        (b"{}", None, "outputs"),
        (b'{"outputs": []}x', 15, "1 bytes more"),
        (b'{"outputs": []}', 99, "99 bytes"),
        (b'{"outputs": []}', -1, "-1 bytes"),
        (json.dumps({"outputs": [OUTPUT | RAW]}).encode(), None, "at most the 0 bytes"),
        (json.dumps({"outputs": [OUTPUT | {"datatype": "FP33"}]}).encode(), None, "FP33"),
    ],
)
def test_an_answer_that_is_none_is_refused_with_what_was_expected(body, json_size, words):
    with pytest.raises(WireError, match=words):
        rest_client.decode_response(body, json_size)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_no_bytes_bring_another_error(body, json_size):
    with suppress(WireError):
        rest_client.decode_response(body, json_size)


def test_metadata_is_read_as_it_is_written():
    tensors = (TensorMetadata("x", "FP32", (-1, 3)),)
    said = ModelMetadata("m", ("1.0.0", "2.0.0"), "wherever", tensors, tensors)
    assert rest_client.decode_model_metadata(rest_bodies.encode_metadata(said)) == said
    server = {"name": "s", "version": "1", "extensions": ["binary_tensor_data"]}
    read = rest_client.decode_server_metadata(json.dumps(server).encode())
    assert read == ServerMetadata("s", "1", ("binary_tensor_data",))
    for page in (b"<html>", b"{}", b'{"name": "x"}', b"[1]"):
        with pytest.raises(WireError):
            rest_client.decode_server_metadata(page)
    with pytest.raises(WireError, match="shape"):
        rest_client.decode_model_metadata(
            b'{"name": "m", "inputs": [{"name": "x", "datatype": "FP32", "shape": ["?"]}]}'
        )


def test_names_are_quoted_in_paths():
    assert rest_client.model_path("a/b ?") == "/v2/models/a%2Fb%20%3F"
    assert rest_client.model_path("m", "1.0") == "/v2/models/m/versions/1.0"


def test_the_text_of_an_error_is_found_and_short():
    assert rest_client.decode_error(b'{"error": "no such model"}') == "no such model"
    assert rest_client.decode_error(b'{"detail": "no such path"}') == "no such path"
    assert len(rest_client.decode_error(json.dumps({"error": "x" * 9999}).encode())) == 300
    for body in (b"", b"<html>", b"[]", b'{"error": 1}'):
        assert rest_client.decode_error(body) == ""
