"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer


def _separated(given: list[str] | None) -> list[str] | None:
    """Addresses, with those apart that were given with commas between them."""
    texts = (part.strip() for each in given or () for part in each.split(","))
    return [text for text in texts if text] or None


Gateways: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        metavar="HOST:PORT",
        callback=_separated,
        help="A gateway that may be asked; may be repeated, or several with commas between them.",
    ),
]
Packages: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(metavar="DIR", help="A package, or a directory of them; may be repeated."),
]
