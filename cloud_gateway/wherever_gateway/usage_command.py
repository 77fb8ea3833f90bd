"""`wherever gateway usage`: what tenants used, as the gateway wrote it down."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import reduce
from itertools import groupby
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from wherever_contracts.durations import duration
from wherever_contracts.errors import SettingsError
from wherever_edge.cli import HomeOption, JsonFlag, Output, human_size, printable, run
from wherever_gateway.check_command import ConfigOption

if TYPE_CHECKING:
    from rich.table import Table

    from wherever_gateway.state.ledger import Cell, Usage

Rows: TypeAlias = "list[tuple[Cell, Usage]]"

_AGO = re.compile(r"([0-9]{1,6}) ?([hdw])")
_SECONDS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_HOUR_S = 3600
_WIDEST = 400


@run
def usage(
    *,
    since: Annotated[
        str,
        typer.Option(
            "--since", help='How long ago, as "24h", "7d" or "4w", or a day or time in UTC.'
        ),
    ] = "30d",
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Only this one: the name of its API keys.")
    ] = None,
    config: ConfigOption = None,
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """Say what each tenant used of each model, also while the gateway runs.

    Counted are calls that were answered, that failed, that were refused, and
    that got the answer of an earlier call with the same idempotency key; bytes
    of requests and of the tensors in answers; and seconds of engines. A gateway
    writes every few seconds. --json has every hour by itself.
    """
    begin = _begin(since, time())
    rows = _read(_url(config, home), begin, tenant)
    data = {"since": _utc(begin), "usage": [_row(*row) for row in rows]}
    Output(json=json).emit(data, lambda: _lines(_table(rows)) if rows else _nothing(begin, tenant))


def _begin(since: str, now_s: float) -> int:
    """The beginning of the first hour, in seconds since 1970.

    Raises:
        SettingsError: `since` is no time.
    """
    ago = _AGO.fullmatch(since.strip())
    if ago is not None:
        at_s = now_s - int(ago[1]) * _SECONDS[ago[2]]
    else:
        try:
            at = datetime.fromisoformat(since)
        except ValueError:
            raise SettingsError(
                f'--since: expected "24h", "7d", "4w", or a time like "2026-11-01" or '
                f'"2026-11-01T08:00", found {since!r}'
            ) from None
        at_s = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return max(0, int(at_s)) // _HOUR_S * _HOUR_S


def _url(config: Path | None, home: Path | None) -> str:
    """Where the gateway keeps its state.

    Raises:
        SettingsError: the configuration cannot be read.
    """
    from wherever_gateway.config.effective import home_of  # noqa: PLC0415 (not for --help)
    from wherever_gateway.config.reading import parse_config, text_of  # noqa: PLC0415
    from wherever_gateway.config.schema import GatewayConfig  # noqa: PLC0415
    from wherever_gateway.state.location import default_url  # noqa: PLC0415

    said = GatewayConfig()
    if config is not None:
        said = parse_config(text_of(config), source=str(config), base=config.absolute().parent)
    url = said.state.url
    return default_url(home_of(said, home)) if url is None else url.get_secret_value()


def _read(url: str, begin: int, tenant: str | None) -> Rows:
    """What is written down.

    Raises:
        SettingsError: nothing is, or it cannot be read.
        MissingExtraError: what reads it is not installed.
    """
    from wherever_gateway.state.reading import read_usage_at  # noqa: PLC0415 (not for --help)

    return read_usage_at(url, begin, tenant)


def _row(cell: Cell, usage: Usage) -> dict[str, Any]:
    return {**cell._asdict(), "hour": _utc(cell.hour), **usage._asdict()}


def _utc(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _nothing(begin: int, tenant: str | None) -> str:
    by = "" if tenant is None else f" by {printable(tenant)}"
    return f"nothing was used{by} since {_utc(begin)}"


def _table(rows: Rows) -> Table:
    """One line for each tenant and model, hours added up."""
    from rich.table import Table  # noqa: PLC0415 (60 ms)

    table = Table(box=None, pad_edge=False)
    for heading in ("tenant", "model"):
        table.add_column(heading, overflow="fold")
    for heading in ("calls", "failed", "refused", "repeated", "in", "out", "engines"):
        table.add_column(heading, justify="right")
    for (tenant, model), group in groupby(rows, lambda row: row[0][:2]):
        names = printable(tenant) or "(no key)", printable(model) or "(unknown)"
        table.add_row(*names, *_amounts(reduce(_plus, (each for _, each in group))))
    return table


def _lines(table: Table) -> str:
    """The table with each row on a line of its own, however narrow the terminal is."""
    from rich.console import Console  # noqa: PLC0415 (60 ms)

    console = Console(width=_WIDEST, highlight=False, markup=False, emoji=False)
    with console.capture() as shown:
        console.print(table)
    return "\n".join(line.rstrip() for line in shown.get().splitlines())


def _plus(one: Usage, other: Usage) -> Usage:
    return one.plus(other)


def _amounts(usage: Usage) -> list[str]:
    counts = map(str, (usage.calls, usage.failed, usage.refused, usage.repeated))
    sizes = map(human_size, (usage.bytes_in, usage.bytes_out))
    return [*counts, *sizes, duration(usage.engine_s)]
