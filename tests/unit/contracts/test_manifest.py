"""`model.json`: what is kept, what is refused, and how the refusal is worded."""

from __future__ import annotations

import gc
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import (
    MAX_MANIFEST_BYTES,
    InputEntry,
    Manifest,
    Signature,
    parse_manifest,
    signature_digest,
)
from wherever_contracts.tensors import DTYPES, TensorSpec

SHA = "0" * 64

PLAIN = {
    "schema": "1.0",
    "name": "digits",
    "version": "1.2.3",
    "boundary": "site",
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
            "files": [{"path": "large.onnx", "sha256": SHA, "bytes": 12}],
            "tensors": {
                "inputs": [{"name": "x", "dtype": "float32", "shape": [-1, 4]}],
                "outputs": [{"name": "scores", "dtype": "float32", "shape": [-1, 2]}],
            },
            "pipeline": {"pre": [{"op": "image_tensor", "name": "image", "to": "x"}]},
        }
    ],
}


def changed(path, value):
    """PLAIN with the field at the dotted path replaced, or removed when the value is None."""
    data = json.loads(json.dumps(PLAIN))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = data
    for part in parents:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return data


def parse(data):
    return parse_manifest(json.dumps(data).encode())


def test_a_plain_manifest_is_read():
    manifest = parse(PLAIN)
    assert (manifest.name, manifest.version, manifest.boundary) == ("digits", "1.2.3", "site")
    large = manifest.variant("large")
    assert large.tensors.inputs[0].spec() == TensorSpec("x", "float32", (-1, 4))
    assert large.pipeline.pre[0].parameters == {"name": "image", "to": "x"}
    assert large.needs.engines == ("onnxruntime",)
    with pytest.raises(KeyError):
        manifest.variant("small")


@pytest.mark.parametrize(
    ("path", "value", "field", "expected", "found"),
    [
        ("boundary", None, "boundary", "required", "nothing"),
        ("boundary", "moon", "boundary", "'device', 'site' or 'anywhere'", "'moon'"),
        ("name", "Digits", "name", "a name of at most 63", "'Digits'"),
        ("name", "a--b", "name", "single '-'", "'a--b'"),
        ("name", "../up", "name", "a name of at most 63", "'../up'"),
        ("version", "1.2", "version", "match pattern", "'1.2'"),
        ("version", "1.2.3-" + "9" * 5000, "version", "at most 64", "'1.2.3-999"),
        ("version", "\u0661.0.0", "version", "match pattern", "'"),
        ("reference", "huge", "the manifest", "reference names no variant: 'huge'", "{"),
        ("variants", [], "variants", "at least 1 item", "[]"),
        ("variants.0.id", "A", "variants.0.id", "a name of at most 63", "'A'"),
        ("variants.0.files.0.sha256", "abc", "variants.0.files.0.sha256", "pattern", "'abc'"),
        ("variants.0.files.0.bytes", -1, "variants.0.files.0.bytes", "greater than", "-1"),
        ("variants.0.format", "pickle", "variants.0.format", "'onnx'", "'pickle'"),
        ("variants.0.escalate_below", 2, "variants.0.escalate_below", "less than", "2"),
        ("signature.inputs.0.kind", "smell", "signature.inputs.0.kind", "'image'", "'smell'"),
        ("signature.inputs.0.kind", "tensor", "signature.inputs.0", "needs dtype and shape", "{"),
        ("signature.outputs.0.dtype", "f4", "signature.outputs.0.dtype", "one of bool", "'f4'"),
        ("signature.outputs.0.shape", [-2], "signature.outputs.0.shape.0", "greater than", "-2"),
        ("signature.value.scores", "nope", "signature", "value.scores names no output", "{"),
        ("signature.value.kind", "poem", "signature.value", "expected tags", "{"),
    ],
)
def test_a_wrong_field_is_named_with_what_was_expected_and_found(
    path, value, field, expected, found
):
    with pytest.raises(ManifestError) as caught:
        parse(changed(path, value))
    error = caught.value
    assert (error.file, error.field) == ("model.json", field)
    assert expected in error.expected
    assert error.found.startswith(found)
    assert len(error.found) < 120


