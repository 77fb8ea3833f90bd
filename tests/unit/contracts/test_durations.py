"""Times as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.durations import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0214, "21.4 ms"),
        (1.16e-5, "11.6 us"),
        (2e-8, "0.02 us"),
        (0.0, "0 us"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (9.996e-4, "1 ms"),
        (999.4, "999 s"),
        (3600, "3600 s"),
    ],
)
def test_a_time_has_three_digits_and_the_unit_that_suits(seconds, text):
    assert duration(seconds) == text


@given(st.floats(1e-9, 1e6))
def test_a_time_is_never_more_than_half_a_percent_off_and_needs_no_exponent(seconds):
    amount, unit = duration(seconds).split()
    assert "e" not in amount
    read = float(amount) * {"s": 1.0, "ms": 1e-3, "us": 1e-6}[unit]
    assert read == pytest.approx(seconds, rel=0.005)
