"""What a new configuration changes, and what of it has to wait for a restart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

from wherever_gateway.config.lines import dotted

if TYPE_CHECKING:
    from pydantic import BaseModel

    from wherever_gateway.config.schema import GatewayConfig

# tables and keys that a gateway follows while it runs
LIVE = frozenset({
    "models", "tenants", "backends", "serving.packages", "serving.pinned", "telemetry.log",
})  # fmt: skip


class Changes(NamedTuple):
    """Keys whose values are others than before.

    Attributes:
        now: those that hold from now on.
        at_restart: those that hold once the gateway was started again.
    """

    now: tuple[str, ...]
    at_restart: tuple[str, ...]


def changes(old: GatewayConfig, new: GatewayConfig) -> Changes:
    """What differs between the configuration that holds and one that shall hold."""
    found = [key for table in type(old).model_fields for key in _differing(table, old, new)]
    live = [key for key in found if _is_live(key)]
    return Changes(tuple(live), tuple(key for key in found if key not in live))


def with_live(old: GatewayConfig, new: GatewayConfig) -> GatewayConfig:
    """The configuration that holds from now on: what is followed is new, all else as before."""
    tables: dict[str, Any] = {}
    for table in type(old).model_fields:
        if table in LIVE:
            tables[table] = getattr(new, table)
            continue
        before, after = getattr(old, table), getattr(new, table)
        followed = {key: getattr(after, key) for key in _keys(after) if f"{table}.{key}" in LIVE}
        tables[table] = before.model_copy(update=followed)
    return old.model_copy(update=tables)


def _differing(table: str, old: GatewayConfig, new: GatewayConfig) -> list[str]:
    before, after = _values(getattr(old, table)), _values(getattr(new, table))
    names = list(dict.fromkeys([*before, *after]))
    differ = [name for name in names if before.get(name) != after.get(name)]
    if not differ and list(before) != list(after):
        return [table]  # the same patterns in another order, and the first that fits counts
    return [dotted((table, name)) for name in differ]


def _values(part: BaseModel | dict[str, object]) -> dict[str, object]:
    if isinstance(part, dict):
        return part
    return {key: getattr(part, key) for key in _keys(part)}


def _keys(part: BaseModel) -> list[str]:
    return list(cast("dict[str, object]", type(part).model_fields))


def _is_live(key: str) -> bool:
    return key in LIVE or key.partition(".")[0] in LIVE
