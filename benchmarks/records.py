"""What writing calls down costs: the calls themselves, the journal, and the disk."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from harness import Row, interleaved, one_by_one

import wherever
from wherever._records.journal import Journal
from wherever._records.reading import read_records
from wherever._records.record import Record

AT_ONCE = 10_000
PUT_US, RECORD_BYTES = 30, 1500


def rows() -> list[Row]:
    """Calls of digits, and the journal alone."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        return [_of_calls(home), *_of_journal(home)]


def _of_calls(home: Path) -> Row:
    x = np.full((8, 8), 8, np.float32)
    with (
        wherever.Client(home=home, record=1.0) as recording,
        wherever.Client(home=home) as plain,
    ):
        ours, theirs = recording.model("digits"), plain.model("digits")
        pair = interleaved(lambda: ours(x), lambda: theirs(x), rounds=20, calls=200)
    return Row(
        "a call of digits that is recorded",
        f"{pair.ours_s * 1e6:.0f} us, +{pair.added_s * 1e6:.0f} us",
        f"one that is not {pair.reference_s * 1e6:.0f} us",
        "",
        None,
    )


def _of_journal(home: Path) -> list[Row]:
    record = next(read_records(home))
    journal = Journal(home / "alone", max_bytes=256 << 20)
    put_us = 1e6 * statistics.median(one_by_one(lambda: journal.put(record), 1000))
    journal.flush()
    written_s = _seconds_for(journal, record)
    journal.close()
    read_s = _reading_s(home / "alone")
    lines = next((home / "receipts").glob("*.jsonl")).read_bytes().splitlines()
    size = statistics.median(map(len, lines))
    return [
        Row(
            "put a record in, for the caller",
            f"{put_us:.1f} us",
            "",
            f"< {PUT_US} us",
            put_us < PUT_US,
        ),
        Row("records written in a second", f"{AT_ONCE / written_s:,.0f}", "", "", None),
        Row("records read in a second", f"{1 / read_s:,.0f}", "", "", None),
        Row(
            "bytes of a record of digits",
            f"{size:.0f}",
            "",
            f"<= {RECORD_BYTES}",
            size <= RECORD_BYTES,
        ),
    ]


def _seconds_for(journal: Journal, record: Record) -> float:
    started = perf_counter()
    for _ in range(AT_ONCE):
        journal.put(record)
    journal.flush()
    return perf_counter() - started


def _reading_s(home: Path) -> float:
    started = perf_counter()
    count = sum(1 for _ in read_records(home))
    return (perf_counter() - started) / count
