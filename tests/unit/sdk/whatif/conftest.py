"""Recorded calls, made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wherever._records.record import Record
from wherever._routing.flow import predict_flow
from wherever._routing.plan import Candidate, make_plan
from wherever._routing.steps import Senses
from wherever_contracts.receipts import Answer, AttemptRecord, Expected, Ran, Receipt
from wherever_edge.host_health.forecast import Forecast, Work

SMALL, LARGE = "small", "large"


def ran(variant: str, model: str = "m") -> Ran:
    return Ran(model, "1.0.0", variant, "d1", "", "local", "", "", "", "", 1)


@pytest.fixture
def here() -> Callable[..., AttemptRecord]:
    """An attempt of the device."""

    def made(confidence: float | None = 0.9, elapsed_s: float = 0.01, **more: Any) -> AttemptRecord:
        outcome = more.pop("outcome", "answered")
        known = {"variant": SMALL, "confidence": confidence} if outcome == "answered" else {}
        return AttemptRecord("device", "device", outcome, elapsed_s, **{**known, **more})

    return made


@pytest.fixture
def there() -> Callable[..., AttemptRecord]:
    """An attempt of a host elsewhere."""

    def made(elapsed_s: float = 0.1, outcome: str = "answered", **more: Any) -> AttemptRecord:
        answered = outcome == "answered"
        known = {"variant": LARGE if answered else "", "down_bytes": 40 if answered else 0}
        place, host = more.pop("place", "cloud"), more.pop("host", "gateway")
        up_bytes = more.pop("up_bytes", 1000)
        return AttemptRecord(
            place, host, outcome, elapsed_s, up_bytes=up_bytes, **{**known, **more}
        )

    return made


@pytest.fixture
def record() -> Callable[..., Record]:
    """A record of the call that was made at `at` and asked hosts as `attempts` say."""

    def made(at: float, *attempts: AttemptRecord, **more: Any) -> Record:
        answered = [each for each in attempts if each.outcome == "answered"]
        given = answered[-1] if answered else attempts[-1]
        digest = more.pop("digest", "")
        expected = more.pop("expected", {"gateway": Expected(0.1, 0.2, 1000, 5.0)})
        told: dict[str, Any] = {
            "id": f"p-{round(1000 * at):x}",
            "ran": ran(given.variant, more.pop("model", "m")),
            "place": given.place,
            "host": given.host,
            "reason": "",
            "degraded": False,
            "mode": "auto",
            "boundary": "anywhere",
            "deadline_s": None,
            "attempts": attempts,
            "alternatives": {},
            "total_s": sum(each.elapsed_s for each in answered) + 0.001,
            "engine_s": 0.001,
            "started_at": 1e9 + at,
            "expected": expected,
        }
        receipt = Receipt(**{**told, **more})
        return Record(receipt, {}, given.confidence, {}, digest, "", LARGE)

    return made


@pytest.fixture
def why_too_slow() -> str:
    """What a flow says of a host that the deadline leaves no chance."""
    slow = Forecast(0.5, 9.0)
    senses = Senses(
        now=lambda: 0.0,
        admit=lambda *_: "",
        forecast=lambda *_: slow,
        spend=lambda: False,
        arrange=lambda group, _: group,
        chance=lambda: 0.5,
        timeout_s=2.0,
    )
    hosts = [Candidate("gateway", "cloud"), Candidate("device", "device")]
    plan = make_plan(
        model="m",
        mode="prefer_in_cloud",
        boundary="anywhere",
        places=None,
        candidates=hosts,
        thresholds={},
        reference=LARGE,
    )
    flow = predict_flow(plan, senses, lambda variant: Work("m", variant, 1000), 0.1)
    next(flow)
    with pytest.raises(StopIteration) as stop:
        flow.send(Answer({}, 0.9, ran(SMALL), 0.01))
    return dict(stop.value.value.skipped)["gateway"]
