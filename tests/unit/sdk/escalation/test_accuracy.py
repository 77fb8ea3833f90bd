"""How right answers are: the intervals hold, and say nothing where nothing can be said."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._escalation.accuracy import accuracy_by_agreement, reference_accuracy, share_of
from wherever._escalation.facts import Interval
from wherever_contracts.manifest import (
    MANIFEST_NAME,
    DetectionsValue,
    Manifest,
    Quality,
    Value,
    parse_manifest,
)
from wherever_edge.builtin import PACKAGES

DIGITS = parse_manifest((PACKAGES / "digits" / MANIFEST_NAME).read_bytes())
BOXES = DetectionsValue(kind="detections", boxes="b", scores="s", classes="c", labels=("a",))


def package(*quality: Quality, value: Value = DIGITS.signature.value) -> Manifest:
    """The manifest of `digits`, which states this of its reference and nothing of the others."""
    stating = {DIGITS.reference: quality}
    variants = tuple(
        each.model_copy(update={"quality": stating.get(each.id, ())}) for each in DIGITS.variants
    )
    signature = DIGITS.signature.model_copy(update={"value": value})
    return DIGITS.model_copy(update={"variants": variants, "signature": signature})


def stated(value=0.9, n=1000, metric="accuracy", **ends) -> Quality:
    return Quality(dataset="d", metric=metric, value=value, n=n, **ends)


def test_without_feedback_there_is_no_share():
    assert share_of([]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_the_share_lies_within_its_interval_and_that_within_0_and_1(rights):
    facts = share_of(rights)
    assert facts.n == len(rights)
    assert 0 <= facts.low <= facts.right / facts.n + 1e-9
    assert facts.right / facts.n - 1e-9 <= facts.high <= 1


def test_without_a_wrong_answer_the_lower_end_is_what_the_binomial_says():
    # kl(1, p) = -ln p, so that the bound is that of n rights in a row
    facts = share_of([1.0] * 100)
    assert facts.low == pytest.approx(0.025 ** (1 / 100), abs=1e-6)
    assert facts.high == 1


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_the_interval_holds_as_often_as_it_says(share):
    random = np.random.default_rng(7)
    draws = random.random((400, 150)) < share
    found = [share_of(row.astype(float)) for row in draws]
    held = sum(facts.low <= share <= facts.high for facts in found)
    assert held >= 0.95 * 400 - 3 * math.sqrt(400 * 0.05 * 0.95)


def test_the_reference_is_as_right_as_its_package_says():
    measured = stated(0.97, 5000, "top-1", low=0.965, high=0.975)
    assert reference_accuracy(package(stated(), measured)) == Interval(0.97, 0.965, 0.975)


def test_without_stated_ends_the_number_of_items_gives_them():
    found = reference_accuracy(package(stated(0.9, 1000)))
    assert found.value == 0.9
    assert 0.87 < found.low < 0.88 < 0.91 < found.high < 0.93
    one_end = reference_accuracy(package(stated(0.9, 1000, low=0.1)))
    assert one_end == found


def test_only_shares_of_right_labels_are_taken():
    assert reference_accuracy(package(stated(metric="mAP"))) is None
    assert reference_accuracy(package(stated(value=97.0))) is None
    assert reference_accuracy(package()) is None
    assert reference_accuracy(package(stated(), value=BOXES)) is None


def test_answers_are_off_the_reference_by_no_more_than_they_differ():
    reference, agreement = Interval(0.95, 0.94, 0.96), Interval(0.99, 0.98, 0.995)
    assert accuracy_by_agreement(reference, agreement) == pytest.approx((0.95, 0.92, 0.98))
    assert accuracy_by_agreement(reference, None) is None
    assert accuracy_by_agreement(None, agreement) is None
    assert accuracy_by_agreement(reference, Interval(0.5, 0.0, 1.0)) == (0.95, 0.0, 1.0)
