"""Samples of tables: columns of numbers, or one of images, texts or files, and the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.columns import Columns, find_columns
from wherever_convert.samples.sample import Damaged, Sample, Samples, Truth, Value
from wherever_convert.samples.table_files import Row, TableFile, open_table
from wherever_convert.samples.truths import MOST_CLASSES, classes, truth_of

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.samples.options import SampleOptions


def read_table(path: Path, options: SampleOptions) -> Samples:
    """Read a CSV, TSV, JSON lines or Parquet file; of a long one no more than is taken of it.

    Raises:
        ConversionError: it is damaged, or a column is not there.
        MissingExtraError: Parquet cannot be read without an extra.
    """
    table = open_table(path, header=options.header)
    columns = find_columns(path.name, table.header, options.roles(), options.form)
    count, labels = _counted(table, columns)
    most = min(count, options.most)
    wanted = {position * count // most for position in range(most)}
    reader = _Reader(table, columns, options.images or path.parent)
    items: list[Sample] = []
    damaged: list[Damaged] = []
    for position, row in enumerate(table.rows(columns.used)):
        if position in wanted:
            try:
                items.append(reader.sample(row))
            except ValueError as error:
                damaged.append(Damaged(row.where, str(error)))
    return Samples(path.stem, columns.form, tuple(items), labels, tuple(damaged), count - most)


def _counted(table: TableFile, columns: Columns) -> tuple[int, tuple[str, ...] | None]:
    """How many rows there are, and the classes in all of them."""
    count, truths = 0, set[Truth]()
    for row in table.rows(columns.used):
        count += 1
        if columns.label is not None and not row.fault and len(truths) <= MOST_CLASSES:
            try:
                truths.add(truth_of(row.cells[columns.label]))
            except ValueError:
                continue  # named when the row is read
    if not count:
        raise ConversionError(f"samples: {table.path.name} has no rows")
    return count, classes(truths) if len(truths) <= MOST_CLASSES else None


class _Reader:
    """Makes samples of rows."""

    def __init__(self, table: TableFile, columns: Columns, folder: Path) -> None:
        self._names = table.header
        self._columns = columns
        self._folder = folder

    def sample(self, row: Row) -> Sample:
        """ValueError when the row cannot be used, with the reason."""
        if row.fault:
            raise ValueError(row.fault)
        columns = self._columns
        truth = None if columns.label is None else truth_of(row.cells[columns.label])
        if columns.content is not None:
            return Sample(row.where, self._content(row.cells[columns.content]), truth)
        return Sample(row.where, self._numbers(row.cells), truth)

    def _content(self, cell: Any) -> Value:
        if self._columns.form == "texts":
            if not isinstance(cell, str):
                raise ValueError("no text" if cell is None else f"{cell!r:.40} is no text")
            return cell
        if isinstance(cell, Mapping):  # an image as data sets of Hugging Face have it
            fields = cast("Mapping[str, Any]", cell)
            cell = fields.get("bytes") or fields.get("path")
        if isinstance(cell, bytes):
            return cell
        if not isinstance(cell, str) or not cell.strip():
            raise ValueError("no path")
        return self._folder / cell.strip()

    def _numbers(self, cells: Sequence[Any]) -> Array | dict[str, Array]:
        inputs = self._columns.inputs
        if list(inputs) == [""]:
            return self._row(cells, inputs[""]).astype(np.float32)
        return {name: self._row(cells, columns) for name, columns in inputs.items()}

    def _row(self, cells: Sequence[Any], columns: Sequence[int]) -> Array:
        """Numbers of columns [n]; of one column that holds lists, those."""
        found = [self._number(cells[each], self._names[each]) for each in columns]
        array = np.array(found[0] if len(found) == 1 and np.ndim(found[0]) else found)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError("a number that is missing or not finite")
        return array.astype(np.float32) if array.dtype.kind == "f" else array

    def _number(self, cell: Any, column: str) -> Any:
        if isinstance(cell, str):
            return _parsed(cell, column)
        array = np.asarray(cell)
        if array.dtype.kind not in "biuf":
            missing = cell is None
            raise ValueError(f"column {column!r}: {'nothing' if missing else repr(cell)[:40]}")
        return array


def _parsed(text: str, column: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"column {column!r} holds {text[:40]!r}, no number") from None
