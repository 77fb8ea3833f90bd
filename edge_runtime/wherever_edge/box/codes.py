"""Pairing codes: what a box shows and a person types. Pure: time and randomness are passed in.

A code is 24 characters in groups of four. The first sixteen spell 80 bits of the SHA-256 of the
box's certificate, the last eight a one-time PIN of 40 bits. The alphabet is Crockford's base 32,
which has no letters that look like digits; what is typed may be in lower case, with or without
dashes, and with O for 0 and I or L for 1.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import NamedTuple

from wherever_contracts.errors import PairingError
from wherever_edge.box.adverts import ID_CHARS

IDENTITY_BYTES = 10
PIN_BYTES = 5
PIN_LIFETIME_S = 600.0
MAX_WRONG_TRIES = 5

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LOOKALIKES = str.maketrans("OIL", "011", "- \t")
_IDENTITY_CHARS = IDENTITY_BYTES * 8 // 5
_CHARS = _IDENTITY_CHARS + PIN_BYTES * 8 // 5
_GROUP = 4


class Code(NamedTuple):
    """The two parts of a pairing code, in its alphabet.

    Attributes:
        identity: which certificate the box has.
        pin: the permission to pair once.
    """

    identity: str
    pin: str

    def __str__(self) -> str:
        text = self.identity + self.pin
        return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def read_code(text: str) -> Code:
    """The code that a person typed.

    Raises:
        PairingError: it cannot be one; the message says why.
    """
    typed = text.upper().translate(_LOOKALIKES)
    strange = sorted(set(typed) - set(_ALPHABET))
    if len(typed) != _CHARS or strange:
        found = f"{len(typed)} characters" + (f", among them {strange[0]!r}" if strange else "")
        raise PairingError(
            f"that is not a pairing code: expected {_CHARS} letters and digits as the box shows "
            f"them, found {found}"
        )
    return Code(typed[:_IDENTITY_CHARS], typed[_IDENTITY_CHARS:])


def identity_of(fingerprint: str) -> str:
    """The part of a code that stands for a certificate.

    Args:
        fingerprint: the certificate's SHA-256 in hex.
    """
    return _spelled(bytes.fromhex(fingerprint)[:IDENTITY_BYTES])


def box_id(code: Code) -> str:
    """The beginning of the certificate's SHA-256 that a code stands for, as a box's id has it."""
    number = 0
    for char in code.identity:
        number = number << 5 | _ALPHABET.index(char)
    return number.to_bytes(IDENTITY_BYTES).hex()[:ID_CHARS]


class PinDesk:
    """Hands out one PIN at a time: good once, for ten minutes, and for five wrong tries.

    Not safe for threads: its owner takes turns.

    Args:
        draw: gives that many random bytes.
        now: the time, in seconds.
    """

    def __init__(self, draw: Callable[[int], bytes], now: float) -> None:
        self._draw = draw
        self._renew(now)

    def pin(self, now: float) -> str:
        """The PIN that is good now."""
        if now >= self._until:
            self._renew(now)
        return self._pin

    def take(self, given: str, now: float) -> bool:
        """Whether `given` is the PIN; if so, or after too many tries, there is a new one."""
        good = hmac.compare_digest(given.encode(), self.pin(now).encode())
        self._tries += 1
        if good or self._tries >= MAX_WRONG_TRIES:
            self._renew(now)
        return good

    def _renew(self, now: float) -> None:
        self._pin = _spelled(self._draw(PIN_BYTES))
        self._until = now + PIN_LIFETIME_S
        self._tries = 0


def _spelled(data: bytes) -> str:
    """Bytes in the alphabet, five bits a character; their number is a multiple of five."""
    number = int.from_bytes(data)
    count = len(data) * 8 // 5
    return "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(count)))
