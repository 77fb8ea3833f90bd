"""Amounts as people write them: sizes in bytes, and how much in which time."""

from __future__ import annotations

import re
from typing import NamedTuple

_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip
_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([a-zA-Z]*)")
_MOST_DIGITS = 18


class Rate(NamedTuple):
    """So much in each span of time."""

    amount: int
    every_s: int


def parse_size(text: str) -> int:
    """The bytes that "64MiB" or "1.5 GB" stands for; a bare number is bytes.

    Raises:
        ValueError: it is no such size, or less than a byte.
    """
    match = _SIZE.fullmatch(text.strip()) if len(text) <= _MOST_DIGITS else None
    if match is None or match[2].lower() not in _UNITS:
        raise ValueError('expected a size like "64MiB" or "1GB"')
    size = int(float(match[1]) * _UNITS[match[2].lower()])
    if size < 1:
        raise ValueError("expected a size of at least one byte")
    return size


def parse_requests(text: str) -> Rate:
    """The requests that "100/second" stands for.

    Raises:
        ValueError: it is no such rate.
    """
    amount, every_s = _parts(text, '"100/second"')
    if not (amount.isascii() and amount.isdigit() and int(amount[:_MOST_DIGITS]) > 0):
        raise ValueError(f'expected a whole number before the "/", as in "100/second": {amount!r}')
    return Rate(int(amount[:_MOST_DIGITS]), every_s)


def parse_bytes_rate(text: str) -> Rate:
    """The bytes that "1GB/hour" stands for.

    Raises:
        ValueError: it is no such rate.
    """
    amount, every_s = _parts(text, '"1GB/hour"')
    return Rate(parse_size(amount), every_s)


def said_size(size: int) -> str:
    """A size in the largest unit that it is a whole number of: "64MiB", "1GB", "1500 bytes"."""
    for unit in ("TiB", "TB", "GiB", "GB", "MiB", "MB", "KiB", "kB"):
        if size and size % _UNITS[unit.lower()] == 0:
            return f"{size // _UNITS[unit.lower()]}{unit}"
    return f"{size} bytes"


def _parts(text: str, example: str) -> tuple[str, int]:
    amount, slash, span = text.partition("/")
    every_s = _SECONDS.get(span.strip().lower().removesuffix("s"))
    if not slash or every_s is None:
        spans = ", ".join(_SECONDS)
        raise ValueError(f"expected an amount in a span of time like {example} (spans: {spans})")
    return amount.strip(), every_s
