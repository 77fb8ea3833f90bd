"""`wherever status`: models, places and problems, as known now."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from wherever.cli._options import Gateways, Packages
from wherever_contracts.durations import duration
from wherever_edge.cli import FAILED, JsonFlag, Output, run

if TYPE_CHECKING:
    from rich.console import RenderableType

    from wherever._escalation.facts import Facts
    from wherever._settings import Settings
    from wherever._status import PlaceStatus, Status
    from wherever.cli._reach import Reach


@run
def command(
    *,
    gateway: Gateways = None,
    packages: Packages = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Also ask each gateway whether it is ready.")
    ] = False,
    timeout_s: Annotated[
        float, typer.Option(min=0.01, help="How long a box or gateway may take to answer a probe.")
    ] = 3.0,
    metrics: Annotated[
        bool,
        typer.Option("--metrics", help="Print counts and gauges in Prometheus' text format alone."),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Show models, places and problems; with --probe, fail when a box or gateway is not ready."""
    from wherever._client import Client  # noqa: PLC0415 (numpy and grpc; not for --help)

    if metrics and (probe or json):
        raise typer.BadParameter("--metrics goes with neither --probe nor --json")
    reaches: dict[str, Reach] = {}
    with Client(gateway or None, packages=packages or None) as client:
        status = client.status()
        if probe:
            reaches = _ask(status, client.settings, timeout_s)
    if metrics:
        sys.stdout.write(status.metrics())
        return
    data = status.to_dict()
    if probe:
        data["probes"] = [reach._asdict() for reach in reaches.values()]
    Output(json=json).emit(data, lambda: _view(status, reaches))
    if not all(reach.ok for reach in reaches.values()):
        raise typer.Exit(FAILED)


def _ask(status: Status, settings: Settings, timeout_s: float) -> dict[str, Reach]:
    """The host of each place but the device -> what came of asking it now."""
    from wherever._access import box_targets, gateway_targets  # noqa: PLC0415
    from wherever.cli._reach import reach_all  # noqa: PLC0415

    targets = [*box_targets(settings), *gateway_targets(settings)]
    asked = [place.host for place in status.places if place.place != "device"]
    return dict(zip(asked, reach_all(targets, timeout_s), strict=True))


def _view(status: Status, reaches: Mapping[str, Reach]) -> str | RenderableType:
    rows = _rows(status, reaches)
    if not sys.stdout.isatty():
        return "\n".join(f"{name:<9}{'  '.join(cells)}".rstrip() for name, *cells in rows)
    from rich.table import Table  # noqa: PLC0415 (60 ms)
    from rich.text import Text  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    before = ""
    for name, *cells in rows:
        style = "yellow" if name == "problem" else ""
        table.add_row(Text("" if name == before else name, "dim"), *(Text(c, style) for c in cells))
        before = name
    return table


def _rows(status: Status, reaches: Mapping[str, Reach]) -> list[tuple[str, ...]]:
    from wherever._status import update_lines  # noqa: PLC0415 (pydantic; not for --help)

    return [
        *(
            ("model", f"{m.name} {m.version}", f"variants {', '.join(m.variants)}; {m.trust}")
            for m in status.models
        ),
        *(("place", place.host, _place(place, reaches)) for place in status.places),
        ("network", str(status.network), ""),
        *(row for facts in status.promises for row in _promise(facts)),
        *(("problem", "", problem) for problem in status.problems),
        *(("updates", "", text) for text in update_lines(status.updates)),
        *(("count", name, str(count)) for name, count in status.counts.items()),
        ("calls", f"mode {status.mode}", f"boundary {status.boundary}"),
        ("home", status.home, ""),
    ]


def _promise(facts: Facts) -> list[tuple[str, ...]]:
    first, *rest = facts.lines()
    return [("promise", first if number == 0 else "", line) for number, line in enumerate(rest)]


def _place(place: PlaceStatus, reaches: Mapping[str, Reach]) -> str:
    found = reaches.get(place.host)
    if found is not None:
        return f"ready, asked in {duration(found.elapsed_s)}" if found.ok else found.why
    from wherever._status import place_line  # noqa: PLC0415 (pydantic; not for --help)

    return place_line(place)
