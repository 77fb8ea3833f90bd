"""Where a gateway keeps its state, as its commands are told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

HomeOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--home", envvar="WHEREVER_HOME", help="Where keys and unpacked archives are."),
]


def home_or_default(home: Path | None) -> Path:
    """The directory that was given, or the platform's."""
    from platformdirs import user_data_path  # noqa: PLC0415 (not for other commands)

    return home or user_data_path("wherever", appauthor=False)
