"""A variant's own tensors out of a message: each once, and of the right kind."""

from __future__ import annotations

import numpy as np
import pytest

from wherever_contracts.errors import InputError
from wherever_contracts.tensors import TensorSpec
from wherever_contracts.wire.tensors import WireTensor, from_array
from wherever_edge.oip.bare_tensors import feed_of

SPECS = (TensorSpec("ids", "int64", (-1, 2)), TensorSpec("mask", "float32", (3,)))
IDS = from_array("ids", np.array([[1, 2]]))
MASK = from_array("mask", np.array([0, 1, 0.5], np.float32))


def test_tensors_are_found_by_their_names_in_any_order():
    feed = feed_of(SPECS, (MASK, IDS))
    assert list(feed) == ["ids", "mask"]
    assert feed["ids"].tolist() == [[1, 2]]
    assert feed["mask"].tolist() == [0, 1, 0.5]
    assert feed_of((), ()) == {}


@pytest.mark.parametrize("tensors", [(), (IDS,), (IDS, MASK, IDS), (IDS, MASK._replace(name="x"))])
def test_each_is_to_be_there_once_and_no_other(tensors):
    with pytest.raises(InputError, match="the tensors ids, mask, each once"):
        feed_of(SPECS, tensors)


def test_a_tensor_of_another_type_or_shape_is_refused_by_its_name():
    wrong = from_array("mask", np.array([0, 1], np.float32))
    with pytest.raises(
        InputError, match=r"input 'mask': expected float32\[3\], found float32\[2\]"
    ):
        feed_of(SPECS, (IDS, wrong))


def test_contents_that_are_not_those_of_the_shape_are_refused_by_their_name():
    short = WireTensor("mask", "FP32", (3,), b"1234")
    with pytest.raises(InputError, match="input 'mask'") as caught:
        feed_of(SPECS, (IDS, short))
    assert caught.value.found == "FP32[3]"
