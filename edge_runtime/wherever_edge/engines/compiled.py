"""Compiled models kept on the disk, so that the next start is quick.

OpenVINO's own cache believes what it finds: a file with flipped bits loaded and computed NaN. Here
each file carries its digest, is written whole or not at all, and one that is damaged counts as
absent. The directory belongs to the user who runs this, and nothing that came over a network is put
there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from wherever_edge.durable import write_durably

MAX_BYTES = 256 * 2**20
_DIGEST = 32
_LENGTH = 4
_SUFFIX = ".compiled"


class Compiled(NamedTuple):
    """A compiled model, and what its engine wants to remember of it."""

    notes: Any
    blob: bytes


class CompiledModels:
    """The compiled models of one engine; when they grow beyond a bound, the oldest go.

    Args:
        folder: where they are; made when the first is kept.
        max_bytes: what all files together may take.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder = folder
        self._max_bytes = max_bytes

    def get(self, key: str) -> Compiled | None:
        """What was kept under a key; None when there is nothing, or it is damaged."""
        path = self._path(key)
        try:
            found = parsed(path.read_bytes())
            if found is not None:
                os.utime(path)  # it was used: others go first
        except OSError:
            return None
        return found

    def put(self, key: str, model: Compiled) -> None:
        """Keep a model, unless the disk or the bound does not allow it."""
        data = framed(model)
        if len(data) > self._max_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._make_room(self._max_bytes - len(data))
            write_durably(self._path(key), data, mode=0o600)
        except OSError:  # a cache that cannot be written costs time alone
            return

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _make_room(self, max_bytes: int) -> None:
        files = [(path, path.stat()) for path in self._folder.glob(f"*{_SUFFIX}")]
        total = sum(stat.st_size for _, stat in files)
        for path, stat in sorted(files, key=lambda each: each[1].st_mtime_ns):
            if total <= max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= stat.st_size


def key_of(files: Iterable[bytes], *about: str) -> str:
    """One name for a model's files and everything that its compiled form depends on."""
    digests = [hashlib.sha256(each).hexdigest() for each in files]
    return hashlib.sha256(json.dumps([digests, about]).encode()).hexdigest()


def framed(model: Compiled) -> bytes:
    """A compiled model as the bytes of a file: digest, length of the notes, notes, model."""
    notes = json.dumps(model.notes).encode()
    body = b"".join((len(notes).to_bytes(_LENGTH, "big"), notes, model.blob))
    return hashlib.sha256(body).digest() + body


def parsed(data: bytes) -> Compiled | None:
    """The reverse; None when the bytes are not those that were written."""
    body = memoryview(data)[_DIGEST:]
    if len(body) < _LENGTH or hashlib.sha256(body).digest() != data[:_DIGEST]:
        return None
    end = _LENGTH + int.from_bytes(body[:_LENGTH], "big")
    return Compiled(json.loads(bytes(body[_LENGTH:end])), bytes(body[end:]))
