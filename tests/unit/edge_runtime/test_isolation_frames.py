"""Messages to workers, and where tensors lie in the memory that is shared with them."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wherever_edge.isolation import arena, frames
from wherever_edge.isolation.fingerprints import digest, sample

arrays = hnp.arrays(
    st.sampled_from(["float32", "int64", "uint8", "bool", "float16"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        yield one, other


@given(st.lists(arrays, max_size=5))
def test_tensors_come_out_of_the_memory_as_they_were_put_in(given_arrays):
    named = [(f"t{n}", array) for n, array in enumerate(given_arrays)]
    tensors, end = frames.layout(named, arena.HEAD_BYTES)
    size = arena.rounded(end)
    memory = arena.mapped(arena.anonymous_file(size), size)
    body = frames.encoded(tensors)
    for (_, view), (_, array) in zip(frames.views(body, memory), named, strict=True):
        np.copyto(view, array)
    for (name, view), (given_name, array) in zip(frames.views(body, memory), named, strict=True):
        assert name == given_name
        np.testing.assert_array_equal(view, array)
        assert view.dtype == array.dtype
    assert frames.end(body) == (end if named else 0)


@given(st.lists(arrays, min_size=1, max_size=5))
def test_no_two_tensors_overlap_and_each_begins_aligned(given_arrays):
    tensors, end = frames.layout([(str(n), array) for n, array in enumerate(given_arrays)], 64)
    last = 64
    for at, array in zip(tensors, given_arrays, strict=True):
        assert at.offset % 64 == 0
        assert at.offset >= last
        last = at.offset + array.nbytes
    assert last == end


@pytest.mark.parametrize(
    "body",
    [
        b'[["x","float32",[1000000],0]]',
        b'[["x","float32",[4],70000]]',
        b'[["x","float32",[-1],0]]',
        b'[["x","no such type",[1],0]]',
        b'[["x","float32",[1]',
        b'[["x"]]',
    ],
)
def test_a_damaged_message_is_refused_and_nothing_outside_the_memory_is_read(body):
    size = arena.LEAST_BYTES
    memory = arena.mapped(arena.anonymous_file(size), size)
    with pytest.raises(ValueError, match=r".") as caught:
        frames.views(body, memory)
    assert not isinstance(caught.value, UnicodeError)


def test_a_message_arrives_whole_however_it_is_cut(pair):
    one, other = pair
    message = frames.framed(frames.DONE, b"x" * 300_000)

    def trickle():
        for start in range(0, len(message), 70_001):
            one.sendall(message[start : start + 70_001])

    thread = threading.Thread(target=trickle)
    thread.start()
    assert frames.receive(other) == frames.Frame(frames.DONE, b"x" * 300_000, -1)
    thread.join()


def test_a_descriptor_comes_along(pair):
    one, other = pair
    descriptor = arena.anonymous_file(4096)
    frames.send(one, frames.framed(frames.ARENA, b"4096"), descriptor)
    arena.mapped(descriptor, 4096)[:5] = b"hello"
    received = frames.receive(other)
    assert (received.kind, received.body) == (frames.ARENA, b"4096")
    assert arena.mapped(received.descriptor, 4096)[:5] == b"hello"


def test_a_line_that_closes_in_the_middle_of_a_message_is_told(pair):
    one, other = pair
    one.sendall(frames.framed(frames.DONE, b"abc")[:-1])
    one.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        frames.receive(other)


def test_an_endless_message_is_refused(pair):
    one, other = pair

    def babble():
        with contextlib.suppress(OSError):
            one.sendall(b"\xff" * 2_000_000)

    thread = threading.Thread(target=babble)
    thread.start()
    with pytest.raises(OSError, match="bytes"):
        frames.receive(other)
    other.close()
    thread.join()


def test_no_worker_can_cut_off_what_the_application_has_mapped():
    descriptor = arena.anonymous_file(4096)
    with pytest.raises(PermissionError):
        os.ftruncate(descriptor, 0)
    os.close(descriptor)


def test_without_nameless_memory_an_unlinked_file_serves(monkeypatch, tmp_path):
    monkeypatch.delattr(os, "memfd_create")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    memory = arena.mapped(arena.anonymous_file(8192), 8192)
    assert not list(tmp_path.iterdir())
    memory[8191] = 7
    assert memory[8191] == 7


def test_memory_that_is_not_there_is_told_at_once():
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match=r"."):
        arena.anonymous_file(-1)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@settings(max_examples=50)
@given(arrays, arrays)
def test_inputs_have_the_same_digest_only_when_they_are_the_same(one, other):
    same = (
        one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    )
    assert (digest({"x": one}) == digest({"x": other})) == same
    assert digest({"x": one}) == digest({"x": one.copy()})
    assert sample({"x": one}) == sample({"x": one.copy()})
