"""Compiled models that are kept: whole, or as if they were not there."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.engines.compiled import Compiled, CompiledModels, framed, key_of, parsed

MODEL = Compiled([[["x", "float32", [-1, 3]]], []], b"\x00\x01" * 50)


def test_what_was_kept_is_what_is_found(tmp_path):
    kept = CompiledModels(tmp_path / "made" / "later")
    assert kept.get("k") is None
    kept.put("k", MODEL)
    assert kept.get("k") == MODEL
    assert CompiledModels(tmp_path / "made" / "later").get("k") == MODEL
    assert [path.name for path in (tmp_path / "made/later").iterdir()] == ["k.compiled"]


@given(st.binary(max_size=60), st.data())
def test_a_file_with_any_byte_changed_or_cut_off_counts_as_absent(blob, data):
    whole = framed(Compiled({"a": 1}, blob))
    assert parsed(whole) == Compiled({"a": 1}, blob)
    at = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[at] ^= data.draw(st.integers(1, 255))
    assert parsed(bytes(flipped)) is None
    assert parsed(whole[:at]) is None


def test_the_oldest_go_when_there_is_no_room_and_use_makes_young(tmp_path):
    size = len(framed(MODEL))
    kept = CompiledModels(tmp_path, max_bytes=3 * size)
    for at, key in enumerate("abc"):
        kept.put(key, MODEL)
        os.utime(tmp_path / f"{key}.compiled", (at, at))
    assert kept.get("a") == MODEL
    kept.put("d", MODEL)
    assert {key for key in "abcd" if kept.get(key)} == {"a", "c", "d"}


def test_what_is_larger_than_the_bound_is_not_kept_and_displaces_nothing(tmp_path):
    kept = CompiledModels(tmp_path, max_bytes=len(framed(MODEL)))
    kept.put("small", MODEL)
    kept.put("large", Compiled(None, bytes(10_000)))
    assert kept.get("small") == MODEL
    assert kept.get("large") is None


def test_a_folder_that_cannot_be_made_costs_nothing_but_the_cache(tmp_path):
    (tmp_path / "file").write_text("in the way")
    kept = CompiledModels(tmp_path / "file" / "folder")
    kept.put("k", MODEL)
    assert kept.get("k") is None


@pytest.mark.parametrize(
    "other",
    [
        key_of([b"b", b"a"], "x"),
        key_of([b"ab"], "x"),
        key_of([b"a", b"b"]),
        key_of([b"a"], "b", "x"),
    ],
)
def test_a_key_stands_for_files_in_their_order_and_everything_around_them(other):
    assert key_of([b"a", b"b"], "x") != other
    assert key_of([b"a", b"b"], "x") == key_of(iter([b"a", b"b"]), "x")
