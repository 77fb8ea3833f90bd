"""What a call of a chain gives back: the answers of both models, and one receipt for them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever._prediction import Prediction
from wherever_contracts.places import PLACES
from wherever_contracts.value_making import plain
from wherever_contracts.values import Detection

if TYPE_CHECKING:
    from wherever._sending import Sending
    from wherever_contracts.errors import WhereverError
    from wherever_contracts.places import Boundary, Place
    from wherever_contracts.receipts import Receipt


class Part(NamedTuple):
    """One thing that passed the gate, and what came of it."""

    found: Any
    end: Prediction | WhereverError

    @property
    def value(self) -> Any:
        """The second model's value; None when it could not answer."""
        return self.end.value if isinstance(self.end, Prediction) else None


class Carried(NamedTuple):
    """How a call was carried out."""

    then: str
    sending: Sending
    deadline_s: float | None
    began: float


@dataclass(frozen=True, slots=True)
class ChainReceipt:
    """Where the answers of a chain came from and why.

    Attributes:
        id: the call's id, the gate's too.
        reason: what the gate decided, and what came of it, in a sentence.
        place: the farthest place that gave a part of the answer.
        degraded: whether a part is missing, or is a lesser answer than asked for.
        boundary: how far that might travel which was sent on.
        released: the rule of the gate's package that it was made by; "": it needed none.
        deadline_s: seconds in which both answers were wanted.
        gate: the first model's receipt.
        parts: those of the second model, in the order of what was sent.
        errors: why parts are missing.
        total_s: from the call to the answer.
        started_at: when the call was made, as Unix time.
    """

    id: str
    reason: str
    place: Place
    degraded: bool
    boundary: Boundary
    released: str
    deadline_s: float | None
    gate: Receipt
    parts: tuple[Receipt, ...]
    errors: tuple[str, ...]
    total_s: float
    started_at: float

    def to_dict(self) -> dict[str, Any]:
        """The receipt as plain data, ready for JSON."""
        parts = [part.to_dict() for part in self.parts]
        return {**asdict(self), "gate": self.gate.to_dict(), "parts": parts}


class ChainPrediction:
    """An answer of two models.

    Attributes:
        gate: the first model's prediction.
        parts: what passed the gate, and what the second model said of it.
        place: the farthest place that gave a part of the answer.
        degraded: True when a part is missing or lesser; `receipt.reason` says why.
    """

    __slots__ = ("_carried", "_started_at", "_total_s", "degraded", "gate", "parts", "place")
    gate: Prediction
    parts: tuple[Part, ...]
    place: Place
    degraded: bool

    def __init__(self, gate: Prediction, parts: tuple[Part, ...], carried: Carried) -> None:
        predictions = [gate, *(p.end for p in parts if isinstance(p.end, Prediction))]
        self.gate = gate
        self.parts = parts
        self.place = max(predictions, key=lambda each: PLACES.index(each.place)).place
        self.degraded = len(predictions) <= len(parts) or any(p.degraded for p in predictions)
        self._carried = carried
        self._total_s = perf_counter() - carried.began
        self._started_at = time() - self._total_s

    @property
    def id(self) -> str:
        """The id of the call; the receipt's too."""
        return self.gate.id

    @property
    def value(self) -> Any:
        """What was found, and what the second model says of it.

        With crops: pairs of a `Detection` and the second model's value, the best first; the value
        is None where it could not answer. Else the second model's value, or None when the gate
        let nothing pass.
        """
        if self._carried.sending.crops:
            return [(part.found, part.value) for part in self.parts]
        return self.parts[0].value if self.parts else None

    @property
    def confidence(self) -> float | None:
        """How sure the answer is; None when nothing says.

        With crops the least of both models'. Else the second model's where it answered, as its
        value is the answer, and the gate's where it did not.
        """
        answered = [part.end for part in self.parts if isinstance(part.end, Prediction)]
        ends = [self.gate, *answered] if self._carried.sending.crops else answered or [self.gate]
        return min((end.confidence for end in ends if end.confidence is not None), default=None)

    @property
    def receipt(self) -> ChainReceipt:
        """The record of the call, for both models."""
        sending = self._carried.sending
        return ChainReceipt(
            id=self.id,
            reason=self._reason(),
            place=self.place,
            degraded=self.degraded,
            boundary=sending.boundary,
            released="" if sending.rule is None else sending.rule.name,
            deadline_s=self._carried.deadline_s,
            gate=self.gate.receipt,
            parts=tuple(p.end.receipt for p in self.parts if isinstance(p.end, Prediction)),
            errors=self._errors(),
            total_s=self._total_s,
            started_at=self._started_at,
        )

    def explain(self) -> str:
        """The receipt in words, for a person."""
        parts = [self._reason(), "", self.gate.explain()]
        for number, part in enumerate(self.parts, 1):
            told = part.end.explain() if isinstance(part.end, Prediction) else str(part.end)
            parts += ["", f"{number} of {len(self.parts)}: {_named(part.found)}", told]
        return "\n".join(parts)

    def plot(self) -> Any:
        """The gate's answer drawn on the input; see `Prediction.plot`."""
        return self.gate.plot()

    def to_dict(self) -> dict[str, Any]:
        """The answers and their receipt as plain data, ready for JSON."""
        return {
            "id": self.id,
            "value": self._plain_value(),
            "confidence": self.confidence,
            "place": self.place,
            "degraded": self.degraded,
            "gate": plain(self.gate.value),
            "receipt": self.receipt.to_dict(),
        }

    def __repr__(self) -> str:
        flag = ", degraded" if self.degraded else ""
        return f"<ChainPrediction of {len(self.parts)} from {self.place}{flag}>"

    def _reason(self) -> str:
        receipt, then = self.gate.receipt, self._carried.then
        if not self.parts and self._carried.sending.crops:
            return f"{receipt.model} found nothing to ask {then} about"
        if not self.parts:
            return f"{receipt.model} let nothing pass, so {then} was not asked"
        what = f"{receipt.model} let {len(self.parts)} pass"
        errors = self._errors()
        if not errors:
            return f"{what}, and {then} answered"
        return f"{what}, and {then} could not answer {len(errors)} of them: {errors[0]}"

    def _errors(self) -> tuple[str, ...]:
        return tuple(str(p.end) for p in self.parts if not isinstance(p.end, Prediction))

    def _plain_value(self) -> Any:
        values = [None if part.value is None else plain(part.value) for part in self.parts]
        if not self._carried.sending.crops:
            return values[0] if values else None
        found = plain([part.found for part in self.parts])
        return [{"found": one, "value": value} for one, value in zip(found, values, strict=True)]


def _named(found: Any) -> str:
    return (
        f"{found.label} ({found.score:.2f})" if isinstance(found, Detection) else f"{found!r:.80}"
    )
