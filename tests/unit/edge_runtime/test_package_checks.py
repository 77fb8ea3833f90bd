"""What is right about a package, and which version is meant: decided without a disk."""

from __future__ import annotations

import hashlib
import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import (
    DigestError,
    ExtraFileError,
    ManifestError,
    MissingFileError,
    UnsafePathError,
)
from wherever_contracts.manifest import parse_manifest
from wherever_contracts.tensors import TensorSpec
from wherever_edge.packages import checks, versions
from wherever_edge.packages.checks import Found
from wherever_edge.pipelines import basic

DIGEST = hashlib.sha256(b"").hexdigest()


def file(path, size=1, digest=DIGEST):
    return {"path": path, "sha256": digest, "bytes": size}


def variant(name, *files, pre=(), post=()):
    tensor = {"dtype": "float32", "shape": [-1, 3]}
    return {
        "id": name,
        "format": "onnx",
        "precision": "float32",
        "files": [file(path) if isinstance(path, str) else path for path in files],
        "tensors": {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]},
        "pipeline": {"pre": list(pre), "post": list(post)},
    }


def manifest(*variants, files=(), **changes):
    """A manifest with the names x -> y, so that pipelines may be empty."""
    given_variants = variants or (variant("small", "small.onnx"), variant("large", "large.onnx"))
    data = {
        "schema": "1.0",
        "name": "model",
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": given_variants[0]["id"],
        "signature": {
            "inputs": [{"name": "x", "kind": "tensor", "dtype": "float32", "shape": [3]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [3]}],
            "value": {"kind": "tensors"},
        },
        "variants": list(given_variants),
        "files": [file(path) if isinstance(path, str) else path for path in files],
        **changes,
    }
    return parse_manifest(json.dumps(data).encode())


def here(*paths):
    return [Found(path, "file", 1) for path in ("model.json", *paths)]


def refusal(kind, function, *arguments):
    with pytest.raises(kind) as caught:
        function(*arguments)
    error = caught.value
    return error.file, error.field, error.expected, error.found


UNSAFE = [
    "",
    "/etc/passwd",
    "../up",
    "a/../b",
    "./a",
    "a//b",
    "a/",
    "a/./b",
    "a\\b",
    "\\\\server\\share",
    "C:/a",
    "c:a",
    "a\0b",
    "a\nb",
    "a\x1b[2Jb",
    "name.",
    "name ",
    "folder./a",
    "NUL",
    "con.onnx",
    "a/Aux.tar.gz",
    "com1",
    "LPT9.x",
    "lpt¹",
    "a:stream",
    "a|b",
    "a*",
    "what?",
    "\ud800",
]


@pytest.mark.parametrize("path", UNSAFE)
def test_a_path_that_is_unsafe_on_some_platform_is_refused_on_all(path):
    assert checks.unsafe(path)
    listed = [*here("small.onnx", "large.onnx"), Found(path, "file", 1)]
    assert refusal(UnsafePathError, checks.check_listing, manifest(), listed)[0] == path


@pytest.mark.parametrize("path", [path for path in UNSAFE if path and path != "\ud800"])
def test_an_unsafe_path_in_the_manifest_names_its_field(path):
    bad = manifest(variant("small", "a.onnx", path))
    file, field, expected, _ = refusal(UnsafePathError, checks.check_manifest, bad)
    assert (file, field) == ("model.json", "variants.small.files.1.path")
    assert expected == "a plain relative path"


@pytest.mark.parametrize(
    "path", ["a", "a.onnx", "a/b/c.bin", "labels-é.txt", ".hidden", "console.txt", "com", "a b/c d"]
)
def test_a_plain_relative_path_is_safe(path):
    assert checks.unsafe(path) is None


@given(path=st.text(max_size=20))
def test_a_path_called_safe_stays_below_its_root_and_has_one_spelling(path):
    if checks.unsafe(path) is None:
        assert path == "/".join(path.split("/"))
        assert all(part not in {"", ".", ".."} for part in path.split("/"))
        assert not set(path) & set('\0\\:"<>|?*')
        path.encode()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a/x", "A/y"),  # one directory on macOS and Windows
        ("a", "a/b"),  # a file cannot be a directory
        ("a/b", "a"),
        ("caf\u00e9/a", "cafe\u0301/b"),  # one name, composed in two ways
    ],
)
def test_paths_that_meet_on_some_file_systems_are_refused(one, other):
    bad = manifest(variant("small", one), files=[other])
    with pytest.raises(UnsafePathError, match="one thing everywhere"):
        checks.check_manifest(bad)


