"""`wherever engines`: the engines there are, and whether they keep the rules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_contracts.errors import EngineError, InputError
from wherever_edge import plugins
from wherever_edge.cli import FAILED, JsonFlag, Output, printable, progress, run
from wherever_edge.engines.conformance import Report, check_engine
from wherever_edge.engines.installed import GROUP
from wherever_edge.engines.trial import NotApplicable, Trial

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherever_edge.engines.engine import Engine


@run
def command(
    name: Annotated[str, typer.Argument(help="An engine; all when not given.")] = "",
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Also check the rules that every engine keeps.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """List the engines: what they read, where they run, and with --check whether they conform."""
    engines = _engines(name)
    rows = [_row(each, engine) for each, engine in engines.items()]
    reports = _checked(engines) if check else []
    data: dict[str, Any] = {"engines": rows}
    if check:
        data["reports"] = [report.to_dict() for report in reports]
    Output(json=json).emit(data, lambda: _shown(rows, reports))
    unchecked = check and name and not reports
    if unchecked or not all(report.passed for report in reports):
        sys.exit(FAILED)


def _engines(name: str) -> dict[str, Engine | str]:
    """Name -> the engine, or why its plug-in cannot be loaded."""
    known = plugins.entry_points(GROUP)
    if name and name not in known:
        there = f"one of {', '.join(sorted(known))}"
        raise InputError("name", there, name, kind="argument")
    engines: dict[str, Engine | str] = {}
    for each in [name] if name else sorted(known):
        try:
            engines[each] = plugins.load(GROUP, each)()
        except Exception as error:  # noqa: BLE001 (the named boundary: plug-ins raise anything)
            engines[each] = f"broken: {error}"
    return engines


def _row(name: str, engine: Engine | str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": name,
        "formats": [],
        "missing": "",
        "version": "",
        "provider": "",
        "devices": [],
    }
    if isinstance(engine, str):
        return row | {"missing": engine}
    row["formats"] = [*engine.formats]
    row["missing"] = engine.missing()
    return row if row["missing"] else row | _tried(engine)


def _tried(engine: Engine) -> dict[str, Any]:
    """What the runtime tells: it is imported, and opens a small model if it reads one."""
    devices: tuple[str, ...] = ()
    try:
        devices = engine.devices()
        trial = Trial(engine, devices[0])
        facts = trial.open(trial.forms[0]).facts
    except NotApplicable:
        return {"devices": [*devices]}
    except (EngineError, ImportError, OSError) as error:
        return {"missing": f"broken: {error}"}
    return {"devices": [*devices], "version": facts.version, "provider": facts.provider}


def _checked(engines: Mapping[str, Engine | str]) -> list[Report]:
    usable = [each for each in engines.values() if not isinstance(each, str) and not each.missing()]
    reports: list[Report] = []
    with progress(len(usable), "checking engines") as advance:
        for engine in usable:
            reports.append(check_engine(engine))
            advance()
    return reports


def _shown(rows: list[dict[str, Any]], reports: list[Report]) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415 (60 ms)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("engine", "version", "reads", "devices", box=None, padding=(0, 2, 0, 0))
    for row in rows:
        cells = (row["name"], row["version"], ", ".join(row["formats"]), ", ".join(row["devices"]))
        table.add_row(*map(printable, cells))
    return Group(
        table,
        *(printable(f"{row['name']}: {row['missing']}") for row in rows if row["missing"]),
        *(Text(printable(f"\n{report}"), no_wrap=True, overflow="ignore") for report in reports),
    )
