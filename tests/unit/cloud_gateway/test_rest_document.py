"""What the OpenAPI document says of a model: examples that fit, and schemas of what is taken."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.manifest import Signature
from wherever_contracts.tensors import DTYPES
from wherever_contracts.wire.json_fields import Field
from wherever_contracts.wire.rest_typed import read_call
from wherever_edge.images import Image
from wherever_edge.wire_inputs import WireInputs
from wherever_gateway.rest.examples import MAX_ENCODED_BYTES, example_of, invented_example
from wherever_gateway.rest.models import Described
from wherever_gateway.rest.openapi import Offer, document
from wherever_gateway.rest.schemas import fields_schema, form_schema, input_schema, value_schema

OUTPUT = {"name": "y", "dtype": "float32", "shape": [-1]}
IMAGE = {"name": "image", "kind": "image"}
TEXT = {"name": "text", "kind": "text"}
FILE = {"name": "file", "kind": "bytes"}
INK = {**IMAGE, "numbers": {"dtype": "float32", "shape": [2, 2], "min": 0, "max": 16}}


def signature(*inputs: dict, value: dict | None = None, **more: object) -> Signature:
    given_value = value or {"kind": "tensors"}
    return Signature.model_validate(
        {"inputs": inputs, "outputs": [OUTPUT], "value": given_value, **more}
    )


def tensor(dtype: str, *shape: int, **more: float) -> dict:
    return {"name": "x", "kind": "tensor", "dtype": dtype, "shape": shape, **more}


def checked(of: Signature, example: dict) -> dict:
    """What the model gets of an example that went through JSON."""
    fields = {name: Field(name, value) for name, value in json.loads(json.dumps(example)).items()}
    return WireInputs(of).read(read_call("m", "", of, fields).request.inputs)


@given(
    st.sampled_from([dtype for dtype in DTYPES if dtype != "bytes"]),
    st.lists(st.sampled_from([-1, 1, 2]), max_size=3),
)
def test_an_invented_example_fits_any_tensor(dtype, shape):
    of = signature(tensor(dtype, *shape))
    assert checked(of, invented_example(of))["x"].dtype == np.dtype(dtype)


@pytest.mark.parametrize(
    ("low", "high"), [(None, None), (0, 1), (5, 9), (-9, -5), (-1, None), (None, -2), (0.5, None)]
)
def test_an_invented_number_lies_within_its_bounds(low, high):
    bounds = {name: each for name, each in (("min", low), ("max", high)) if each is not None}
    of = signature(tensor("float32", 2, **bounds))
    assert checked(of, invented_example(of))["x"].shape == (2,)


def test_invented_pictures_texts_and_files_are_some():
    of = signature(IMAGE, TEXT, FILE)
    found = checked(of, invented_example(of))
    assert isinstance(found["image"], Image)
    assert found["file"].startswith(b"\x89PNG")
    assert found["text"]
    strings = {"name": "x", "kind": "tensor", "dtype": "bytes", "shape": [-1]}
    assert invented_example(signature(strings))["x"] == [found["text"]] * 3


def test_a_sample_is_shown_as_it_was_given_unless_it_is_too_long_to_read():
    def only(data: bytes) -> np.ndarray:
        return np.array([data], dtype=object)

    of = signature(INK, TEXT, FILE)
    ink = np.array([[0.1, 1], [2, 3]], np.float32)
    shown = example_of(of, {"image": ink, "text": only("ü".encode()), "file": only(b"x")}, {"a": 1})
    assert shown == {"image": [[0.1, 1], [2, 3]], "text": "ü", "file": "eA==", "a": 1}
    long = example_of(
        signature(FILE, tensor("int64", -1)),
        {"file": only(bytes(MAX_ENCODED_BYTES + 1)), "x": np.zeros(5000, np.int64)},
        {},
    )
    assert len(base64.b64decode(long["file"])) < 1000
    assert long["x"] == [0, 0, 0]
    assert example_of(signature(tensor("int64", 2)), {"x": np.array([1, 2])}, {}) == {"x": [1, 2]}


def test_an_image_of_a_form_is_a_file_and_in_json_it_is_base64_or_numbers():
    of = signature(INK)
    coded, numbers = input_schema(of.inputs[0])["anyOf"]
    assert coded["contentEncoding"] == "base64"
    assert numbers["items"]["items"] == {"type": "number", "minimum": 0.0, "maximum": 16.0}
    assert numbers["maxItems"] == numbers["minItems"] == 2
    assert "contentEncoding" not in form_schema(of, ())["properties"]["image"]
    schema = fields_schema(of, ("a", "b"))
    assert schema["properties"]["variant"]["enum"] == ["a", "b"]
    assert (schema["required"], schema["additionalProperties"]) == (["image"], False)


@pytest.mark.parametrize(
    ("dtype", "element"),
    [
        ("uint8", {"type": "integer", "minimum": 0, "maximum": 255}),
        ("bool", {"type": "boolean"}),
        ("bytes", {"type": "string"}),
    ],
)
def test_elements_have_the_bounds_of_their_type(dtype, element):
    schema = input_schema(signature(tensor(dtype, -1)).inputs[0])
    assert (schema["items"], schema["minItems"], "maxItems" in schema) == (element, 1, False)


def test_values_are_described_as_the_signature_promises_them():
    labels = {"kind": "label", "scores": "y", "labels": ["a", "b", "a"]}
    assert value_schema(signature(TEXT, value=labels))["properties"]["label"]["enum"] == ["a", "b"]
    many = {**labels, "labels": [str(n) for n in range(1000)]}
    assert value_schema(signature(TEXT, value=many))["properties"]["label"] == {"type": "string"}
    roles = {"boxes": "y", "scores": "y", "classes": "y"}
    found = value_schema(signature(TEXT, value={"kind": "detections", "labels": ["a"], **roles}))
    assert set(found["items"]["properties"]) == {"label", "score", "box"}
    vector = value_schema(signature(TEXT, value={"kind": "embedding", "vector": "y"}))
    assert vector["items"]["type"] == ["number", "null"]
    whole = signature(TEXT, outputs=[{**OUTPUT, "dtype": "int64"}])
    assert value_schema(whole)["properties"]["y"]["items"]["type"] == "integer"


OPTION = {"name": "min_score", "default": 0.3, "min": 0, "max": 1, "help": "The least score."}


@pytest.mark.parametrize("offer", [Offer(False, False, False), Offer(True, True, True)])
def test_every_reference_of_the_document_leads_somewhere(offer):
    of = signature(IMAGE, options=[OPTION])
    described = Described("m", "1.0.0", ("1.0.0",), of, "What it does.", "MIT")
    told = document("0.1", [described, described._replace(name="n", summary="", licence="")], offer)
    references = set()

    def look(value: object) -> None:
        if isinstance(value, dict):
            references.add(value.get("$ref"))
            list(map(look, value.values()))
        elif isinstance(value, list):
            list(map(look, value))

    look(told)
    for reference in references - {None}:
        place = told
        for name in reference.removeprefix("#/").split("/"):
            place = place[name]
    operations = [each for path in told["paths"].values() for each in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    changes = told["paths"].get("/v2/repository/models/{model}/load", {}).get("post", {})
    assert changes.get("security") == ([{"key": []}] if offer.keyed else None)
    asked = told["paths"]["/v1/models/m:predict"]["post"]
    assert "default" not in asked["parameters"][-1]["schema"]
    assert asked["description"] == "What it does. (MIT)"


def test_without_a_key_that_can_be_the_repository_asks_for_none():
    told = document("0.1", [], Offer(keyed=False, needed=False, repository=True))
    assert "security" not in told["paths"]["/v2/repository/models/{model}/load"]["post"]
    texts = signature(TEXT)
    bodies = document("0.1", [Described("t", "1", ("1",), texts)], Offer(False, False, False))
    content = bodies["paths"]["/v1/models/t:predict"]["post"]["requestBody"]["content"]
    assert content["text/plain"] == {"schema": {"type": "string"}}
    two = document("0.1", [Described("t", "1", (), signature(TEXT, IMAGE))], Offer(*[False] * 3))
    content = two["paths"]["/v1/models/t:predict"]["post"]["requestBody"]["content"]
    assert set(content) == {"application/json", "multipart/form-data"}
