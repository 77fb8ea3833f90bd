"""`wherever remove`: take away a model that was added."""

from __future__ import annotations

from typing import Annotated

import typer

from wherever.cli.models import store_of
from wherever_edge.cli import JsonFlag, Output, run


@run
def command(
    model: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model that was added.")],
    *,
    every_version: Annotated[
        bool, typer.Option("--all", help="Remove every version of it that was added.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Remove a model that `wherever add` had brought."""
    from wherever._settings import load_settings  # noqa: PLC0415 (100 ms: only when it runs)
    from wherever_edge.packages.install import Installer  # noqa: PLC0415

    installer = Installer(load_settings().home)
    removed = installer.remove(model, store_of(None), every_version=every_version)
    gone = [str(path) for path in removed]
    Output(json=json).emit({"removed": gone}, "\n".join(f"removed {path}" for path in gone))
