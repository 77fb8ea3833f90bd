"""`wherever environments`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_contracts.errors import SettingsError
from wherever_edge.cli import JsonFlag, Output, human_size, run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from wherever_convert.environments.cache import Environment


@run
def environments(
    *,
    make: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Make one now; may be repeated.", show_default=False),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Remove one; may be repeated.", show_default=False),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """List the environments of heavy tools that conversions made, with what they take.

    They are made when they are first needed, and may be removed at any time. They lie in the
    user's cache; WHEREVER_ENVIRONMENTS names another directory.
    """
    from wherever_convert.environments.cache import listed  # noqa: PLC0415 (hashlib, and more)
    from wherever_convert.environments.cache import remove as remove_one  # noqa: PLC0415

    removed = [gone for name in remove or () for gone in remove_one(name)]
    for name in make or ():
        _make(name)
    there = listed()
    data = {**_as_data(there), "removed": [str(each.folder) for each in removed]}
    Output(json=json).emit(data, lambda: _table(there))


def _make(name: str) -> None:
    from wherever_convert.environments.cache import python_of  # noqa: PLC0415 (hashlib, and more)
    from wherever_convert.environments.tool_sets import TOOL_SETS  # noqa: PLC0415

    if name not in TOOL_SETS:
        known = ", ".join(TOOL_SETS)
        raise SettingsError(f"there is no environment {name!r} to make (there are: {known})")
    python_of(TOOL_SETS[name], lambda words: typer.echo(words, err=True))


def _as_data(there: Sequence[Environment]) -> dict[str, Any]:
    from wherever_convert.environments.cache import environments_folder  # noqa: PLC0415
    from wherever_convert.environments.tool_sets import TOOL_SETS  # noqa: PLC0415

    return {
        "folder": str(environments_folder()),
        "environments": [
            {
                "name": each.name,
                "folder": str(each.folder),
                "state": _state(each),
                "size_bytes": each.size_bytes,
            }
            for each in there
        ],
        "known": {
            each.name: {"for": each.title, "megabytes": each.megabytes}
            for each in TOOL_SETS.values()
        },
    }


def _table(there: Sequence[Environment]) -> Table:
    from rich.table import Table  # noqa: PLC0415 (60 ms)

    from wherever_convert.environments.cache import environments_folder  # noqa: PLC0415
    from wherever_convert.environments.tool_sets import TOOL_SETS  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, title=str(environments_folder()), title_justify="left")
    for heading in ("environment", "for", "state", "size"):
        table.add_column(heading, justify="right" if heading == "size" else "left")
    for each in there:
        made_for = TOOL_SETS[each.name].title if each.name in TOOL_SETS else ""
        table.add_row(each.name, made_for, _state(each), human_size(each.size_bytes))
    for name in [name for name in TOOL_SETS if name not in {each.name for each in there}]:
        size = f"about {human_size(TOOL_SETS[name].megabytes * 1_000_000)}"
        table.add_row(name, TOOL_SETS[name].title, "not made", size)
    return table


def _state(each: Environment) -> str:
    if not each.ready:
        return "not whole"
    return "ready" if each.current else "of other versions"
