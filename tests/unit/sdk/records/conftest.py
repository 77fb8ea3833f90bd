"""A record to begin with."""

from __future__ import annotations

import dataclasses

import pytest

from wherever._records.record import Record
from wherever_contracts.receipts import AttemptRecord, Expected, Ran, Receipt

DIGEST = "0123456789abcdef" * 4


@pytest.fixture
def record(the_record):
    """A call that this device answered."""
    return the_record


@pytest.fixture(scope="session")
def the_record():
    """The same, shared by all tests: it cannot be changed."""
    receipt = Receipt(
        id="5e0c7d2a9b3f4e61-1f",
        ran=Ran(
            *("digits", "1.0.0", "float32", DIGEST, DIGEST, "wheel", "onnxruntime", "1.22.0"),
            *("CPUExecutionProvider", "float32", 1),
        ),
        place="device",
        host="device",
        reason="the device answered with confidence 0.97 (0.80 is enough)",
        degraded=False,
        mode="auto",
        boundary="anywhere",
        deadline_s=0.25,
        attempts=(AttemptRecord("device", "device", "answered", 0.000231, variant="float32"),),
        alternatives={"gw:8001": "not needed"},
        total_s=0.000312,
        engine_s=0.000112,
        started_at=1_795_000_000.25,
        expected={"device": Expected(0.0002, 0.0004, 0, 12.0)},
    )
    return Record(
        receipt=receipt,
        options={"min_score": 0.5},
        confidence=0.97,
        summary={"label": "8", "score": 0.97},
        input_digest="ab" * 16,
        answer_digest="cd" * 16,
        reference="float32",
        priority="batch",
        strict=True,
    )


@pytest.fixture
def record_of(record):
    """Makes a record of a call with another id, begun at another time."""

    def make(id_, started_at=0.0, **changes):
        receipt = dataclasses.replace(record.receipt, id=id_, started_at=started_at)
        return dataclasses.replace(record, receipt=receipt, **changes)

    return make
