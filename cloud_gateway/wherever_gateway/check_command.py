"""`wherever gateway check`: what a gateway would do with a configuration, before it does."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from wherever_edge.cli import FAILED, HomeOption, JsonFlag, Output, printable, run

ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="WHEREVER_GATEWAY_CONFIG",
        metavar="FILE",
        help="A gateway.toml; options of the command win over what it says.",
    ),
]


@run
def check(*, config: ConfigOption = None, home: HomeOption = None, json: JsonFlag = False) -> None:
    """Say what `wherever gateway --config FILE` would serve to whom, and all that is wrong.

    Nothing is started, and a gateway that runs is not disturbed. Exits with 1 when the gateway
    would not start.
    """
    from wherever_gateway.config.account import plain, text_of  # noqa: PLC0415 (not for --help)
    from wherever_gateway.config.examining import examine  # noqa: PLC0415

    found = examine(config, {}, home)
    output = Output(json=json)
    output.emit(
        plain(found.source, found.said, found.faults),
        lambda: printable(text_of(found.source, found.said, found.faults)),
    )
    if any(fault.fatal for fault in found.faults):
        sys.exit(FAILED)
