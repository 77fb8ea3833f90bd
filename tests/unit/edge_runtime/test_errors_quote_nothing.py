"""Errors and what is made of them end up in logs: no text and no bytes of an input are in them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from wherever_contracts.errors import WhereverError
from wherever_contracts.manifest import Signature
from wherever_contracts.wire.rest_bodies import decode_request
from wherever_contracts.wire.tensors import WireTensor, from_bytes
from wherever_edge.inputs import InputChecker
from wherever_edge.wire_inputs import WireInputs

CANARY = "canary-9c41"
SECRET = f"{CANARY} {'is what nobody else may read ' * 5}"
NUMBERS = {"dtype": "float32", "shape": [2, 2], "min": 0, "max": 1}


def signature(**entry) -> Signature:
    return Signature.model_validate(
        {
            "inputs": [{"name": "x", **entry}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [1]}],
            "value": {"kind": "tensors"},
        }
    )


TEXT = signature(kind="text", max_bytes=9)
BYTES = signature(kind="bytes", max_bytes=9)
TENSOR = signature(kind="tensor", dtype="float32", shape=[2])
IMAGE = signature(kind="image")
DIGIT = signature(kind="image", numbers=NUMBERS)


def refusal(function) -> WhereverError:
    with pytest.raises(WhereverError) as caught:
        function()
    return caught.value


@pytest.mark.parametrize("described", [TEXT, BYTES, TENSOR, IMAGE, DIGIT])
@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        SECRET.encode(),
        f"{CANARY}\nin two lines",
        f"data://{SECRET}",
        [SECRET, SECRET],
        {"x": [SECRET]},
        np.array([SECRET]),
        np.array([SECRET], object),
    ],
    ids=["text", "bytes", "lines", "address", "list", "dict", "strings", "objects"],
)
def test_a_refused_input_is_not_quoted(described, value):
    error = refusal(lambda: InputChecker(described).check(value))
    assert CANARY not in str(error)
    assert CANARY not in repr(error)


@pytest.mark.parametrize("described", [TEXT, BYTES, TENSOR, IMAGE, DIGIT])
@pytest.mark.parametrize(
    "tensor",
    [
        from_bytes("x", [SECRET.encode()]),
        from_bytes("x", [SECRET.encode() + b"\xff"]),
        from_bytes("x", [SECRET.encode()] * 2, (2,)),
        WireTensor("x", "BYTES", (1,), SECRET.encode()),
        WireTensor("x", "FP32", (3,), SECRET.encode()),
    ],
    ids=["bytes", "no UTF-8", "two", "cut off", "numbers"],
)
def test_what_came_over_the_wire_is_not_quoted(described, tensor):
    error = refusal(lambda: WireInputs(described).read([tensor]))
    assert CANARY not in str(error)


@pytest.mark.parametrize("datatype", ["FP32", "INT8", "BOOL", "UINT64"])
def test_what_came_as_json_is_not_quoted(datatype):
    entry = {"name": "x", "datatype": datatype, "shape": [1], "data": [SECRET]}
    body = json.dumps({"inputs": [entry]}).encode()
    with pytest.raises(ValueError, match="data") as caught:
        decode_request("m", "1", body, None)
    assert CANARY not in str(caught.value)


def test_the_name_of_a_file_that_is_not_there_is_told():
    error = refusal(lambda: InputChecker(IMAGE).check("frames/one.jpg"))
    assert "'frames/one.jpg'" in str(error)
