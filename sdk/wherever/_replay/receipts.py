"""Which receipts a command is given: one by its id, a file of them, or a directory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from wherever._device_key import has_device_key
from wherever._records.reading import Damaged, find_record, read_records
from wherever._records.store import FOLDER
from wherever_contracts.errors import InputError

if TYPE_CHECKING:
    from wherever._records.record import Record

_EXPECTED = "the id of a recorded call, a .jsonl file of receipts, or a directory with such"


class Source(NamedTuple):
    """Receipts, and where the inputs of their calls may lie.

    Attributes:
        records: what was written down of each call.
        total: how many lines there are, as far as can be told without reading them.
        inputs: the directory of the journal.
        home: whose key its digests were made with, as far as is known.
    """

    records: Iterable[Record]
    total: int
    inputs: Path
    home: Path


def receipts_of(given: str, home: Path, damaged: Damaged) -> Source:
    """The receipts that `given` means.

    Args:
        given: an id, a file or a directory.
        home: whose journal knows calls by their ids.
        damaged: called for each line that cannot be read.

    Raises:
        InputError: there is no such file, directory or call.
        OSError: it cannot be read.
    """
    path = Path(given)
    if path.is_dir():
        inside = path / FOLDER
        directory = inside if inside.is_dir() else path
        files = sorted(directory.glob("receipts*.jsonl"))
        if not files:
            raise InputError("RECEIPT", _EXPECTED, f"no receipts in {path}", kind="argument")
        lines = sum(map(_lines, files))
        return Source(read_records(directory, damaged), lines, directory, _owner(directory, home))
    if path.is_file():
        folder = path.parent
        return Source(read_records(path, damaged), _lines(path), folder, _owner(folder, home))
    return _by_id(given, home)


def _owner(directory: Path, home: Path) -> Path:
    """The home that a journal was copied with, where its key came along; else this device's."""
    beside = directory.resolve().parent
    return beside if has_device_key(beside) else home


def _by_id(id_: str, home: Path) -> Source:
    journal = home / FOLDER
    record = find_record(journal, id_) if journal.is_dir() else None
    if record is None:
        found = f"{id_!r}, which is no file, and of which {journal} knows nothing"
        raise InputError("RECEIPT", _EXPECTED, found, kind="argument")
    return Source([record], 1, journal, home)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
