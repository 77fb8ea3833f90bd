"""Commands of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_contracts.errors import PackageError
from wherever_edge.cli import JsonFlag, Output, run

if TYPE_CHECKING:
    from wherever_edge.packages.package import Package


@run
def pack(
    directory: Annotated[Path, typer.Argument(help="A package directory, with its model.json.")],
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The archive; NAME-VERSION.wherever by default."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Check a package, and write it to one file that can be handed on."""
    from wherever_edge.packages.archive import archive_name, write_archive  # noqa: PLC0415
    from wherever_edge.packages.package import open_directory  # noqa: PLC0415 (pydantic: 40 ms)

    package = open_directory(directory)
    path = output or Path()
    path = path / archive_name(package) if path.is_dir() else path
    if path.resolve().is_relative_to(package.root):
        raise PackageError(str(path), "", "an archive outside of the package (-o)", "one inside")
    write_archive(package, path)
    result = _described(package, path)
    Output(json=json).emit(result, "\n".join(f"{key:>8}  {value}" for key, value in result.items()))


def _described(package: Package, path: Path) -> dict[str, Any]:
    return {
        "name": package.name,
        "version": package.version,
        "digest": package.digest,
        "file": str(path),
        "bytes": path.stat().st_size,
    }
