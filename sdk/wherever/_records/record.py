"""A call as it is written down: one line of JSON. Pure."""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from wherever._escalation.words import NO_AIM, Aim
from wherever_contracts.places import Priority
from wherever_contracts.plain import from_plain
from wherever_contracts.receipts import Receipt
from wherever_contracts.tensors import Array
from wherever_contracts.values import Label, is_detections, is_tensors
from wherever_contracts.wire.tensors import WireTensor, from_array, to_array

SCHEMA = 1
"""The number in each line; another one means that older readers would misread it."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Record:
    """A call that was answered.

    Attributes:
        receipt: its receipt.
        options: the numbers that the call gave, defaults included.
        confidence: the answer's; None when the model gives none.
        summary: the answer's value in short, as `summary_of` makes it.
        input_digest: of the checked inputs, under the device's key; "": not known.
        answer_digest: of the output tensors, under the device's key; "": not known.
        reference: the variant that the call would have escalated to.
        priority: how urgent it was.
        strict: whether another engine or precision than planned would have been an error.
        outputs: the output tensors by name; None when they are not recorded.
        aim: what the call asked of escalation.
    """

    receipt: Receipt
    options: dict[str, float]
    confidence: float | None
    summary: dict[str, Any]
    input_digest: str
    answer_digest: str
    reference: str
    priority: Priority = "interactive"
    strict: bool = False
    outputs: dict[str, Array] | None = field(default=None, compare=False)
    aim: Aim = NO_AIM


class Judgement(NamedTuple):
    """What somebody said of an answer later.

    Attributes:
        id: of the call.
        at: when it was said, as Unix time.
        label: what would have been right; None: not said.
        accepted: whether the answer was taken as it was; None: not said.
    """

    id: str
    at: float
    label: Any = None
    accepted: bool | None = None


def summary_of(value: Any) -> dict[str, Any]:
    """A value in a few words and numbers, whatever it is.

    A label: `{"label", "score"}`. Detections: `{"found": {label: how many}}`. Text and vectors:
    `{"shapes": {name: shape}}`, where the name of the only one is "".
    """
    if isinstance(value, Label):
        return {"label": str(value), "score": value.score}
    if is_detections(value):
        return {"found": dict(Counter(found.label for found in value))}
    arrays = value if is_tensors(value) else {"": value}
    return {"shapes": {name: list(array.shape) for name, array in arrays.items()}}


def pack_record(record: Record) -> bytes:
    """A record as a line of JSON, its end included; what is not finite becomes null.

    Raises:
        ValueError: something of it cannot be put into JSON.
    """
    outputs = record.outputs
    said = _Said(
        receipt=record.receipt.to_dict(),
        options={name: float(number) for name, number in record.options.items()},
        confidence=None if record.confidence is None else float(record.confidence),
        summary=record.summary,
        input_digest=record.input_digest,
        answer_digest=record.answer_digest,
        reference=record.reference,
        priority=record.priority,
        strict=record.strict,
    )._asdict()
    if outputs is None:
        del said["outputs"]
    else:
        said["outputs"] = {name: _tensor_said(array) for name, array in outputs.items()}
    if record.aim == NO_AIM:
        del said["aim"]
    else:
        said["aim"] = _aim_said(record.aim)
    return _line(said)


def unpack_record(line: bytes) -> Record:
    """The record in a line, of this version or another.

    Raises:
        ValueError: the line is cut off or no record, or one that only a newer version can read.
    """
    said = from_plain(_Said, _facts(line), "record")
    own: dict[str, Any] = said._asdict()
    own["receipt"] = Receipt.from_dict(said.receipt)
    if said.outputs is not None:
        own["outputs"] = {name: _tensor(each) for name, each in said.outputs.items()}
    return Record(**own)


def pack_judgement(judgement: Judgement) -> bytes:
    """A judgement as a line of JSON, its end included.

    Raises:
        ValueError: something of it cannot be put into JSON.
    """
    return _line(judgement._asdict())


def unpack_judgement(line: bytes) -> Judgement:
    """The judgement in a line.

    Raises:
        ValueError: the line is cut off or no judgement, or one that only a newer version can read.
    """
    return from_plain(Judgement, _facts(line), "judgement")


class _SaidTensor(NamedTuple):
    """A tensor as the Open Inference Protocol has it, its raw contents in base64."""

    datatype: str
    shape: tuple[int, ...]
    data: str


class _Said(NamedTuple):
    """What a line holds."""

    receipt: dict[str, Any]
    options: dict[str, float]
    confidence: float | None
    summary: dict[str, Any]
    input_digest: str = ""
    answer_digest: str = ""
    reference: str = ""
    priority: Priority = "interactive"
    strict: bool = False
    outputs: dict[str, _SaidTensor] | None = None
    aim: Aim = NO_AIM


def _aim_said(aim: Aim) -> dict[str, Any]:
    budget = None if aim.budget is None else aim.budget._asdict()
    return {**aim._asdict(), "budget": budget}


def _tensor_said(array: Array) -> dict[str, Any]:
    tensor = from_array("", array)
    data = base64.b64encode(tensor.data).decode()
    return _SaidTensor(tensor.datatype, tensor.shape, data)._asdict()


def _tensor(said: _SaidTensor) -> Array:
    data = base64.b64decode(said.data, validate=True)  # what is damaged is a ValueError here, too
    return to_array(WireTensor("", said.datatype, said.shape, data))


def _line(facts: Mapping[str, Any]) -> bytes:
    said = {"schema": SCHEMA, **facts}
    try:
        return _json(said)
    except ValueError:
        return _json(_finite(said))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"it cannot be written as JSON: {error}") from error


def _json(said: object) -> bytes:
    return _ENCODER.encode(said).encode() + b"\n"


def _finite(value: Any) -> Any:
    """The same with None for each number that JSON has no way to write (RFC 8259, section 6)."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in cast("list[Any]", value)]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _facts(line: bytes) -> dict[str, Any]:
    """What a line says, once it is known that this version can read it."""
    facts = from_plain(dict[str, Any], json.loads(line), "line")
    if facts.get("schema") != SCHEMA:
        found = facts.get("schema", "none")
        raise ValueError(
            f"expected schema {SCHEMA}, found {found!r:.20}; a newer wherever reads it"
        )
    return facts
