"""Magika's layout of a file's bytes, against one written a second time, and its labels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import ManifestError
from wherever_contracts.manifest import Signature, StepEntry, Variant
from wherever_edge.pipelines.pipeline import StepContext, compile_steps

LABELS = ("pdf", "txt", "unknown", "empty")
LAYOUT = {"op": "file_ends", "name": "file", "to": "x"}
RULES = {"text": "txt", "binary": "unknown", "empty": "empty"}
SPACES = b" \t\n\v\f\r"
# sizes around every edge of the layout, and contents that begin and end in any amount of whitespace
SIZES = st.sampled_from([0, 1, 7, 8, 511, 512, 513, 1023, 1024, 4095, 4096, 4097, 8191, 8192, 8193])
MARGINS = st.sampled_from([0, 1, 511, 4095, 4096, 5000])


def context(width=1024, ends_bytes=None, value="label"):
    ends = {} if ends_bytes is None else {"ends_bytes": ends_bytes}
    values = {
        "label": {"kind": "label", "scores": "scores", "labels": LABELS},
        "tensors": {"kind": "tensors"},
    }
    signature = Signature.model_validate(
        {
            "inputs": [{"name": "file", "kind": "bytes", **ends}],
            "outputs": [{"name": "scores", "dtype": "float32", "shape": [len(LABELS)]}],
            "value": values[value],
        }
    )
    variant = Variant.model_validate(
        {
            "id": "v",
            "format": "onnx",
            "precision": "float32",
            "files": [{"path": "m.onnx", "sha256": "0" * 64, "bytes": 0}],
            "tensors": {
                "inputs": [{"name": "x", "dtype": "int32", "shape": [-1, width]}],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [-1, 3]}],
            },
        }
    )
    return StepContext(signature, variant, {}.__getitem__)


def run(entry, state, **about):
    (step,) = compile_steps([StepEntry.model_validate(entry)], context(**about), "pipeline.pre")
    step(state)
    return state


def laid_out(content, **parameters):
    numbers = run({**LAYOUT, **parameters}, {"file": content})["x"]
    assert numbers.dtype == np.int32
    return numbers


def layout_again(content, *, beg=512, end=512, block=4096, pad=256):
    """Byte by byte, from the specification."""
    length = min(block, len(content))
    first = list(content[:length])
    while first and first[0] in SPACES:
        first.pop(0)
    last = list(content[len(content) - length :])
    while last and last[-1] in SPACES:
        last.pop()
    first = [first[n] if n < len(first) else pad for n in range(beg)]
    missing = max(0, end - len(last))
    return [first + [pad] * missing + last[len(last) - (end - missing) :]]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 511, 512, 513, 1024, 4095, 4096, 4097, 9000])
@pytest.mark.parametrize("fill", [b"ab c", b"\0", b" ", b"\n\t", bytes(range(256))])
def test_files_of_every_size_are_laid_out_as_specified(size, fill):
    content = (fill * size)[:size]
    assert laid_out(content).tolist() == layout_again(content)


@given(SIZES, MARGINS, MARGINS, st.sampled_from(sorted(SPACES)), st.randoms())
def test_whitespace_at_the_ends_is_left_out_within_the_blocks(size, before, after, space, random):
    margin = bytes([space])
    content = margin * before + random.randbytes(size) + margin * after
    assert laid_out(content).tolist() == layout_again(content)


@given(st.binary(max_size=64))
def test_small_layouts_of_small_files_too(content):
    sizes = {"start": 5, "end": 3, "block": 6, "pad": -1}
    found = run({**LAYOUT, **sizes}, {"file": content}, width=8)["x"]
    assert found.tolist() == layout_again(content, beg=5, end=3, block=6, pad=-1)


def test_an_empty_file_is_all_padding():
    assert (laid_out(b"") == 256).all()


@given(st.integers(0, 3 * 4096), st.randoms())
def test_the_two_ends_of_a_file_give_what_the_file_gives(size, random):
    content = random.randbytes(size)
    ends = content if size <= 2 * 4096 else content[:4096] + content[-4096:]
    np.testing.assert_array_equal(laid_out(ends), laid_out(content))


@pytest.mark.parametrize(
    ("parameters", "about", "words"),
    [
        ({"start": -1}, {}, "0 to block"),
        ({"start": 0, "end": 0}, {}, "0 to block"),
        ({"block": 100}, {}, "0 to block"),
        ({"end": 1024}, {}, r"takes \[-1, 1024\], not \[1, 1536\]"),
        ({}, {"ends_bytes": 4095}, "at most the 4095 bytes that 'file' keeps"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(parameters, about, words):
    with pytest.raises(ManifestError, match=words):
        run({**LAYOUT, **parameters}, {"file": b""}, **about)


@pytest.mark.parametrize("one_end", [{"start": 1024, "end": 0}, {"start": 0, "end": 1024}])
def test_a_layout_may_have_one_end(one_end):
    found = laid_out(b"ab", **one_end).tolist()[0]
    assert found == ([97, 98] + [256] * 1022 if one_end["start"] else [256] * 1022 + [97, 98])


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (b"", "empty"),
        (b"\n", "txt"),
        (b" " * 5000, "txt"),
        (b"1234567", "txt"),
        ("größe".encode(), "txt"),
        (b" \t\n\v\f\r      1234567     ", None),  # what follows the last byte counts
        (b"\xff", "unknown"),
        (b"\0" * 7, "txt"),  # which is UTF-8, if hardly text
        (b"12345678", None),
        (b"\xff" * 8, None),
        (b" " * 4090 + b"%PDF-1.7 and more", "txt"),
    ],
)
def test_too_few_bytes_are_answered_by_rule(content, label):
    scores = np.array([0.5, 0.25, 0.25, 0], np.float32)
    state = {"file": content, "scores": scores.copy()}
    found = run({"op": "few_bytes", "name": "file", "scores": "scores", **RULES}, state)["scores"]
    expected = scores if label is None else np.array([each == label for each in LABELS], np.float32)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


def test_labels_of_a_variant_find_their_places_among_those_of_the_signature():
    entry = {"op": "relabel", "name": "y", "to": "scores", "labels": ["unknown", "pdf", "unknown"]}
    state = run(entry, {"y": np.array([0.25, 0.5, 0.125], np.float32)})
    assert state["scores"].tolist() == [0.5, 0.0, 0.375, 0.0]
    assert state["scores"].dtype == np.float32


@given(st.lists(st.sampled_from(LABELS), min_size=1, max_size=9), st.data())
def test_every_score_arrives_once(labels, data):
    numbers = st.floats(0, 1, width=32)
    scores = np.array([data.draw(numbers) for _ in labels], np.float32)
    found = run({"op": "relabel", "name": "y", "labels": labels}, {"y": scores})["y"]
    for position, label in enumerate(LABELS):
        own = [float(s) for s, each in zip(scores, labels, strict=True) if each == label]
        assert found[position] == pytest.approx(sum(own), rel=1e-6)


@pytest.mark.parametrize(
    ("entry", "about", "words"),
    [
        ({"op": "relabel", "name": "y", "labels": ["doc"]}, {}, "'doc' among them, found 4 others"),
        ({"op": "relabel", "name": "y", "labels": []}, {"value": "tensors"}, "'label'"),
        ({"op": "few_bytes", "name": "file", "scores": "y", **RULES, "text": "t"}, {}, "'t' among"),
    ],
)
def test_labels_that_the_signature_lacks_are_refused(entry, about, words):
    with pytest.raises(ManifestError, match=words):
        run(entry, {}, **about)