def test_the_first_wrong_field_says_how_many_more_there_are():
    data = changed("boundary", "moon") | {"version": "1", "name": "X"}
    with pytest.raises(ManifestError, match="and 2 more wrong fields"):
        parse(data)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda d: d["variants"].append(d["variants"][0]), "variant named twice: large"),
        (
            lambda d: d["signature"]["inputs"].append(d["signature"]["inputs"][0]),
            "input named twice: image",
        ),
        (
            lambda d: d["signature"]["outputs"].append(d["signature"]["outputs"][0]),
            "output named twice: scores",
        ),
        (
            lambda d: d.update(files=[{"path": "large.onnx", "sha256": "1" * 64, "bytes": 1}]),
            "'large.onnx' is listed with two digests",
        ),
        (
            lambda d: d.update(files=[{"path": "Large.onnx", "sha256": SHA, "bytes": 12}]),
            "'large.onnx' is listed in two spellings",
        ),
        (
            lambda d: d.update(
                golden=[{"file": {"path": "large.onnx", "sha256": "1" * 64, "bytes": 1}}]
            ),
            "'large.onnx' is listed with two digests",
        ),
        (
            lambda d: d["signature"]["inputs"][0].update(
                kind="text", numbers={"dtype": "float32", "shape": [1], "min": 0, "max": 1}
            ),
            "only an input of kind 'image' can have numbers",
        ),
    ],
)
def test_fields_that_contradict_each_other_are_refused(edit, message):
    data = json.loads(json.dumps(PLAIN))
    edit(data)
    with pytest.raises(ManifestError, match=message):
        parse(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        json.dumps(PLAIN).encode("utf-16"),
        b"[" * 100_000,
        b'{"schema": "1.0", "x": NaN}',
        b'{"schema": "1.0", "x": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_is_not_json_in_utf_8_is_refused(data):
    with pytest.raises(ManifestError, match="JSON in UTF-8"):
        parse_manifest(data)


@pytest.mark.parametrize("value", ["\ud800", json.loads("[" * 300 + "]" * 300)])
def test_what_could_not_be_written_back_is_refused(value):
    with pytest.raises(ManifestError, match="written back"):
        parse(PLAIN | {"x": value})


def test_json_that_is_no_object_is_refused():
    with pytest.raises(ManifestError, match="expected a JSON object, found list"):
        parse_manifest(b"[]")


def test_a_manifest_that_is_too_large_is_not_even_parsed():
    with pytest.raises(ManifestError, match="at most 4194304 bytes"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_numbers_that_no_float_holds_are_refused(number):
    text = json.dumps(changed("variants.0.escalate_below", 0.125)).replace("0.125", number)
    with pytest.raises(ManifestError, match="finite number"):
        parse_manifest(text.encode())


@pytest.mark.parametrize("schema", ["1.5", "1.999"])
def test_a_newer_minor_schema_is_read_and_its_fields_are_kept(schema):
    data = changed("schema", schema)
    data["future"] = [{"input": "a.npy", "tolerance": 1e-5}]
    data["variants"][0]["latency"] = {"pi5": 3.5}
    data["signature"]["inputs"][0]["colour"] = "bgr"
    data["signature"]["value"]["calibration"] = [1, None, True]
    data["variants"][0]["files"][0]["mirror"] = "é"
    written = json.loads(parse(data).to_bytes())
    assert written["schema"] == schema
    assert written["future"] == data["future"]
    assert written["variants"][0]["latency"] == {"pi5": 3.5}
    assert written["signature"]["inputs"][0]["colour"] == "bgr"
    assert written["signature"]["value"]["calibration"] == [1, None, True]
    assert written["variants"][0]["files"][0]["mirror"] == "é"


@pytest.mark.parametrize(("schema", "newer"), [("1.0", False), ("1.5", False), ("1.6", True)])
def test_a_newer_kind_of_input_says_that_an_update_would_read_it(schema, newer):
    data = changed("schema", schema)
    data["signature"]["inputs"][0]["kind"] = "sound"
    with pytest.raises(ManifestError, match="'sound'") as caught:
        parse(data)
    assert caught.value.field == "signature.inputs.0.kind"
    assert ("update wherever to read it" in str(caught.value)) is newer


def test_only_bytes_have_ends_and_packages_without_them_are_written_as_before():
    one = {"name": "file", "kind": "bytes", "ends_bytes": 4096}
    assert b'"ends_bytes": 4096' in parse(changed("signature.inputs.0", one)).to_bytes()
    assert b"ends_bytes" not in parse(PLAIN).to_bytes()
    # as it was when there were none
    before = "63f9a472"
    assert signature_digest(parse(PLAIN).signature).startswith(before)
    with pytest.raises(ValueError, match="only an input of kind 'bytes' can have ends_bytes"):
        InputEntry.model_validate({**one, "kind": "text"})
    with pytest.raises(ValueError, match="max_bytes must be at least twice ends_bytes"):
        InputEntry.model_validate({**one, "max_bytes": 8191})


@pytest.mark.parametrize("schema", ["2.0", "0.9", "11.0", "9" * 5000 + ".0", "01.0"])
def test_another_major_schema_is_refused_with_what_to_do(schema):
    with pytest.raises(ManifestError, match="update wherever") as caught:
        parse(changed("schema", schema))
    assert caught.value.field == "schema"


@pytest.mark.parametrize("schema", ["1", "one", 1.0, ["1.0"], None, "1.0\n"])
def test_a_schema_that_is_no_version_is_refused(schema):
    with pytest.raises(ManifestError) as caught:
        parse(changed("schema", schema))
    assert caught.value.field == "schema"


def test_the_source_is_named_as_the_caller_calls_it():
    with pytest.raises(ManifestError, match=r"^digits-1\.0\.0\.wherever: "):
        parse_manifest(b"", "digits-1.0.0.wherever")


def test_a_file_listed_twice_comes_once():
    data = changed("files", [{"path": "labels.txt", "sha256": SHA, "bytes": 1}])
    data["variants"].append({**data["variants"][0], "id": "small"})
    data["golden"] = [{"file": {"path": "golden/0.frame", "sha256": SHA, "bytes": 1}}] * 2
    paths = [entry.path for entry in parse(data).all_files()]
    assert paths == ["labels.txt", "golden/0.frame", "large.onnx"]


def test_equal_signatures_have_equal_digests():
    one = Signature.model_validate(PLAIN["signature"])
    other = Signature.model_validate(dict(reversed(PLAIN["signature"].items())))
    assert signature_digest(one) == signature_digest(other)
    labels = changed("signature.value.labels", ["yes", "no"])["signature"]
    assert signature_digest(Signature.model_validate(labels)) != signature_digest(one)


NAMES = st.from_regex(r"[a-z0-9][a-z0-9._]{0,8}", fullmatch=True)
WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
UNKNOWN = st.dictionaries(WORDS.map(lambda word: f"x-{word}"), JSON, max_size=2)
TENSORS = st.lists(
    st.builds(
        lambda name, dtype, shape, extra: {**extra, "name": name, "dtype": dtype, "shape": shape},
        NAMES,
        st.sampled_from(DTYPES),
        st.lists(st.integers(-1, 2**31), max_size=4),
        UNKNOWN,
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tensor: tensor["name"],
)
FILES = st.lists(
    st.builds(
        lambda path, sha, size: {"path": path, "sha256": sha, "bytes": size},
        NAMES,
        st.just(SHA),
        st.integers(0, 2**40),
    ),
    min_size=1,
    max_size=3,
)
STEPS = st.lists(st.builds(lambda op, rest: {**rest, "op": op}, WORDS, UNKNOWN), max_size=3)


@st.composite
def manifests(draw):
    variants = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "id": NAMES,
                    "format": st.just("onnx"),
                    "precision": st.sampled_from(["float32", "float16", "int8"]),
                    "files": FILES,
                    "tensors": st.fixed_dictionaries({"inputs": TENSORS, "outputs": TENSORS}),
                },
                optional={
                    "pipeline": st.fixed_dictionaries({"pre": STEPS, "post": STEPS}),
                    "escalate_below": st.none() | st.floats(0, 1),
                    "places": st.lists(
                        st.sampled_from(["device", "nearby", "cloud"]), min_size=1, max_size=3
                    ),
                },
            ),
            min_size=1,
            max_size=3,
            unique_by=lambda variant: variant["id"],
        )
    )
    return {
        **draw(UNKNOWN),
        "schema": f"1.{draw(st.integers(0, 99))}",
        "name": draw(NAMES),
        "version": draw(
            st.from_regex(
                r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){2}(-[a-z0-9]{1,4})?", fullmatch=True
            )
        ),
        "summary": draw(WORDS),
        "boundary": draw(st.sampled_from(["device", "site", "anywhere"])),
        "reference": variants[0]["id"],
        "signature": {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": draw(TENSORS),
            "value": {"kind": "tensors"},
        },
        "variants": variants,
        "provenance": draw(st.dictionaries(WORDS, JSON, max_size=3)),
    }


