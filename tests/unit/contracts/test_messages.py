"""The codec of inference messages: identities, other clients' forms, and anything malformed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.wire import messages
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.messages import (
    decode_request,
    decode_response,
    encode_request,
    encode_response,
)
from wherever_contracts.wire.metadata import (
    ModelMetadata,
    ModelName,
    ServerMetadata,
    TensorMetadata,
    decode_health,
    decode_health_request,
    decode_model_metadata,
    decode_model_name,
    decode_ready,
    decode_server_metadata,
    encode_health,
    encode_health_request,
    encode_model_metadata,
    encode_model_name,
    encode_ready,
    encode_server_metadata,
)
from wherever_contracts.wire.schema import CLASSES
from wherever_contracts.wire.tensors import (
    InferRequest,
    InferResponse,
    WireTensor,
    from_array,
    from_bytes,
    to_array,
)

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PARAMETERS = st.dictionaries(
    TEXT,
    TEXT | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False),
    max_size=4,
)
# sizes on both sides of the one from which a message is read in place
DATA = st.binary(max_size=40) | st.integers(4000, 9000).map(bytes)
TENSORS = st.lists(
    st.builds(
        WireTensor,
        TEXT,
        TEXT,
        st.lists(st.integers(-1, 2**40), max_size=4).map(tuple),
        DATA,
        TEXT,
    ),
    max_size=4,
).map(tuple)
OUTPUTS = st.lists(TEXT, max_size=3, unique=True).map(tuple)
REQUESTS = st.builds(
    InferRequest, TEXT, TEXT, TEXT, PARAMETERS, TENSORS, OUTPUTS, classes=st.just(())
)
RESPONSES = st.builds(InferResponse, TEXT, TEXT, TEXT, PARAMETERS, TENSORS)


def plain(message: InferRequest | InferResponse) -> tuple[Any, ...]:
    """The message with its contents as bytes, so that two can be compared."""
    tensors = message.inputs if isinstance(message, InferRequest) else message.outputs
    return (*message[:4], [tensor._replace(data=bytes(tensor.data)) for tensor in tensors])


def outcome(read: Callable[[], object], refusal: type[ValueError] = WireError) -> str:
    """ "read", or the words of the refusal; any other error is the test's to fail on."""
    try:
        read()
    except refusal as error:
        return str(error)
    return "read"


def typed_request(datatype: str, shape: list[int], **contents: Any) -> Any:
    message = CLASSES["ModelInferRequest"](model_name="m")
    tensor = message.inputs.add(name="x", datatype=datatype, shape=shape)
    tensor.contents.SetInParent()
    for field, values in contents.items():
        getattr(tensor.contents, field).extend(values)
    return message


@given(REQUESTS)
def test_a_request_comes_back_as_it_went(request: InferRequest) -> None:
    decoded = decode_request(encode_request(request))
    assert plain(decoded) == plain(request)
    assert decoded.outputs == request.outputs


@given(RESPONSES)
def test_a_response_comes_back_as_it_went(response: InferResponse) -> None:
    assert plain(decode_response(encode_response(response))) == plain(response)


@given(REQUESTS)
def test_protobuf_itself_reads_what_we_write(request: InferRequest) -> None:
    message = CLASSES["ModelInferRequest"].FromString(encode_request(request))
    assert list(message.raw_input_contents) == [bytes(t.data) for t in request.inputs]
    assert [t.name for t in message.inputs] == [t.name for t in request.inputs]


@given(st.binary(max_size=300))
def test_random_bytes_are_decoded_or_refused_with_words(data: bytes) -> None:
    assert outcome(lambda: decode_request(data))
    assert outcome(lambda: decode_response(data))


@settings(max_examples=400)
@given(REQUESTS, st.data())
def test_mutated_requests_are_decoded_or_refused_with_words(
    request: InferRequest, data: st.DataObject
) -> None:
    encoded = bytearray(encode_request(request))
    for _ in range(data.draw(st.integers(1, 4))):
        if not encoded:
            return
        position = data.draw(st.integers(0, len(encoded) - 1))
        match data.draw(st.sampled_from(["set", "cut", "drop", "insert"])):
            case "set":
                encoded[position] = data.draw(st.integers(0, 255))
            case "cut":
                del encoded[position:]
            case "drop":
                del encoded[position]
            case "insert":
                encoded.insert(position, data.draw(st.integers(0, 255)))
    said = outcome(lambda: decode_request(bytes(encoded)))
    assert said
    if said == "read":
        for tensor in decode_request(bytes(encoded)).inputs:
            assert outcome(partial(to_array, tensor), ValueError)


