"""Rules: which pattern counts, which models are allowed, how urgent a call may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.places import PRIORITIES
from wherever_gateway.tenants.rules import Quota, Rules, TenantRules, model_name

LARGE, SMALL = TenantRules(weight=4.0), TenantRules(weight=0.5)


def test_the_first_pattern_that_fits_counts():
    rules = Rules({"shop-berlin": LARGE, "shop-*": SMALL})
    assert rules.of("shop-berlin") is LARGE
    assert rules.of("shop-paris") is SMALL
    assert Rules({"shop-*": SMALL, "shop-berlin": LARGE}).of("shop-berlin") is SMALL


def test_the_default_comes_last_wherever_it_stands():
    rules = Rules({"default": SMALL, "shop-*": LARGE})
    assert rules.of("shop-1") is LARGE
    assert rules.of("somebody") is SMALL
    assert rules.of("") is SMALL


def test_without_rules_everybody_may_do_everything():
    assert Rules().of("anybody") == TenantRules()
    assert Rules({"shop-*": SMALL}).of("other") == TenantRules()
    assert TenantRules().allows("any-model")


def test_patterns_go_by_capital_letters():
    assert Rules({"Shop": SMALL}).of("shop") == TenantRules()
    assert not TenantRules(models=("OCR-*",)).allows("ocr-1")


@pytest.mark.parametrize(
    ("pattern", "model", "allowed"),
    [
        ("ocr-*", "ocr-1", True),
        ("ocr-*", "ocr", False),
        ("ocr-?", "ocr-12", False),
        ("ocr-[12]", "ocr-2", True),
        ("ocr-[!12]", "ocr-2", False),
        ("[", "[", True),
        ("[", "x", False),
        ("", "", True),
        ("", "ocr", False),
        ("*" * 50 + "b", "a" * 200, False),
        ("a.c", "abc", False),
        ("people", "people--large", True),
        ("people", "people--", True),
        ("people--*", "people--large", False),
        ("*", "line\nbreak", True),
    ],
)
def test_models_are_allowed_by_the_patterns_of_the_shell(pattern, model, allowed):
    assert TenantRules(models=(pattern,)).allows(model) is allowed


def test_a_tenant_without_models_may_use_none():
    assert not TenantRules(models=()).allows("people")


def test_a_variant_counts_as_its_model():
    assert model_name("people--large") == "people"
    assert model_name("people") == "people"


@given(wish=st.sampled_from(PRIORITIES), most=st.sampled_from(PRIORITIES))
def test_a_call_is_never_more_urgent_than_its_tenant_may_be(wish, most):
    got = TenantRules(priority=most).at_most(wish)
    assert PRIORITIES.index(got) >= PRIORITIES.index(most)
    assert PRIORITIES.index(got) >= PRIORITIES.index(wish)
    assert got in (wish, most)


@given(tenant=st.text(), pattern=st.text(), model=st.text())
def test_no_name_and_no_pattern_is_too_strange(tenant, pattern, model):
    rules = Rules({pattern: TenantRules(models=(pattern,))}).of(tenant)
    assert rules.allows(model) in (True, False)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"requests": "fast"}, "100/second"),
        ({"requests": "0/second"}, "whole number"),
        ({"requests": "10/fortnight"}, "second, minute, hour, day"),
        ({"bytes": "lots/hour"}, "size"),
        ({"bytes": "1GB"}, "1GB/hour"),
        ({"concurrency": 0}, "at least 1"),
    ],
)
def test_a_quota_that_is_none_says_what_was_expected(said, expected):
    with pytest.raises(ValueError, match=expected):
        Quota(**said)


def test_a_quota_reads_its_amounts():
    quota = Quota(requests="100/minute", bytes="1GB/hour", concurrency=3)
    assert quota.request_rate() == (100, 60)
    assert quota.bytes_rate() == (10**9, 3600)
    assert Quota().request_rate() is None
    assert Quota().bytes_rate() is None