def test_the_manifest_does_not_list_itself():
    bad = manifest(files=["Model.JSON"])
    assert refusal(UnsafePathError, checks.check_manifest, bad)[1] == "files.0.path"


def test_everything_listed_and_nothing_else_is_right():
    whole = manifest(files=["labels/en.txt"])
    listed = [*here("small.onnx", "large.onnx", "labels/en.txt"), Found("labels", "dir")]
    checks.check_manifest(whole)
    assert [v.id for v in checks.check_listing(whole, listed)] == ["small", "large"]


def test_a_variant_may_be_wholly_absent():
    assert [v.id for v in checks.check_listing(manifest(), here("large.onnx"))] == ["large"]


def test_a_variant_that_is_there_in_part_is_refused():
    whole = manifest(variant("small", "s.onnx", "s.bin"), variant("large", "large.onnx"))
    found = refusal(MissingFileError, checks.check_listing, whole, here("s.onnx", "large.onnx"))
    assert found == (
        "s.bin",
        "variants.small.files.1",
        "all files of the variant, or none",
        "nothing",
    )


def test_a_file_that_a_present_variant_shares_does_not_make_the_other_partly_present():
    whole = manifest(variant("small", "s.onnx", "both.bin"), variant("large", "l.onnx", "both.bin"))
    present = checks.check_listing(whole, here("l.onnx", "both.bin"))
    assert [v.id for v in present] == ["large"]


def test_a_package_without_any_variant_is_refused():
    assert refusal(MissingFileError, checks.check_listing, manifest(), here()) == (
        "small.onnx",
        "variants.small.files.0",
        "the files of at least one variant",
        "nothing",
    )


def test_golden_samples_are_there_whichever_variants_are():
    whole = manifest(golden=[{"file": file("golden/0.frame")}, {"file": file("golden/1.frame")}])
    golden = ("golden/0.frame", "golden/1.frame")
    (present,) = checks.check_listing(whole, here("large.onnx", *golden))
    assert present.id == "large"
    found = refusal(
        MissingFileError, checks.check_listing, whole, here("large.onnx", "golden/0.frame")
    )
    assert found[:2] == ("golden/1.frame", "golden.1.file")


def test_certificates_and_pairs_are_there_whichever_variants_are():
    pairs = {"file": file("calibration/small"), "against": "large", "dataset": "d", "n": 9}
    small = {**variant("small", "small.onnx"), "calibration": pairs}
    certificate = {"variant": "small", "engine": "onnxruntime", "file": file("certificates/small")}
    whole = manifest(small, variant("large", "large.onnx"), certificates=[certificate])
    beside = ("certificates/small", "calibration/small")
    (present,) = checks.check_listing(whole, here("large.onnx", *beside))
    assert present.id == "large"
    for path, field in zip(
        beside, ("certificates.0.file", "variants.small.calibration.file"), strict=True
    ):
        left = [each for each in beside if each != path]
        found = refusal(MissingFileError, checks.check_listing, whole, here("large.onnx", *left))
        assert found[:2] == (path, field)


def test_an_unsafe_golden_sample_is_refused():
    bad = manifest(golden=[{"file": file("../golden.frame")}])
    assert refusal(UnsafePathError, checks.check_manifest, bad)[1] == "golden.0.file.path"


def test_a_shared_file_may_not_be_missing():
    whole = manifest(files=["labels.txt"])
    found = refusal(MissingFileError, checks.check_listing, whole, here("small.onnx"))
    assert found == ("labels.txt", "files.0", "the file", "nothing")


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        (Found("notes.txt", "file"), "a file"),
        (Found("cache", "dir"), "a dir"),
        (Found("small.onnx", "dir"), "a dir"),
    ],
)
def test_what_the_manifest_does_not_list_is_refused(extra, what):
    found = refusal(ExtraFileError, checks.check_listing, manifest(), [*here(), extra])
    assert found == (extra.path, "", "only what model.json lists", what)