PIECES = [
    CLASSES["ModelInferRequest"](model_name="m", id="1").SerializeToString(),
    encode_request(InferRequest("", "", "", {}, (WireTensor("a", "UINT8", (3,), b"abc"),))),
    encode_request(InferRequest("", "2", "", {"d": 0.5, "s": "x", "n": 1}, ())),
    encode_request(InferRequest("", "", "", {"d": 1}, ())),
    b"\x28\x96\x01",  # field 5 as a number, field 9 of all four kinds, field 100, a group
    b"\x48\x05",
    b"\x49" + bytes(8),
    b"\x4d" + bytes(4),
    b"\x4a\x02hi",
    b"\xa2\x06\x01x",
    b"\x4b\x08\x01\x4c",
    b"\x38\x01",  # the bulk field's number with another wire type
    b"\x3a\x83\x00abc",  # a length with a needless byte
    b"\x3a\xff\xff\xff\xff\x0f",
    b"\x1a\x01\xff",  # an id that is no UTF-8
    b"\x22\x0e\x0a\x01\xff\x12\x09\x21" + bytes(8),  # a parameter whose name is not
    b"\x22\x0f\x0a\x00\x0a\x00\x12\x09\x21" + bytes(8),  # the key of an entry twice
    b"\x22\x0d\x0a\x00\x12\x09\x21" + bytes(8),
    b"\x00",
]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=6), st.integers(0, 200))
def test_fields_found_in_place_mean_what_protobuf_reads(pieces: list[bytes], size: int) -> None:
    """The two ways must agree on every message, also on fields in an odd order and on damage."""
    message = b"".join(pieces)[:size]

    def decoded() -> Any:
        try:
            return decode_request(message)
        except WireError:
            return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "_ALIKE", 3)  # so that many messages look like one before
        in_place = decoded()
        patch.setattr(messages, "split", lambda *_: None)
        assert decoded() == in_place


def test_a_large_message_is_read_where_it_lies() -> None:
    array = np.arange(5000, dtype=np.float32)
    data = encode_request(InferRequest("m", "", "", {}, (from_array("x", array),)))
    (tensor,) = decode_request(data).inputs
    assert isinstance(tensor.data, memoryview)
    assert tensor.data.obj is data
    assert np.array_equal(to_array(tensor), array)


