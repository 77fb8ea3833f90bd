"""What pairs let calls promise is what calls will find with them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_convert.promises import LEVELS, doubts, fewest, promises
from wherever_edge.certification.calibrated import Evidence, certify
from wherever_edge.packages.pairs import Pairs


def shares(values):
    return np.asarray(values, np.float32)


def ranked(count, wrong):
    """Pairs of which the `wrong` least sure ones differ."""
    return Pairs(shares(np.linspace(0, 1, count)), shares(np.arange(count) >= wrong))


@given(st.integers(1, 700), st.integers(0, 40))
def test_larger_promises_escalate_less_and_none_needs_fewer_pairs_than_it_says(count, wrong):
    made = promises(ranked(count, min(wrong, count)), whole=True)
    assert [each.max_disagreement for each in made] == list(LEVELS)
    escalated = [each.escalated for each in made]
    assert escalated == sorted(escalated, reverse=True)
    missing = [each.missing for each in made]
    assert missing == sorted(missing, reverse=True)
    for each in made:
        assert (each.threshold is None) == bool(each.why)
        assert each.threshold is None or not each.missing


def test_four_fifths_of_the_error_are_spent_and_the_rest_is_for_calls():
    pairs = ranked(593, 25)
    evidence = Evidence(pairs.confidence, 1 - pairs.agreement)
    two = promises(pairs, whole=True)[1]
    assert two.threshold == certify(evidence, 0.02, 0.04).threshold
    assert two.threshold > certify(evidence, 0.02, 0.05).threshold


def test_as_many_pairs_are_missing_as_a_promise_takes_if_none_differs():
    few = promises(ranked(159, 0), whole=True)[1]
    enough = promises(ranked(160, 0), whole=True)[1]
    assert (few.threshold, few.escalated, few.missing) == (None, 1.0, 1)
    assert (enough.threshold, enough.escalated, enough.missing) == (0, 0, 0)
    assert fewest(whole=True) == 160 == math.ceil(math.log(0.04) / math.log(0.98))
    assert fewest(whole=False) > 160


def test_where_all_are_as_sure_and_too_many_differ_no_number_of_pairs_is_missing():
    two = promises(Pairs(shares([0.9] * 600), shares(np.arange(600) >= 30)), whole=True)[1]
    assert (two.threshold, two.missing) == (None, 0)
    assert "differ too often" in two.why


@pytest.mark.parametrize("threshold", [None, 0.5])
def test_a_reference_that_knows_no_better_where_the_variant_is_unsure_is_doubted(threshold):
    pairs = ranked(600, 200)
    right = shares(np.arange(600) % 3 > 0)
    (doubt,) = doubts(pairs._replace(right=right, right_against=right), threshold)
    assert doubt.kind == "noise"
    assert doubts(pairs, threshold) == ()
