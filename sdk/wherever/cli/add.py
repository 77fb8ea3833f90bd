"""`wherever add`: bring a model to this machine."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever.cli.models import describe, store_of
from wherever_contracts.errors import DownloadError
from wherever_edge.cli import JsonFlag, Output, byte_progress, human_size, printable, run

if TYPE_CHECKING:
    from wherever_edge.packages.package import Package


@run
def command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH|URL",
            help="A model of the catalogue, such as mobilenet (see: wherever catalog); a package "
            "directory or archive (./mobilenet where a name could be meant); or the address of "
            "an archive.",
        ),
    ],
    *,
    mirror: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Take files from this directory, by their digest or name, and ask no network.",
        ),
    ] = None,
    sha256: Annotated[
        str | None, typer.Option("--sha256", help="The digest that an archive must have.")
    ] = None,
    every_variant: Annotated[
        bool, typer.Option("--all", help="Also fetch variants that are not meant for devices.")
    ] = False,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Put it in the place of another one of its version."),
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Add a model: fetched, checked, and then there, whole."""
    from wherever._settings import load_settings  # noqa: PLC0415 (100 ms: only when it runs)
    from wherever_edge.packages.install import Installer, is_address  # noqa: PLC0415

    home = load_settings().home
    with byte_progress("fetching") as tell, _with_a_way_out(offline=mirror is not None):
        installer = Installer(home, mirror=mirror, progress=tell)
        package = installer.install(
            source, sha256=sha256, replace=replace, every_variant=every_variant
        )
    notes = _notes(package)
    if is_address(source) and sha256 is None:
        notes.append(
            "no --sha256 was given: the archive is undamaged, but nothing says who made it"
        )
    data: dict[str, Any] = {**describe(package), "notes": notes}
    Output(json=json).emit(data, lambda: _in_words(package, data))


@contextmanager
def _with_a_way_out(*, offline: bool) -> Generator[None, None, None]:
    """Say what to do about a network that does not answer."""
    try:
        yield
    except DownloadError as error:
        if offline or not error.retryable:
            raise
        raise DownloadError(
            f"{error}; what has arrived is kept. Is there a network, or a proxy to go through "
            f"(HTTPS_PROXY)? --from DIR takes the files from a directory instead"
        ) from error


def _notes(package: Package) -> list[str]:
    """What keeps the package from being used as it is."""
    from wherever_edge.host import LocalHost  # noqa: PLC0415 (numpy: only when it runs)

    host = LocalHost(store_of(None), distance="device")
    choices = [choice for choice in host.choices(package) if choice[0] in package.present()]
    if not all(reason for _, reason in choices):
        return []
    return [f"it cannot run here yet: {variant.id}: {reason}" for variant, reason in choices]


def _in_words(package: Package, data: dict[str, Any]) -> str:
    here = [
        f"{each['id']} ({human_size(each['bytes'])})" for each in data["variants"] if each["here"]
    ]
    absent = [each["id"] for each in data["variants"] if not each["here"]]
    rows = [
        ("from", data["from"]),
        ("variants", ", ".join(here)),
        ("not here", f"{', '.join(absent)} (add --all to fetch)" if absent else ""),
        ("licence", data["licence"] or "not stated"),
        ("trust", data["trust"]),
        ("path", data["path"]),
        *(("note", note) for note in data["notes"]),
    ]
    title = f"added {package.name} {package.version}"
    return "\n".join([title, *(f"  {key:<9} {printable(text)}" for key, text in rows if text)])