@pytest.mark.parametrize(
    ("datatype", "field", "values"),
    [
        ("BOOL", "bool_contents", [True, False, True]),
        ("INT8", "int_contents", [-128, 0, 127]),
        ("INT16", "int_contents", [-(2**15), 0, 2**15 - 1]),
        ("INT32", "int_contents", [-(2**31), 0, 2**31 - 1]),
        ("INT64", "int64_contents", [-(2**63), 0, 2**63 - 1]),
        ("UINT8", "uint_contents", [0, 1, 255]),
        ("UINT16", "uint_contents", [0, 1, 2**16 - 1]),
        ("UINT32", "uint_contents", [0, 1, 2**32 - 1]),
        ("UINT64", "uint64_contents", [0, 1, 2**64 - 1]),
        ("FP32", "fp32_contents", [0.5, -1.0, 3.0]),
        ("FP64", "fp64_contents", [0.1, -1.0, 3.0]),
        ("BYTES", "bytes_contents", [b"", b"a", b"bcd"]),
    ],
)
def test_typed_contents_become_raw(datatype: str, field: str, values: list[Any]) -> None:
    message = typed_request(datatype, [3], **{field: values})
    (tensor,) = decode_request(message.SerializeToString()).inputs
    assert to_array(tensor).tolist() == values


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (typed_request("FP16", [1], fp32_contents=[1.0]), "'FP16' has no typed contents"),
        (typed_request("COMPLEX", [1], fp32_contents=[1.0]), "'COMPLEX' has no typed contents"),
        (typed_request("INT32", [1], fp32_contents=[1.0]), "INT32 travels in int_contents"),
        (typed_request("INT8", [1], int_contents=[128]), "does not fit INT8"),
        (typed_request("UINT8", [1], uint_contents=[256]), "does not fit UINT8"),
        (CLASSES["ModelInferRequest"](inputs=[{"name": "x", "shape": [1]}]), "'x' has no contents"),
        (
            CLASSES["ModelInferRequest"](inputs=[{"name": "x"}], raw_input_contents=[b"", b""]),
            "1 input tensors with 2 raw contents",
        ),
        (CLASSES["ModelInferRequest"](raw_input_contents=[b"a"]), "0 input tensors with 1 raw"),
        (
            CLASSES["ModelInferRequest"](
                inputs=[
                    {
                        "name": "x",
                        "parameters": {
                            "shared_memory_region": CLASSES["InferParameter"](int64_param=1)
                        },
                    }
                ]
            ),
            "'shared_memory_region' is not supported",
        ),
        (
            CLASSES["ModelInferRequest"](
                outputs=[
                    {
                        "name": "y",
                        "parameters": {
                            "classification": CLASSES["InferParameter"](string_param="3")
                        },
                    }
                ]
            ),
            "classification is a number of classes, not '3'",
        ),
        (
            CLASSES["ModelInferRequest"](
                inputs=[
                    {
                        "name": "x",
                        "parameters": {"classification": CLASSES["InferParameter"](int64_param=3)},
                    }
                ]
            ),
            "'classification' is not supported",
        ),
        (
            CLASSES["ModelInferRequest"](
                inputs=[
                    {
                        "name": "x",
                        "parameters": {"content_type": CLASSES["InferParameter"](int64_param=3)},
                    }
                ],
                raw_input_contents=[b""],
            ),
            "content_type is a string, not 3",
        ),
    ],
)
def test_a_request_that_contradicts_itself_is_refused_with_words(message: Any, words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode_request(message.SerializeToString())


def test_typed_contents_beside_raw_ones_are_refused() -> None:
    message = typed_request("INT32", [1], int_contents=[1])
    message.raw_input_contents.append(bytes(4))
    with pytest.raises(WireError, match="typed contents beside raw ones"):
        decode_request(message.SerializeToString())


def test_an_empty_tensor_needs_no_contents() -> None:
    message = CLASSES["ModelInferRequest"](
        inputs=[{"name": "x", "datatype": "FP32", "shape": [0, 3]}]
    )
    (tensor,) = decode_request(message.SerializeToString()).inputs
    assert to_array(tensor).shape == (0, 3)


def test_a_parameter_without_a_value_is_left_out() -> None:
    message = CLASSES["ModelInferRequest"]()
    message.parameters["nothing"].SetInParent()
    assert decode_request(message.SerializeToString()).parameters == {}


@pytest.mark.parametrize(
    "request_",
    [
        InferRequest("m", "", "\ud800", {}, ()),
        InferRequest("m", "", "", {"n": 2**64}, ()),
        InferRequest("m", "", "", {"n": None}, ()),  # type: ignore[dict-item]
        InferRequest("m", "", "", {}, (WireTensor("x", "UINT8", (2**63,), b""),)),
    ],
)
def test_what_no_message_can_hold_is_refused_when_it_is_encoded(request_: InferRequest) -> None:
    with pytest.raises(WireError, match="cannot be put into a message"):
        encode_request(request_)


def test_content_type_and_the_order_of_tensors_travel() -> None:
    tensors = (
        from_bytes("b", [b"\x89PNG"], content_type="image/png"),
        from_array("a", np.zeros(2, np.int64)),
    )
    decoded = decode_request(encode_request(InferRequest("m", "", "", {}, tensors)))
    assert [(t.name, t.content_type) for t in decoded.inputs] == [("b", "image/png"), ("a", "")]


def test_small_messages_come_back_as_they_went() -> None:
    model = ModelMetadata("m", ("1.0.0",), "wherever", (TensorMetadata("x", "FP32", (-1, 3)),), ())
    server = ServerMetadata("wherever", "0.1.0", ("wherever",))
    name = ModelName("m", "2")
    assert decode_model_metadata(encode_model_metadata(model)) == model
    assert decode_server_metadata(encode_server_metadata(server)) == server
    encoded = encode_model_name("ModelReadyRequest", name)
    assert decode_model_name("ModelReadyRequest", encoded) == name
    assert decode_ready(encode_ready(True)) is True
    assert decode_ready(b"") is False
    assert decode_health(encode_health(1)) == 1
    assert decode_health_request(encode_health_request("x")) == "x"
    with pytest.raises(WireError, match="ModelMetadataResponse"):
        decode_model_metadata(b"\xff\xff")
    with pytest.raises(WireError, match="ModelReadyRequest"):
        encode_model_name("ModelReadyRequest", ModelName("\ud800"))


def test_bfloat16_is_read_as_the_float32_whose_upper_half_it_is():
    values = np.array([[1.5, -2.25, 0.0, 3e38], [np.inf, -np.inf, 1e-40, 65280.0]], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2")
    read = to_array(WireTensor("x", "BF16", (2, 4), halves.tobytes()))
    assert read.dtype == np.float32
    assert (read.view(np.uint32) == halves.astype(np.uint32) << 16).all()
    with pytest.raises(ValueError, match=r"10 bytes for BF16\[5\], not 16"):
        to_array(WireTensor("x", "BF16", (5,), halves.tobytes()))


def test_headers_of_short_names_are_known_again_whatever_follows_them():
    def asked(value: float, *, id_: str = "", model: str = "m") -> InferRequest:
        rows = from_array("x", np.full((1, 512), value, np.float32))
        return InferRequest(model, "", id_, {}, (rows,))

    first, second = asked(1.0), asked(2.0)
    assert decode_request(encode_request(first)) == first._replace(boundary="device")
    begins = messages._beginning(encode_request(second), 0)
    assert ("ModelInferRequest", begins) in messages._recent
    for request in (second, asked(3.0, id_="7"), asked(4.0, model="n"), first):
        decoded = decode_request(encode_request(request))
        assert (decoded.model, decoded.id) == (request.model, request.id)
        assert np.array_equal(to_array(decoded.inputs[0]), to_array(request.inputs[0]))
    data = encode_request(first)
    for cut in range(len(begins), len(data)):
        with pytest.raises(WireError):
            decode_request(data[:cut])


def test_outputs_that_are_wanted_as_classes_travel_with_how_many():
    asked = InferRequest("m", "", "", {}, (), ("y", "z"), classes=(("z", 3),))
    assert decode_request(encode_request(asked)) == asked
