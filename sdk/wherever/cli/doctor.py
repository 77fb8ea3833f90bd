"""`wherever doctor`: what is here, what works, and how to mend what does not."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wherever_contracts.errors import SettingsError
from wherever_edge.cli import FAILED, JsonFlag, Output, run

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherever.cli._checkup import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@run
def command(
    *,
    gateway: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST:PORT", help="A gateway to ask; by default those in force."),
    ] = None,
    packages: Annotated[
        list[Path] | None,
        typer.Option(metavar="DIR", help="Packages to check; by default those in force."),
    ] = None,
    timeout_s: Annotated[
        float, typer.Option(min=0.01, help="How long a gateway may take to answer.")
    ] = 3.0,
    json: JsonFlag = False,
) -> None:
    """Check installation, engines, packages, settings, network and gateways.

    The exit code is 1 when something needed does not work.
    """
    findings = list(_findings(gateway, packages, timeout_s))
    worst = next((s for s in ("fail", "warn") if any(f.state == s for f in findings)), "ok")
    data = {"state": worst, "findings": [finding.to_dict() for finding in findings]}
    Output(json=json).emit(data, lambda: _view(findings))
    if worst == "fail":
        sys.exit(FAILED)


def _findings(
    gateway: list[str] | None, packages: list[Path] | None, timeout_s: float
) -> Iterator[Finding]:
    from wherever._access import open_store  # noqa: PLC0415 (pydantic)
    from wherever._settings import Settings, load_settings  # noqa: PLC0415 (pydantic)
    from wherever._surroundings import Surroundings  # noqa: PLC0415
    from wherever.cli import _checkup  # noqa: PLC0415
    from wherever_edge.configured import settings_files  # noqa: PLC0415

    given = {n: v for n, v in (("gateways", gateway), ("packages", packages)) if v}
    wrong = None
    try:
        settings = load_settings(**given)
    except SettingsError as error:
        wrong, settings = error, Settings.model_construct()
    yield from _checkup.look_at_machine(settings)
    yield from _checkup.look_at_installation()
    yield from _checkup.look_at_engines()
    if wrong is None:
        yield from _checkup.look_at_settings(settings, given)
    else:
        mend = f"correct it: the environment, or {' or '.join(map(str, settings_files()))}"
        yield _checkup.Finding("settings", "fail", str(wrong), mend)
    yield from _checkup.look_at_home(settings.home)
    store = open_store(settings)
    yield from _checkup.look_at_packages(store)
    models = sorted({package.name for package in store.list()})
    yield _checkup.look_at_network(settings, Surroundings(settings.metered).network())
    yield from _checkup.look_at_hosts(settings, models, timeout_s)


def _view(findings: Sequence[Finding]) -> str | RenderableType:
    areas = dict.fromkeys(finding.area for finding in findings)
    if not sys.stdout.isatty():
        return "\n".join(_plain_line(finding) for finding in findings)
    from rich.table import Table  # noqa: PLC0415 (60 ms)
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    for area in areas:
        title = area
        for finding in (f for f in findings if f.area == area):
            state = Text(finding.state, _COLOURS[finding.state])
            mend = (f"\n-> {finding.mend}", "bold") if finding.mend else ""
            table.add_row(Text(title, "dim"), state, Text.assemble(finding.text, mend))
            title = ""
    return table


def _plain_line(finding: Finding) -> str:
    mend = f"\n{'':<16}-> {finding.mend}" if finding.mend else ""
    return f"{finding.area:<10}{finding.state:<6}{finding.text}{mend}"
