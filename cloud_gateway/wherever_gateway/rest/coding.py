"""Content codings of bodies (RFC 9110, section 8.4): gzip and deflate, bounded. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias, get_args

from wherever_contracts.wire.framing import WireError

Coding: TypeAlias = Literal["gzip", "deflate"]
CODINGS: tuple[Coding, ...] = get_args(Coding)

# what is gained above the fastest level is small, and it takes several times as long
_LEVEL = 1
_PIECE_BYTES = 1 << 20
_GZIP_BITS, _ZLIB_BITS, _BARE_BITS = 31, 15, -15
_BITS: dict[Coding, int] = {"gzip": _GZIP_BITS, "deflate": _ZLIB_BITS}

# text that a client takes compressed but did not ask for: where the wire is slow it gains from
# here on, where it is fast it loses little
_TEXT_FROM_BYTES = 16 * 1024
# what a client asked for
_ASKED_FROM_BYTES = 256

_ACCEPTED = re.compile(r"([a-z*-]+)(?:\s*;\s*q\s*=\s*([01](?:\.\d{0,3})?))?")


def coding_of(header: str) -> Coding | None:
    """The coding that the header `Content-Encoding` names; None for bytes as they are.

    Raises:
        ValueError: it is none that is taken here, or there are several.
    """
    name = header.strip().lower().removeprefix("x-")
    if name in ("", "identity"):
        return None
    for coding in CODINGS:
        if name == coding:
            return coding
    raise ValueError(f"{header[:60]!r}; those that are: {', '.join(CODINGS)}")


def decoded(body: bytes, coding: Coding, room: Callable[[int], None]) -> bytes:
    """What was compressed.

    Args:
        body: what came.
        coding: how it was compressed; deflate without a header of its own (RFC 1951) is read, too,
            because some clients send it.
        room: called with the size of each piece before it is kept; it raises when that is too much.

    Raises:
        WireError: the body is damaged, or is not all there.
    """
    pieces: list[bytes] = []
    try:
        for piece in _members(body, coding):
            room(len(piece))
            pieces.append(piece)
    except zlib.error as error:
        raise WireError(f"the body: expected {coding} data, found other bytes ({error})") from error
    return b"".join(pieces)


def chosen_coding(accepted: str, size: int, *, is_text: bool) -> Coding | None:
    """How to compress an answer; None for not at all.

    A client that names one coding alone asks for it. One that names several takes what comes, as
    nearly every client does by itself: it gets compressed text where that is worth the time, and
    raw tensors as they are.

    Args:
        accepted: the header `Accept-Encoding`.
        size: the bytes of the answer.
        is_text: whether it is JSON or other text, which shrinks.
    """
    wished = _wished(accepted)
    named = [name for name in wished if name != "identity"]
    usable: list[Coding] = [coding for coding in CODINGS if coding in wished]
    if not usable or size < _ASKED_FROM_BYTES:
        return None
    worth = is_text and size >= _TEXT_FROM_BYTES
    if len(named) > 1 and not worth:
        return None
    return max(usable, key=lambda coding: wished[coding])


def encoded(body: bytes, coding: Coding) -> bytes:
    """A body, compressed."""
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _BITS[coding])
    return compressor.compress(body) + compressor.flush()


def _members(body: bytes, coding: Coding) -> Iterator[bytes]:
    """The pieces of every member: gzip may have several, one behind the other (RFC 1952, 2.2)."""
    while True:
        inflater = zlib.decompressobj(_bits(body, coding))
        while body and not inflater.eof:
            piece = inflater.decompress(body, _PIECE_BYTES)
            body = inflater.unconsumed_tail
            if piece:
                yield piece
        if not inflater.eof:
            raise zlib.error("it ends too early")
        body = inflater.unused_data
        if not body:
            return
        if coding != "gzip":
            raise zlib.error(f"{len(body)} bytes behind its end")


def _bits(body: bytes, coding: Coding) -> int:
    if coding == "deflate" and not _has_zlib_header(body):
        return _BARE_BITS
    return _BITS[coding]


def _has_zlib_header(body: bytes) -> bool:
    """RFC 1950, section 2.2: the method is 8, and the two bytes are a multiple of 31."""
    return len(body) >= 2 and body[0] & 15 == 8 and int.from_bytes(body[:2], "big") % 31 == 0


def _wished(header: str) -> dict[str, float]:
    """The codings that a client takes, with how much it likes each; those with q=0 are left out."""
    wished: dict[str, float] = {}
    for part in header.lower().split(","):
        said = _ACCEPTED.fullmatch(part.strip())
        if said is not None and (liking := float(said[2] or 1)) > 0:
            wished[said[1]] = liking
    return wished
