"""Inputs of the kind `bytes`: what is taken, what is kept of it, and what travels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import InputError
from wherever_contracts.manifest import Signature
from wherever_contracts.wire.tensors import from_array, from_bytes, to_array
from wherever_edge.inputs import InputChecker
from wherever_edge.wire_inputs import WireInputs

FILE = {"name": "file", "kind": "bytes", "max_bytes": 1000}
ENDS = {**FILE, "ends_bytes": 4}
OUTPUT = {"name": "out", "dtype": "float32", "shape": [1]}


def signature(entry) -> Signature:
    return Signature.model_validate(
        {"inputs": [entry], "outputs": [OUTPUT], "value": {"kind": "tensors"}}
    )


def check(value, entry=FILE):
    return InputChecker(signature(entry)).check(value)["file"]


def refusal(value, entry=FILE) -> str:
    with pytest.raises(InputError) as caught:
        check(value, entry)
    assert caught.value.field == "file"
    return str(caught.value)


def test_bytes_are_handed_on_without_a_copy():
    data = bytes(range(256))
    assert check(data) is data


@pytest.mark.parametrize(
    "value",
    [
        bytearray(b"abc"),
        memoryview(b"abc"),
        memoryview(bytearray(b"a.b.c"))[::2],
        memoryview(np.frombuffer(b"abc", np.uint8)),
        memoryview(np.frombuffer(b"abc", np.int8).reshape(3, 1)),
    ],
    ids=["bytearray", "memoryview", "every second byte", "of an array", "of two axes"],
)
def test_whatever_holds_bytes_becomes_bytes_of_its_own(value):
    found = check(value)
    assert type(found) is bytes
    assert found == b"abc"


def test_a_view_of_larger_numbers_is_taken_as_its_bytes():
    assert check(memoryview(np.array([1, 2], "<u2"))) == b"\1\0\2\0"


def test_later_changes_of_a_bytearray_do_not_reach_the_input():
    given_ = bytearray(b"abc")
    found = check(given_)
    given_[0] = 0
    assert found == b"abc"


@pytest.mark.parametrize("content", [b"", b"\0", b"text\n", bytes(range(256))])
def test_a_str_and_a_path_are_files(tmp_path, content):
    path = tmp_path / "some.file"
    path.write_bytes(content)
    assert check(str(path)) == content
    assert check(path) == content


def test_what_is_no_bytes_is_refused_with_what_would_be():
    for value in (None, 5, [1, 2], np.zeros(3, np.uint8)):
        assert "expected bytes, or the path of a file (a str is a path)" in refusal(value)


def test_a_str_that_leads_to_no_file_says_that_it_is_a_path(tmp_path):
    for value in ("hello, world", tmp_path / "none"):
        words = refusal(value)
        assert "a str is a path" in words
        assert "No such file" in words
    assert "download it first" in refusal("https://example.org/a.pdf")
    assert "irectory" in refusal(tmp_path) or "regular file" in refusal(tmp_path)


def test_more_than_allowed_is_refused_and_not_read_whole(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"x" * 5000)
    for value in (path, b"x" * 5000, bytearray(5000), memoryview(bytes(5000))):
        assert "at most 1000 bytes" in refusal(value)


@given(st.binary(max_size=40))
def test_of_longer_content_the_two_ends_are_kept(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "of ends"
    path.write_bytes(content)
    kept = content if len(content) <= 8 else content[:4] + content[-4:]
    for value in (content, bytearray(content), memoryview(content), path, str(path)):
        assert check(value, ENDS) == kept


def test_a_file_of_any_size_has_ends(tmp_path):
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(b"head")
        file.truncate(1 << 40 if os.name == "posix" else 1 << 20)
    assert check(path, ENDS) == b"head\0\0\0\0"


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="Linux has /proc")
def test_a_file_that_does_not_know_its_size_is_read_all_the_same():
    content = Path("/proc/version").read_bytes()
    assert check("/proc/version") == content
    assert check("/proc/version", ENDS) == content[:4] + content[-4:]


@given(st.binary(max_size=60))
def test_what_travels_is_read_back_as_it_was(content):
    wire = WireInputs(signature(ENDS))
    checked = InputChecker(signature(ENDS)).check(content)
    (tensor,) = wire.write(checked)
    assert (tensor.datatype, tensor.shape) == ("BYTES", (1,))
    assert tensor.content_type == "application/octet-stream"
    assert wire.read([tensor]) == checked
    assert to_array(tensor)[0] == checked["file"]


def test_ends_are_cut_on_the_other_side_too():
    wire = WireInputs(signature(ENDS))
    assert wire.read([from_bytes("file", [b"0123456789"])]) == {"file": b"01236789"}


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (from_array("file", np.zeros(3, np.uint8)), "a BYTES tensor with the bytes"),
        (from_bytes("file", [b"a", b"b"], (2,)), "a BYTES tensor of one element"),
        (from_bytes("file", [bytes(1001)]), "at most 1000 bytes"),
    ],
)
def test_another_tensor_in_place_of_bytes_is_refused(tensor, words):
    with pytest.raises(InputError, match=words):
        WireInputs(signature(FILE)).read([tensor])
