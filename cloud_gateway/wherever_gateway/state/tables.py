"""Reading and writing the tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from wherever_gateway.state.kept import Kept
from wherever_gateway.state.ledger import Cell, Usage
from wherever_gateway.state.schema import KEPT, MAX_NAME, USAGE

_BATCH = 100  # ids in one statement: databases bound its parameters


def add_usage(connection: Connection, cells: Mapping[Cell, Usage]) -> None:
    """Add what was used to what is written there.

    Raises:
        SQLAlchemyError: it cannot be written; another gateway may just have begun the same hour.
    """
    for cell, usage in cells.items():
        where = {"tenant": cell.tenant[:MAX_NAME], "model": cell.model[:MAX_NAME]}
        key = [USAGE.c[name] == value for name, value in {**where, "hour": cell.hour}.items()]
        more = {name: USAGE.c[name] + amount for name, amount in usage._asdict().items()}
        if not connection.execute(update(USAGE).where(*key).values(more)).rowcount:
            row = {**where, "hour": cell.hour, **usage._asdict()}
            connection.execute(insert(USAGE).values(row))


def read_usage(connection: Connection, since: int, tenant: str | None) -> list[tuple[Cell, Usage]]:
    """What was used from an hour on, by tenant, model and hour, in this order.

    Args:
        connection: where it is written.
        since: the first hour's beginning, in seconds since 1970.
        tenant: this tenant's alone; None for all.

    Raises:
        SQLAlchemyError: it cannot be read.
    """
    query = select(USAGE).where(USAGE.c.hour >= since)
    if tenant is not None:
        query = query.where(USAGE.c.tenant == tenant)
    rows = connection.execute(query.order_by(USAGE.c.tenant, USAGE.c.model, USAGE.c.hour))
    return [(Cell(*row[:3]), Usage(*row[3:])) for row in rows]


def give_up_usage(connection: Connection, before: int) -> int:
    """Delete what was used in hours that began before this, in seconds since 1970.

    Returns:
        How many hours of tenants and models that were.

    Raises:
        SQLAlchemyError: they cannot be deleted.
    """
    return connection.execute(delete(USAGE).where(USAGE.c.hour < before)).rowcount


def find_answer(connection: Connection, id_: str) -> Kept | None:
    """The answer that is kept under an id.

    Raises:
        SQLAlchemyError: it cannot be read.
    """
    query = select(KEPT.c.inputs, KEPT.c.answer, KEPT.c.at_s).where(KEPT.c.id == id_)
    row = connection.execute(query).one_or_none()
    return None if row is None else Kept(*row)


def keep_answers(connection: Connection, answers: Mapping[str, Kept], too_old_s: float) -> None:
    """Write answers down; where there is one from after `too_old_s` already, that one stays.

    Raises:
        SQLAlchemyError: they cannot be written.
    """
    for ids in _batches(list(answers)):
        connection.execute(delete(KEPT).where(KEPT.c.id.in_(ids), KEPT.c.at_s < too_old_s))
        there = set(connection.scalars(select(KEPT.c.id).where(KEPT.c.id.in_(ids))))
        rows = [_row(id_, answers[id_]) for id_ in ids if id_ not in there]
        if rows:
            connection.execute(insert(KEPT), rows)


def give_up_answers(connection: Connection, too_old_s: float, max_bytes: int) -> int:
    """Delete answers from before `too_old_s`, and the oldest of those that are too many.

    Returns:
        How many there were of them.

    Raises:
        SQLAlchemyError: they cannot be deleted.
    """
    held = func.sum(KEPT.c.n_bytes).over(order_by=KEPT.c.at_s.desc()).label("held")
    newest_first = select(KEPT.c.at_s, held).subquery()
    query = select(func.max(newest_first.c.at_s)).where(newest_first.c.held > max_bytes)
    beyond_s = connection.scalar(query)
    gone = KEPT.c.at_s < too_old_s
    if beyond_s is not None:
        gone |= KEPT.c.at_s <= beyond_s
    return connection.execute(delete(KEPT).where(gone)).rowcount


def _row(id_: str, kept: Kept) -> dict[str, Any]:
    return {"id": id_, **kept._asdict(), "n_bytes": len(kept.answer)}


def _batches(ids: Sequence[str]) -> Iterable[Sequence[str]]:
    return (ids[begin : begin + _BATCH] for begin in range(0, len(ids), _BATCH))
