"""What is read of a call once for those that come together."""

from __future__ import annotations

from typing import Any, cast

import pytest

from wherever_contracts.wire.tensors import InferRequest
from wherever_edge.oip.asking import Known, Plan

LIKE = InferRequest("m", "", "1", {"signature": "s"}, ())


def plan() -> Plan:
    known = Known(("y",), frozenset({"top"}), "s", {})
    return Plan(cast("Any", None), known, ("y",), {})


def test_a_plan_is_that_of_calls_in_the_same_words_whatever_their_ids_and_contents():
    assert plan().fits(LIKE._replace(id="2"), LIKE)


@pytest.mark.parametrize(
    "other",
    [{"version": "1.0.0"}, {"outputs": ("y",)}, {"parameters": {}}, {"parameters": {"variant": 1}}],
)
def test_calls_in_other_words_are_planned_by_themselves(other: dict[str, Any]):
    assert not plan().fits(LIKE._replace(**other), LIKE)


def test_options_are_read_each_time_because_equal_ones_need_not_both_be_numbers():
    one, true = (LIKE._replace(parameters={"top": top}) for top in (1, True))
    assert one == true
    assert not plan().fits(true, one)
