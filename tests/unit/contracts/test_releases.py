"""Release rules in `model.json`: what is read, and what is refused by name."""

from __future__ import annotations

import json

import pytest

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import parse_manifest
from wherever_contracts.releases import Blur, Crop, Downscale

SMALL = {
    "name": "small",
    "input": "image",
    "steps": [{"op": "downscale", "max_side": 64}],
    "boundary": "anywhere",
}
PLAIN = {
    "schema": "1.4",
    "name": "faces",
    "version": "1.0.0",
    "boundary": "device",
    "reference": "large",
    "signature": {
        "inputs": [{"name": "image", "kind": "image"}],
        "outputs": [{"name": "scores", "dtype": "float32", "shape": [2]}],
        "value": {"kind": "label", "scores": "scores", "labels": ["no", "yes"]},
    },
    "variants": [
        {
            "id": "large",
            "format": "onnx",
            "precision": "float32",
            "files": [{"path": "large.onnx", "sha256": "0" * 64, "bytes": 12}],
            "tensors": {
                "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": [-1, 2]}],
            },
        }
    ],
}


def parse(*rules, **changes):
    return parse_manifest(json.dumps(PLAIN | {"release": list(rules)} | changes).encode())


def with_step(**step):
    return SMALL | {"steps": [step]}


def test_rules_are_read_with_their_steps_in_order():
    steps = [
        {"op": "crop", "region": "box"},
        {"op": "blur", "share": 0.02, "region": [0, 0, 1, 0.5]},
        {"op": "downscale", "max_side": 64},
    ]
    (rule,) = parse(SMALL | {"steps": steps}).release
    assert (rule.name, rule.input, rule.boundary) == ("small", "image", "anywhere")
    assert [type(step) for step in rule.steps] == [Crop, Blur, Downscale]
    assert rule.needs_box
    assert not parse(SMALL).release[0].needs_box
    assert not parse(with_step(op="crop", region=[0, 0, 0.5, 1])).release[0].needs_box


def test_a_manifest_without_rules_is_written_without_them_and_one_with_rules_keeps_them():
    assert "release" not in json.loads(parse().to_bytes())
    written = json.loads(parse(SMALL).to_bytes())["release"]
    assert written == [SMALL]


@pytest.mark.parametrize(
    ("rule", "field", "expected"),
    [
        (with_step(op="mosaic"), "release.0.steps.0", "'downscale', 'blur', 'crop'"),
        (with_step(op="downscale", max_side=0), "max_side", "greater than or equal to 1"),
        (with_step(op="downscale"), "max_side", "required"),
        (with_step(op="blur"), "release.0.steps.0.blur", "one of radius"),
        (with_step(op="blur", radius=1, share=0.1), "release.0.steps.0.blur", "one of radius"),
        (with_step(op="blur", radius=0), "radius", "greater than 0"),
        (with_step(op="crop", region=[0.5, 0, 0.5, 1]), "region", "left, top, right and bottom"),
        (with_step(op="crop", region=[0, 0, 1.1, 1]), "region", "left, top, right and bottom"),
        (with_step(op="crop", region="faces"), "region", ""),
        # what a newer version would also do may not be left out
        (with_step(op="blur", radius=9, faces=True), "faces", "Extra inputs are not permitted"),
        (SMALL | {"unless": "staff"}, "unless", "Extra inputs are not permitted"),
        (SMALL | {"steps": []}, "release.0.steps", "at least 1 item"),
        (SMALL | {"boundary": "device"}, "release.0.boundary", "'site' or 'anywhere'"),
        (SMALL | {"name": "../up"}, "release.0.name", "pattern"),
    ],
)
def test_a_rule_that_is_not_understood_in_full_is_refused(rule, field, expected):
    with pytest.raises(ManifestError) as caught:
        parse(rule)
    assert field in caught.value.field
    assert expected in caught.value.expected


def test_what_a_newer_schema_may_add_to_a_rule_is_refused_with_what_to_do():
    with pytest.raises(ManifestError, match="update wherever to read it"):
        parse(with_step(op="blur", radius=9, faces=True), schema="1.9")


NUMBERS = {"dtype": "float32", "shape": [2, 2], "min": 0, "max": 1}


@pytest.mark.parametrize(
    ("rules", "inputs", "boundary", "words"),
    [
        ([SMALL, SMALL], [{"name": "image", "kind": "image"}], "device", "named twice: small"),
        ([SMALL], [{"name": "image", "kind": "image"}], "anywhere", "would never be applied"),
        ([SMALL], [{"name": "photo", "kind": "image"}], "device", "nothing but an image"),
        ([SMALL], [{"name": "image", "kind": "text"}], "device", "nothing but an image"),
        (
            [SMALL],
            [{"name": "image", "kind": "image", "numbers": NUMBERS}],
            "device",
            "bare numbers cannot be released",
        ),
        (
            [SMALL],
            [{"name": "image", "kind": "image"}, {"name": "who", "kind": "text"}],
            "device",
            "does not cover all of a call: who would have to travel too",
        ),
    ],
)
def test_rules_that_no_call_could_use_or_that_promise_too_much_are_refused(
    rules, inputs, boundary, words
):
    signature = PLAIN["signature"] | {"inputs": inputs}
    with pytest.raises(ManifestError, match=words):
        parse(*rules, signature=signature, boundary=boundary)
