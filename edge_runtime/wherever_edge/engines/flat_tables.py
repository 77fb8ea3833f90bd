"""Reading FlatBuffers without their library: tables and their fields. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any


def root_table(data: bytes) -> Table:
    """The outermost table of a buffer.

    Raises:
        struct.error: it is no FlatBuffer; reading the table may raise it, too.
    """
    return Table(data, struct.unpack_from("<I", data, 0)[0])


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a FlatBuffer: fields by their number, absent ones with their default.

    Attributes:
        data: the whole buffer.
        start: where in it the table is.
    """

    data: bytes
    start: int

    def byte(self, field: int) -> int:
        """A small number without a sign; 0 by default."""
        at = self._at(field)
        return 0 if at is None else self.data[at]

    def integer(self, field: int, kind: str = "I") -> int:
        """A whole number of a kind that `struct` knows; 0 by default."""
        at = self._at(field)
        return 0 if at is None else int(self._read(kind, at)[0])

    def text(self, field: int) -> str:
        """A text; "" by default."""
        return self.raw(field).decode(errors="replace")

    def raw(self, field: int) -> bytes:
        """The bytes of a text, or of a vector of bytes; none by default."""
        at = self._at(field)
        if at is None:
            return b""
        vector = self._target(at)
        (count,) = self._read("I", vector)
        return bytes(self.data[vector + 4 : vector + 4 + count])

    def size(self, field: int) -> int:
        """How many elements a vector or a text has."""
        at = self._at(field)
        return 0 if at is None else int(self._read("I", self._target(at))[0])

    def table(self, field: int) -> Table | None:
        """A table in it; None by default."""
        at = self._at(field)
        return None if at is None else Table(self.data, self._target(at))

    def tables(self, field: int) -> list[Table]:
        """The tables of a vector; none by default."""
        at = self._at(field)
        if at is None:
            return []
        vector = self._target(at)
        (count,) = self._read("I", vector)
        return [
            Table(self.data, self._target(vector + 4 + 4 * position)) for position in range(count)
        ]

    def numbers(self, field: int, kind: str) -> tuple[Any, ...]:
        """The numbers of a vector, each of a kind that `struct` knows; none by default."""
        at = self._at(field)
        if at is None:
            return ()
        vector = self._target(at)
        (count,) = self._read("I", vector)
        return self._read(f"{count}{kind}", vector + 4)

    def _at(self, field: int) -> int | None:
        """Where a field is, by the table of offsets that the table points back to."""
        offsets = self.start - self._read("i", self.start)[0]
        (size,) = self._read("H", offsets)
        entry = 4 + 2 * field
        offset = self._read("H", offsets + entry)[0] if entry < size else 0
        return self.start + offset if offset else None

    def _target(self, at: int) -> int:
        return at + int(self._read("I", at)[0])

    def _read(self, kind: str, at: int) -> tuple[Any, ...]:
        return struct.unpack_from(f"<{kind}", self.data, at)