@pytest.mark.parametrize(
    ("kind", "what"), [("link", "a link"), ("other", "neither a file nor a directory")]
)
def test_links_and_devices_are_refused_even_under_a_listed_name(kind, what):
    listed = [Found("small.onnx", kind, 1)]
    assert refusal(UnsafePathError, checks.check_listing, manifest(), listed) == (
        "small.onnx",
        "",
        "plain files",
        what,
    )


def test_a_file_of_another_size_names_the_field():
    listed = [Found("small.onnx", "file", 7)]
    assert refusal(DigestError, checks.check_listing, manifest(), listed) == (
        "small.onnx",
        "variants.small.files.0.bytes",
        "1 bytes",
        "7 bytes",
    )


def test_bytes_are_right_only_with_the_promised_length_and_digest():
    good = hashlib.sha256(b"abc").hexdigest()
    (_, listed) = checks.listed_files(manifest(variant("v", "w", file("a", 3, good))))
    checks.check_bytes(listed, b"abc")
    _, field, expected, found = refusal(DigestError, checks.check_bytes, listed, b"abd")
    assert (field, expected) == ("variants.v.files.1.sha256", good)
    assert found == hashlib.sha256(b"abd").hexdigest()
    assert refusal(DigestError, checks.check_bytes, listed, b"abcd")[1].endswith("files.1.bytes")


def spec(name, dtype="float32", shape=(-1, 3)):
    return TensorSpec(name, dtype, tuple(shape))


@pytest.mark.parametrize(
    ("inputs", "outputs", "field", "expected", "found"),
    [
        ([spec("x", "float64")], [spec("y")], "inputs.x.dtype", "float32", "float64"),
        ([spec("x", shape=(1, 3))], [spec("y")], "inputs.x.shape", "[-1, 3]", "[1, 3]"),
        ([spec("x", shape=(3,))], [spec("y")], "inputs.x.shape", "[-1, 3]", "[3]"),
        ([spec("z")], [spec("y")], "inputs", "x", "z"),
        ([spec("x"), spec("z")], [spec("y")], "inputs", "x", "x, z"),
        ([spec("x")], [spec("y", "int64")], "outputs.y.dtype", "float32", "int64"),
        ([spec("x")], [spec("y", shape=(-1, 4))], "outputs.y.shape", "[-1, 3]", "[-1, 4]"),
        ([spec("x")], [spec("y", shape=(3,))], "outputs.y.shape", "[-1, 3]", "[3]"),
        ([spec("x")], [], "outputs", "y", ""),
    ],
)
def test_tensors_that_differ_from_the_files_are_named(inputs, outputs, field, expected, found):
    error = checks.tensor_mismatch(manifest().variants[0], inputs, outputs)
    assert isinstance(error, ManifestError)
    assert (error.file, error.field) == ("small.onnx", f"variants.small.tensors.{field}")
    assert (error.expected, error.found) == (expected, found)


@pytest.mark.parametrize("shape", [(-1, 3), (-1, -1), (1, 3), ()])
def test_a_file_may_know_more_or_less_about_its_outputs(shape):
    error = checks.tensor_mismatch(manifest().variants[0], [spec("x")], [spec("y", shape=shape)])
    assert error is None


def test_a_file_may_take_more_than_the_manifest_promises():
    small = manifest().variants[0]
    assert checks.tensor_mismatch(small, [spec("x", shape=(-1, -1))], [spec("y")]) is None


def step(op, name, to=None):
    return {"op": op, "name": name, **({"to": to} if to else {})}


@pytest.mark.parametrize(
    ("pre", "post"),
    [
        ([], []),
        ([step("scale", "x", "half"), step("rename", "half", "x")], [step("first_row", "y")]),
        ([], [step("max_confidence", "y")]),
        ([step("mystery", "anything")], [step("scale", "whatever")]),
        ([], [{"op": "mystery"}, step("scale", "whatever")]),
    ],
)
def test_a_pipeline_whose_names_lead_on_is_right(pre, post):
    checks.check_manifest(manifest(variant("v", "v.onnx", pre=pre, post=post)))


