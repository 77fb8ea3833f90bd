"""What lies in the outbox: calls that wait, and what came of them, as frames. Pure.

A frame has a JSON header, raw buffers and a checksum, so that nothing read from the disk can run,
and a file that was cut off or damaged is known as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np

from wherever._outbox.age import Stamp
from wherever_contracts.errors import InputError
from wherever_contracts.frames import FrameError, pack_frame, peek_meta, unpack_frame
from wherever_contracts.places import BOUNDARIES, PLACES, PRIORITIES, Boundary, Place, Priority
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.tensors import Array
from wherever_contracts.wire.tensors import InferRequest, WireTensor

T = TypeVar("T")

MAX_HEADER_BYTES = 1024 * 1024
_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z_-]{0,63}")
# of a request: its tensors stand beside it, when it is sent nobody follows its trace any more, and
# calls of the SDK want numbers and not classes
_APART = ("inputs", "headers", "classes")
_SIGNATURE, _BUFFER, _OUTPUT = "signature", "input ", "output "


class Entry(NamedTuple):
    """A call that waits, without its data.

    Attributes:
        id: the call's id, and its idempotency key.
        model: the model's name.
        version: of its package.
        package_digest: of the package that the call was made with.
        variant: the one that is asked for: the model's reference.
        boundary: how far the data may travel.
        places: where it may be sent.
        release: the release rule that made what is sent; "": it is sent as it was given.
        placement: where what the rule made lies in the image that was given: left, top, and what
            one of its pixels is wide and high there; empty without a rule.
        priority: who goes first.
        created: when it was put in.
        ttl_s: how long it may wait.
    """

    id: str
    model: str
    version: str
    package_digest: str
    variant: str
    boundary: Boundary
    places: tuple[Place, ...]
    release: str
    placement: tuple[float, ...]
    priority: Priority
    created: Stamp
    ttl_s: float


class Letter(NamedTuple):
    """A call that waits, whole.

    Attributes:
        entry: what is known of it.
        request: what is sent.
        signature: the model's signature as JSON, to read the answer by after a restart.
    """

    entry: Entry
    request: InferRequest
    signature: bytes


class Result(NamedTuple):
    """What came of a call; an answer, or an error that is final.

    Attributes:
        entry: the call.
        signature: the model's signature as JSON.
        recorded: when this was written.
        answer: the answer, or None.
        place: how far away it was given.
        host: who gave it.
        kind: why there is no answer, as `UpgradeError.kind`; "" when there is one.
        error: the same in a sentence.
    """

    entry: Entry
    signature: bytes
    recorded: Stamp
    answer: Answer | None
    place: Place = "device"
    host: str = ""
    kind: str = ""
    error: str = ""


def check_id(id_: str) -> str:
    """The id, when it can be the name of a file.

    Raises:
        InputError: it is something else.
    """
    if not _is_id(id_):
        raise InputError("id", "the id of a prediction", f"{id_!r:.100}", kind="argument")
    return id_


def _is_id(given: object) -> bool:
    return isinstance(given, str) and _ID.fullmatch(given) is not None


def pack_letter(letter: Letter) -> bytes:
    """A call as a frame.

    Raises:
        FrameError: something of it cannot be put into JSON.
    """
    request = letter.request
    tensors = [[t.name, t.datatype, list(t.shape), t.content_type] for t in request.inputs]
    said = {name: value for name, value in request._asdict().items() if name not in _APART}
    arrays = {f"{_BUFFER}{i}": _buffer(tensor.data) for i, tensor in enumerate(request.inputs)}
    arrays[_SIGNATURE] = _buffer(letter.signature)
    meta = {"entry": letter.entry._asdict(), "request": said, "inputs": tensors}
    return pack_frame(arrays, meta)


def unpack_letter(data: bytes) -> Letter:
    """The call in a frame; its tensors read the frame's own memory.

    Raises:
        FrameError: it is no whole frame, or not one of a call.
    """
    arrays, meta = unpack_frame(data, max_header_bytes=MAX_HEADER_BYTES)
    return _fitting(lambda: _letter(arrays, meta))


def peek_entry(start: bytes) -> Entry:
    """What is known of a call, out of the beginning of its frame; nothing is checked.

    Raises:
        FrameError: it is not the beginning of one.
    """
    meta = peek_meta(start)
    return _fitting(lambda: _entry(meta["entry"]))


def peek_recorded(start: bytes) -> Stamp:
    """When a result was written, out of the beginning of its frame; nothing is checked.

    Raises:
        FrameError: it is not the beginning of one.
    """
    meta = peek_meta(start)
    return _fitting(lambda: _stamp(meta["recorded"]))


def pack_result(result: Result) -> bytes:
    """What came of a call as a frame.

    Raises:
        FrameError: the answer has an output that no frame can hold.
    """
    answer = result.answer
    arrays = {_SIGNATURE: _buffer(result.signature)}
    facts = None
    if answer is not None:
        arrays.update({f"{_OUTPUT}{name}": array for name, array in answer.outputs.items()})
        facts = {**answer._asdict(), "ran": answer.ran._asdict()}
        del facts["outputs"]
        facts["confidence"] = None if answer.confidence is None else float(answer.confidence)
    said = result._asdict() | {"entry": result.entry._asdict(), "answer": facts}
    del said["signature"]
    return pack_frame(arrays, said)


def unpack_result(data: bytes) -> Result:
    """What came of a call, out of a frame; its arrays read the frame's own memory.

    Raises:
        FrameError: it is no whole frame, or not one of a result.
    """
    arrays, meta = unpack_frame(data, max_header_bytes=MAX_HEADER_BYTES)
    return _fitting(lambda: _result(arrays, meta))


def _letter(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Letter:
    tensors = [
        WireTensor(name, datatype, tuple(shape), arrays[f"{_BUFFER}{i}"].data, content_type)
        for i, (name, datatype, shape, content_type) in enumerate(meta["inputs"])
    ]
    said = meta["request"]
    own = {"inputs": tuple(tensors), "outputs": tuple(said["outputs"])}
    request = InferRequest(**_known(InferRequest, said, **own))
    return Letter(_entry(meta["entry"]), request, arrays[_SIGNATURE].tobytes())


def _result(arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> Result:
    outputs = {
        name.removeprefix(_OUTPUT): array
        for name, array in arrays.items()
        if name.startswith(_OUTPUT)
    }
    facts = meta["answer"]
    own = {
        "entry": _entry(meta["entry"]),
        "recorded": _stamp(meta["recorded"]),
        "answer": None if facts is None else _answer(facts, outputs),
        "signature": arrays[_SIGNATURE].tobytes(),
    }
    result = Result(**_known(Result, meta, **own))
    if result.place not in PLACES or bool(result.kind) == (result.answer is not None):
        raise ValueError("neither an answer nor an error")
    return result


def _answer(facts: Mapping[str, Any], outputs: dict[str, Array]) -> Answer:
    own = {
        "outputs": outputs,
        "ran": Ran(**facts["ran"]),
        "substituted": tuple(facts["substituted"]),
    }
    return Answer(**_known(Answer, facts, **own))


def _entry(facts: Mapping[str, Any]) -> Entry:
    own = {
        "places": tuple(facts["places"]),
        "placement": tuple(map(float, facts["placement"])),
        "created": _stamp(facts["created"]),
        "ttl_s": float(facts["ttl_s"]),
    }
    entry = Entry(**_known(Entry, facts, **own))
    words = (entry.boundary in BOUNDARIES, entry.priority in PRIORITIES, _ID.fullmatch(entry.id))
    if not all(words) or not set(entry.places) <= set(PLACES):
        raise ValueError("an entry that was not written here")
    return entry


def _stamp(facts: Any) -> Stamp:
    wall_s, up_s, boot = facts
    return Stamp(float(wall_s), float(up_s), str(boot))


def _known(kind: Any, facts: Mapping[str, Any], **own: Any) -> dict[str, Any]:
    """The facts that a tuple of this kind has, and its own; a newer version's are left out."""
    return {name: value for name, value in facts.items() if name in kind._fields} | own


def _fitting(read: Callable[[], T]) -> T:
    """What is read from a whole frame that may still be another's.

    Raises:
        FrameError: it is.
    """
    try:
        return read()
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FrameError(f"a frame of something else ({error!r:.200})") from None


def _buffer(data: bytes | memoryview) -> Array:
    return np.frombuffer(data, np.uint8)
