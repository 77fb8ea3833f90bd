"""The messages with which a device and a box of its site agree on a key."""

from __future__ import annotations

from typing import NamedTuple

from wherever_contracts.wire.framing import WireError, parse
from wherever_contracts.wire.schema import CLASSES

_MAX_CHARS = 200


class PairRequest(NamedTuple):
    """What a device says: the PIN that the box shows, and what to call the device."""

    pin: str
    device: str


class PairResponse(NamedTuple):
    """What the box answers: its name, and a key for this device alone."""

    name: str
    api_key: str


def encode_pair_request(request: PairRequest) -> bytes:
    """The bytes of a request."""
    return _encode("PairRequest", request)


def decode_pair_request(data: bytes) -> PairRequest:
    """The request in `data`.

    Raises:
        WireError: the bytes are no such message, or a text is too long.
    """
    found = parse("PairRequest", data)
    return PairRequest(_short(found.pin), _short(found.device))


def encode_pair_response(response: PairResponse) -> bytes:
    """The bytes of a response."""
    return _encode("PairResponse", response)


def decode_pair_response(data: bytes) -> PairResponse:
    """The response in `data`.

    Raises:
        WireError: the bytes are no such message, or a text is too long.
    """
    found = parse("PairResponse", data)
    return PairResponse(_short(found.name), _short(found.api_key))


def _encode(name: str, fields: PairRequest | PairResponse) -> bytes:
    encoded: bytes = CLASSES[name](**fields._asdict()).SerializeToString()
    return encoded


def _short(text: str) -> str:
    if len(text) > _MAX_CHARS:
        raise WireError(f"a text of {len(text)} characters where {_MAX_CHARS} are the most")
    return text