def test_a_step_that_reads_what_nothing_gives_is_refused():
    bad = manifest(variant("v", "v.onnx", post=[step("first_row", "y"), step("softmax", "logits")]))
    assert refusal(ManifestError, checks.check_manifest, bad) == (
        "model.json",
        "variants.v.pipeline.post.1.name",
        "one of x, y",
        "'logits'",
    )


def test_a_tensor_that_the_pipeline_does_not_give_is_refused():
    signature = manifest().signature.model_dump(mode="json")
    signature["inputs"][0]["name"] = "numbers"
    bad = manifest(signature=signature)
    file, field, expected, found = refusal(ManifestError, checks.check_manifest, bad)
    assert (file, field) == ("model.json", "variants.small.tensors.inputs.x")
    assert (expected, found) == ("a name that the pipeline gives", "'x' (it gives numbers)")


def test_an_output_that_the_pipeline_does_not_give_is_refused():
    signature = manifest().signature.model_dump(mode="json")
    signature["outputs"][0]["name"] = "scores"
    bad = manifest(signature=signature)
    _, field, expected, _ = refusal(ManifestError, checks.check_manifest, bad)
    assert field == "signature.outputs.scores"
    assert expected == "a name that the pipeline gives after variants.small.pipeline"


@pytest.mark.parametrize("op", sorted(checks.PLAIN_STEPS))
def test_a_step_whose_names_are_followed_writes_nothing_else(op):
    factory = basic.STEPS[op]
    parameters = {
        "name": "a",
        "to": "b",
        "by": 2.0,
        "shape": [1, 3],
        "start": 1,
        "dtype": "int8",
    }
    taken = parameters.keys() & inspect.signature(factory).parameters
    state = {"a": np.ones((1, 3), np.float32)[0 if op == "max_confidence" else slice(None)]}
    factory(None, **{name: parameters[name] for name in taken})(state)
    assert state.keys() - {"confidence"} == ({"a", "b"} if "to" in taken else {"a"})


SEMVER_ORDER = [  # the example of semver.org, clause 11, and numbers beside it
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.9.0",
    "1.10.0",
    "2.0.0",
]


def test_versions_sort_as_semver_says():
    backwards = SEMVER_ORDER[::-1]
    assert sorted(backwards, key=versions.precedence) == SEMVER_ORDER
    assert versions.precedence("1.0.0+one") == versions.precedence("1.0.0+two")
    with pytest.raises(ValueError, match=r"'1\.0'"):
        versions.precedence("1.0")


@pytest.mark.parametrize(
    ("wanted", "known", "chosen"),
    [
        ("", ["1.9.0", "1.10.0"], "1.10.0"),
        ("", ["1.0.0", "1.1.0-rc.1"], "1.0.0"),
        ("", ["1.0.0-rc.1", "1.0.0-rc.2"], "1.0.0-rc.2"),
        ("1", ["1.2.0", "2.0.0"], "1.2.0"),
        ("1", ["10.0.0"], None),
        ("1.1", ["1.1.3", "1.1.20", "1.10.0"], "1.1.20"),
        ("1.1", ["1.0.0", "1.1.0-rc.1"], "1.1.0-rc.1"),
        ("1.0.0", ["1.0.0-rc.1"], None),
        ("1.0.0-rc.1", ["1.0.0-rc.1", "1.0.0"], "1.0.0-rc.1"),
        ("1.0.0", ["1.0.0+b", "1.0.0+a"], "1.0.0+b"),
        ("1.0.0+a", ["1.0.0+b", "1.0.0+a"], "1.0.0+a"),
        ("1.0.0+c", ["1.0.0+b"], None),
        ("3", ["1.0.0"], None),
        ("canary", ["1.0.0"], None),
        ("1.", ["1.0.0"], None),
        ("", [], None),
    ],
)
def test_the_version_that_is_meant(wanted, known, chosen):
    assert versions.choose(wanted, known) == chosen
    assert versions.choose(wanted, reversed(known)) == chosen
