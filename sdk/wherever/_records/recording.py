"""From a prediction to what is written down of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherever._records.record import Record, summary_of

if TYPE_CHECKING:
    from wherever._calls import Call
    from wherever._prediction import Prediction
    from wherever._records.journal import Journal


def record_of(prediction: Prediction, call: Call, journal: Journal) -> Record:
    """What is written down of a call.

    Args:
        prediction: what came of it.
        call: how it was asked.
        journal: makes digests that say nothing of what was digested.
    """
    context = prediction.context
    return Record(
        receipt=prediction.receipt,
        options=dict(context.options),
        confidence=prediction.confidence,
        summary=summary_of(prediction.value),
        input_digest=journal.input_digest(context.inputs),
        answer_digest=journal.answer_digest(prediction.outputs),
        reference=context.plan.reference,
        priority=call.priority,
        strict=call.strict,
        aim=context.plan.aim,
    )
