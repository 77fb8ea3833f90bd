"""Tables as files: CSV, TSV, JSON lines and Parquet, read one row after the other."""

from __future__ import annotations

import csv
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from wherever_contracts.errors import ConversionError, missing_extra

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
_SEPARATORS = (",", ";", "\t")
_BATCH_ROWS = 1024
_MAX_LINE = 64 * 1024 * 1024


class Row(NamedTuple):
    """A row: where it is, for people; its cells; and why it cannot be read, or ""."""

    where: str
    cells: Sequence[Any]
    fault: str = ""


class TableFile(ABC):
    """A table that is read as often as needed, and never kept.

    Attributes:
        path: the file.
        header: the names of its columns.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: tuple[str, ...] = ()

    @abstractmethod
    def rows(self, used: Sequence[int]) -> Iterator[Row]:
        """Every row in order.

        Args:
            used: the columns whose cells are looked at; others may be None.

        Raises:
            ConversionError: the file is damaged.
        """


def open_table(path: Path, *, header: bool) -> TableFile:
    """The table in a file.

    Args:
        path: its suffix says what it is.
        header: the first line of a CSV or TSV names the columns; else they are called 1, 2, ...

    Raises:
        ConversionError: it is damaged, or empty.
        MissingExtraError: Parquet cannot be read without an extra.
    """
    suffix = path.suffix.lower()
    if suffix in (".csv", ".tsv"):
        return _Separated(path, header=header)
    if not header:
        raise ConversionError(f"samples: {path.name} names its columns; leave --no-header out")
    return _Parquet(path) if suffix == ".parquet" else _JsonLines(path)


class _Separated(TableFile):
    """CSV, and TSV, whose quotes are characters like others."""

    def __init__(self, path: Path, *, header: bool) -> None:
        super().__init__(path)
        self._kind = path.suffix[1:].upper()
        self._has_header = header
        self._separator = "\t" if self._kind == "TSV" else self._guessed()
        first = next(self._lines(), None)
        if first is None:
            raise ConversionError(f"samples: {path.name} is empty")
        counted = tuple(str(number + 1) for number in range(len(first[1])))
        self.header = tuple(name.strip() for name in first[1]) if header else counted

    def rows(self, used: Sequence[int]) -> Iterator[Row]:
        width = len(self.header)
        for position, (line, cells) in enumerate(self._lines()):
            where = f"{self.path.name}:{line}"
            if position == 0 and self._has_header:
                continue
            if len(cells) == width:
                yield Row(where, cells)
            else:
                first = "the header" if self._has_header else "the first line"
                yield Row(where, (), f"{len(cells)} columns, {first} has {width}")

    def _lines(self) -> Iterator[tuple[int, list[str]]]:
        """The line that a row ends in, and its cells; empty ones are left out."""
        quoting: Literal[0, 3] = csv.QUOTE_NONE if self._kind == "TSV" else csv.QUOTE_MINIMAL
        try:
            with self.path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, delimiter=self._separator, quoting=quoting)
                for row in reader:
                    if row:
                        yield reader.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            what = f"{self.path.name} is no {self._kind} in UTF-8"
            raise ConversionError(f"samples: {what}: {error}") from error

    def _guessed(self) -> str:
        """What separates the first line's cells: a comma unless there is none."""
        with self.path.open("rb") as file:
            line = file.readline(_MAX_LINE).decode(errors="replace")
        return next((each for each in _SEPARATORS if each in line), ",")


class _JsonLines(TableFile):
    """An object in each line; the first one's fields are the columns."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        first = next(self._objects(), None)
        if first is None:
            raise ConversionError(f"samples: {path.name} is empty")
        if not isinstance(first[1], dict):
            raise ConversionError(f"samples: {path.name}:{first[0]} is no JSON object")
        self.header = tuple(cast("dict[str, Any]", first[1]))

    def rows(self, used: Sequence[int]) -> Iterator[Row]:
        for line, found in self._objects():
            where = f"{self.path.name}:{line}"
            if not isinstance(found, dict):
                yield Row(where, (), "no JSON object")
                continue
            cells = cast("dict[str, Any]", found)
            missing = [self.header[each] for each in used if self.header[each] not in cells]
            fault = f"no {', '.join(missing)}" if missing else ""
            yield Row(where, [cells.get(name) for name in self.header], fault)

    def _objects(self) -> Iterator[tuple[int, Any]]:
        """The number of each line that is not empty, and what is in it; None if it is no JSON."""
        with self.path.open("rb") as file:
            number = 0
            while line := file.readline(_MAX_LINE):
                number += 1
                if line.strip():
                    yield number, _parsed(line)


class _Parquet(TableFile):
    """Parquet, a batch of rows at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        with self._opened() as file:
            self.header = tuple(map(str, file.schema_arrow.names))

    def rows(self, used: Sequence[int]) -> Iterator[Row]:
        names = [self.header[each] for each in used]
        position = 0
        with self._opened() as file:
            try:
                for batch in file.iter_batches(_BATCH_ROWS, columns=names):
                    columns = batch.to_pydict()
                    for row in range(batch.num_rows):
                        cells: list[Any] = [None] * len(self.header)
                        for place, name in zip(used, names, strict=True):
                            cells[place] = columns[name][row]
                        yield Row(f"{self.path.name}[{position}]", cells)
                        position += 1
            except (OSError, ValueError) as error:
                raise self._damaged(error) from error

    def _opened(self) -> Any:
        try:
            parquet: Any = import_module("pyarrow.parquet")  # an extra, without types
        except ImportError as error:
            raise missing_extra("reading Parquet", "parquet") from error
        try:
            return parquet.ParquetFile(self.path)
        except (OSError, ValueError) as error:  # pyarrow's errors are both
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> ConversionError:
        return ConversionError(f"samples: {self.path.name} is no Parquet: {error}")


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
