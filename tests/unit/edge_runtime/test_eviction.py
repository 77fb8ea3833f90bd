"""Who leaves when memory is short: those used longest ago, as few as are enough."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_edge.eviction import Pin, Tenant, expected_bytes, is_tight, to_put_out, too_large

MIB = 1 << 20
TENANTS = st.lists(
    st.builds(Tenant, st.just(0), st.integers(0, 9), st.integers(0, 100), st.booleans()),
    max_size=8,
).map(lambda found: [Tenant(n, t.used, t.held_bytes, t.stays) for n, t in enumerate(found)])


@given(TENANTS, st.integers(0, 500), st.integers(0, 200), st.integers(1, 400))
def test_as_few_leave_as_are_enough_and_none_that_stays(tenants, taken, coming, most):
    leaving = to_put_out(tenants, taken_bytes=taken, coming_bytes=coming, max_bytes=most)
    excess = taken + coming - most
    assert not any(tenant.stays for tenant in leaving)
    assert len({tenant.key for tenant in leaving}) == len(leaving)
    if len(leaving) < sum(not tenant.stays for tenant in tenants):
        assert sum(tenant.held_bytes for tenant in leaving) >= excess
    if leaving:
        assert sum(tenant.held_bytes for tenant in leaving[:-1]) < excess


@given(TENANTS, st.integers(1, 500))
def test_nobody_leaves_before_one_that_was_used_longer_ago(tenants, excess):
    leaving = to_put_out(tenants, taken_bytes=excess, coming_bytes=0, max_bytes=0)
    left = {tenant.key for tenant in leaving}
    newest = max((tenant.used for tenant in leaving), default=0)
    for tenant in tenants:
        if tenant.key not in left and not tenant.stays:
            assert tenant.used >= newest


def test_nobody_leaves_while_there_is_room():
    tenants = [Tenant(n, n, 50) for n in range(3)]
    assert to_put_out(tenants, taken_bytes=150, coming_bytes=50, max_bytes=200) == []


def test_what_was_measured_counts_more_than_what_is_guessed():
    size = 4 * MIB
    guess = expected_bytes("onnxruntime", size, 0, (), first=False)
    assert guess > size
    assert expected_bytes("onnxruntime", size, 7 * MIB, (), first=False) == 7 * MIB
    assert expected_bytes("onnxruntime", size, 0, (20, 90, 30), first=False) == 90
    assert expected_bytes("onnxruntime", size, 0, (), first=True) > guess
    assert expected_bytes("another", size, 0, (), first=False) > size


@pytest.mark.parametrize(
    ("needs", "measured", "words"),
    [
        (0, (), ""),
        (99 * MIB, (), ""),
        (101 * MIB, (), "it needs 101 MiB of memory, the models' budget is 100 MiB"),
        (0, (200 * MIB, 90 * MIB), ""),
        (0, (200 * MIB, 150 * MIB), "it took 150 MiB of memory, the models' budget is 100 MiB"),
    ],
)
def test_what_can_never_be_within_the_budget_is_told(needs, measured, words):
    assert too_large(needs, measured, 100 * MIB) == words


@pytest.mark.parametrize(
    ("pin", "version", "variant", "covered"),
    [
        (Pin("people"), "1.2.3", "small", True),
        (Pin("people", "1.2"), "1.2.3", "small", True),
        (Pin("people", "1.2"), "1.20.3", "small", False),
        (Pin("people", "1.2.3", "small"), "1.2.3", "small", True),
        (Pin("people", "", "large"), "1.2.3", "small", False),
        (Pin("person"), "1.2.3", "small", False),
    ],
)
def test_a_pin_covers_what_it_names(pin, version, variant, covered):
    assert pin.covers("people", version, variant) is covered


def test_a_budget_of_a_gibibyte_or_more_costs_no_speed():
    assert is_tight(150 * MIB)
    assert not is_tight(1024 * MIB)
