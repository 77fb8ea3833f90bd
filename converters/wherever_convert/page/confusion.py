"""Which classes were taken for which: a matrix of few classes, a list of many. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wherever_convert.page.markup import Markup, cut, tag
from wherever_convert.page.tables import scrolling

if TYPE_CHECKING:
    from wherever_convert.findings import Confusion

MOST_CLASSES = 30
_MOST_LISTED = 25
_LONGEST_LABEL = 60
# Labels of no more letters stand upright over their column.
_SHORT = 3


def confusion_figure(
    confusion: Confusion, labels: Sequence[str], rows: str, columns: str
) -> Markup:
    """A matrix of the classes that occur, or the most frequent confusions as a list.

    Args:
        confusion: the counts.
        labels: the names of the classes.
        rows: what the rows are, such as "truth".
        columns: what the columns are.
    """
    used = sorted({position for row, column, _ in confusion.cells for position in (row, column)})
    if len(used) > MOST_CLASSES:
        return _list(confusion, labels, rows, columns)
    return _matrix(confusion, [*map(int, used)], labels, f"Rows: {rows}. Columns: {columns}.")


def _matrix(
    confusion: Confusion, used: Sequence[int], labels: Sequence[str], caption: str
) -> Markup:
    counts = {(row, column): count for row, column, count in confusion.cells}
    most = {
        True: max((n for (r, c), n in counts.items() if r == c), default=1),
        False: max((n for (r, c), n in counts.items() if r != c), default=1),
    }
    turned = "up" if max(len(_name(labels, each)) for each in used) > _SHORT else None
    heads = [tag("th", _label(labels, column), scope="col", class_=turned) for column in used]
    body = [
        tag(
            "tr",
            tag("th", _label(labels, row), scope="row"),
            [_cell(counts.get((row, column), 0), row == column, most) for column in used],
        )
        for row in used
    ]
    head = tag("thead", tag("tr", tag("td", class_="corner"), heads))
    table = tag("table", tag("caption", caption), head, tag("tbody", body), class_="matrix")
    return scrolling(table, caption)


def _cell(count: int, same: bool, most: dict[bool, int]) -> Markup:  # noqa: FBT001 (of the matrix)
    if not count:
        return tag("td", 0, class_="zero")
    level = min(3, 1 + 3 * count // (most[same] + 1))
    return tag("td", count, class_=f"{'same' if same else 'other'} h{level}")


def _list(confusion: Confusion, labels: Sequence[str], rows: str, columns: str) -> Markup:
    mistaken = confusion.mistaken
    head = tag(
        "tr",
        tag("th", rows, scope="col"),
        tag("th", columns, scope="col"),
        tag("th", "samples", scope="col", class_="number"),
    )
    body = [
        tag(
            "tr",
            tag("td", _label(labels, row)),
            tag("td", _label(labels, column)),
            tag("td", count, class_="number"),
        )
        for row, column, count in mistaken[:_MOST_LISTED]
    ]
    left = len(mistaken) - len(body)
    caption = "The most frequent confusions" + (f" ({left} more pairs not shown)" * (left > 0))
    table = tag("table", tag("caption", caption), tag("thead", head), tag("tbody", body))
    return scrolling(table, caption)


def _label(labels: Sequence[str], position: int) -> Markup:
    name = _name(labels, position)
    return tag("bdi", cut(name, _LONGEST_LABEL), title=name[:500])


def _name(labels: Sequence[str], position: int) -> str:
    return labels[position] if 0 <= position < len(labels) else str(position)
