"""A receipt in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherever_contracts.durations import duration
from wherever_contracts.values import Label, is_detections, is_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wherever._prediction import Prediction
    from wherever._route import Views
    from wherever_contracts.receipts import AttemptRecord, Receipt


def explain(prediction: Prediction, views: Views | None = None) -> str:
    """What was answered, by what, why, and what else was considered.

    Args:
        prediction: the answer.
        views: what there is to know of the device that gave it.
    """
    receipt = prediction.receipt
    lines = [
        ("answer", _answer(prediction.value, prediction.confidence)),
        ("from", _origin(receipt)),
        ("because", receipt.reason),
        ("ran", _what_ran(receipt)),
        ("took", _times(receipt)),
        *(("tried", _attempt(record)) for record in receipt.attempts),
        *(("not as planned", why) for why in receipt.substituted),
        *(("passed over", why) for why in receipt.passed_over),
        *(("not asked", f"{host}: {why}") for host, why in receipt.alternatives.items()),
        *(("measured", text) for text in (_measured(views) if views else ())),
        *(("this device", reason) for reason in (views.reasons if views else ())),
        ("asked for", _wish(receipt)),
        ("package", f"sha256 {receipt.ran.package_digest[:12]}, trust: {receipt.ran.trust}"),
        ("id", receipt.id),
    ]
    return "\n".join(f"{name:>14}  {text}" for name, text in lines)


def _measured(views: Views) -> Iterator[str]:
    """The table of plans: what each was measured to cost on this machine."""
    for row in views.plans:
        if row.plan is not None and row.found is not None and row.found.usable:
            figures = f"{duration(row.found.latency_s)}, {duration(row.found.cpu_s)} of CPU"
            chosen = "; runs" if row.chosen else ""
            yield f"{row.variant} in {row.plan}: {figures}{chosen}"


def _origin(receipt: Receipt) -> str:
    parts = [f"{receipt.place} ({receipt.host})"]
    if receipt.protocol == "rest":
        parts.append("over REST")
    if receipt.released:
        parts.append(f"which was sent what the release rule {receipt.released!r} lets out")
    if receipt.cache == "hit":
        parts.append("kept from an earlier call")
    if receipt.degraded:
        parts.append("degraded")
    return ", ".join(parts)


def _answer(value: Any, confidence: float | None) -> str:
    sure = "" if confidence is None else f", confidence {confidence:.3f}"
    if isinstance(value, Label):
        return f"{value}{sure}"
    if is_detections(value):
        names = [found.label for found in value]
        counts = [f"{names.count(name)} {name}" for name in dict.fromkeys(names)]
        return f"{', '.join(counts) or 'nothing found'}{sure}"
    if is_tensors(value):
        return ", ".join(f"{name} {list(array.shape)}" for name, array in value.items()) + sure
    return f"array of {list(value.shape)}{sure}"


def _what_ran(receipt: Receipt) -> str:
    ran = receipt.ran
    threads = f"{ran.threads} thread" + ("" if ran.threads == 1 else "s")
    return (
        f"{ran.model} {ran.version}, variant {ran.variant} ({ran.precision}) in "
        f"{ran.engine} {ran.engine_version} on {ran.provider}, {threads}"
    )


def _times(receipt: Receipt) -> str:
    return f"{duration(receipt.total_s)}, {duration(receipt.engine_s)} of it in the engine"


def _attempt(record: AttemptRecord) -> str:
    ends = {"answered": "answered", "given_up": "given up"}
    end = ends.get(record.outcome) or f"failed: {record.error}"
    rule = f", sent by the rule {record.released!r}" if record.released else ""
    return f"{record.place} ({record.host}): {end} after {duration(record.elapsed_s)}{rule}"


def _wish(receipt: Receipt) -> str:
    deadline = (
        "no deadline" if receipt.deadline_s is None else f"{receipt.deadline_s:.3g} s deadline"
    )
    return f"mode {receipt.mode}, boundary {receipt.boundary}, {deadline}"
