"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Gateways: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(metavar="HOST:PORT", help="A gateway that may be asked; may be repeated."),
]
Packages: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="A package, or a directory of them; may be repeated."),
]
