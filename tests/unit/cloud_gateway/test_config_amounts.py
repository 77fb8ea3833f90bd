"""Sizes and rates as operators write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_gateway.config.amounts import (
    Rate,
    parse_bytes_rate,
    parse_requests,
    parse_size,
    said_size,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1", 1),
        ("64MiB", 64 * 2**20),
        ("1 GB", 10**9),
        ("1.5gb", 1_500_000_000),
        ("12 B", 12),
        ("2TiB", 2 * 2**40),
        (" 3 kB ", 3000),
    ],
)
def test_sizes_have_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 XB", "1e9", "0", "0.1 B", "9" * 40, "٣MB"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="expected a size"):
        parse_size(text)


@given(st.integers(1, 2**50))
def test_a_size_that_is_said_reads_as_itself(size):
    assert parse_size(said_size(size).removesuffix(" bytes")) == size


def test_rates_are_amounts_in_a_span():
    assert parse_requests("100/second") == Rate(100, 1)
    assert parse_requests("5 / minutes") == Rate(5, 60)
    assert parse_bytes_rate("1GB/hour") == Rate(10**9, 3600)
    assert parse_bytes_rate("10/Day") == Rate(10, 86_400)


@pytest.mark.parametrize(
    "text", ["100", "/second", "0/second", "1.5/second", "-3/hour", "x/day", "100/fortnight", ""]
)
def test_what_is_no_rate_of_calls_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_requests(text)


@pytest.mark.parametrize("text", ["1GB", "1 XB/hour", "0/second"])
def test_what_is_no_rate_of_bytes_is_refused(text):
    with pytest.raises(ValueError, match="expected"):
        parse_bytes_rate(text)