def assert_contains(whole, part):
    """Everything in `part` is in `whole`, which may have more fields."""
    if isinstance(part, dict):
        for key, value in part.items():
            assert_contains(whole[key], value)
    elif isinstance(part, list):
        assert len(whole) == len(part)
        for one, other in zip(whole, part, strict=True):
            assert_contains(one, other)
    else:
        assert whole == part


@settings(max_examples=50)
@given(data=manifests())
def test_reading_and_writing_loses_nothing_and_comes_to_rest(data):
    manifest = parse(data)
    written = manifest.to_bytes()
    assert_contains(json.loads(written), data)
    again = parse_manifest(written)
    assert again == manifest
    assert isinstance(again, Manifest)
    assert again.to_bytes() == written


@given(data=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_read_or_refused_in_words(data):
    with pytest.raises(ManifestError):
        parse_manifest(data)


def test_a_ctrl_c_while_a_manifest_is_read_is_no_fault_of_the_manifest():
    """Whichever of our functions, or of pydantic's in Python, it comes in."""
    calls = 0

    def interrupt_at(number):
        nonlocal calls
        calls = 0

        def seen(frame, event, argument):
            nonlocal calls
            calls += event == "call"
            if event == "call" and calls == number:
                raise KeyboardInterrupt

        gc.disable()  # what is raised in a callback of its own is lost
        sys.setprofile(seen)
        try:
            parse(PLAIN)
        finally:
            sys.setprofile(None)
            gc.enable()

    interrupt_at(0)
    for number in range(1, calls):
        with pytest.raises(KeyboardInterrupt):
            interrupt_at(number)
