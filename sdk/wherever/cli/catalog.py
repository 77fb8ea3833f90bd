"""`wherever catalog`: the models that `wherever add NAME` can fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever.cli.models import store_of
from wherever_contracts.errors import ModelNotFoundError
from wherever_edge.cli import JsonFlag, Output, human_size, printable, run

if TYPE_CHECKING:
    from rich.table import Table

    from wherever_edge.packages.catalogue import Entry


@run
def command(
    name: Annotated[str, typer.Argument(help="One of the models; all when not given.")] = "",
    *,
    json: JsonFlag = False,
) -> None:
    """List well-known models with permissive licences, or show where one comes from."""
    from wherever_edge.packages import catalogue  # noqa: PLC0415 (pydantic: 40 ms)

    output = Output(json=json)
    here = {(package.name, package.version) for package in store_of(None).list()}
    if not name:
        data = [_described(entry, here) for entry in catalogue.entries()]
        output.emit({"models": data}, lambda: _table(data))
        return
    entry = catalogue.find(name)
    if entry is None:
        known = ", ".join(catalogue.names())
        raise ModelNotFoundError(f"the catalogue has no model {name!r} (it has: {known})")
    one = _described(entry, here)
    output.emit(one, lambda: _one(one))


def _described(entry: Entry, here: set[tuple[str, str]]) -> dict[str, Any]:
    manifest = entry.manifest
    device = entry.variants_for("device")
    return {
        "name": entry.name,
        "version": entry.version,
        "summary": manifest.summary,
        "licence": manifest.licence,
        "page": entry.page,
        "here": (entry.name, entry.version) in here,
        "bytes": sum(file.bytes for variant in device for file in variant.files),
        "engines": sorted({name for variant in device for name in variant.needs.engines}),
        "files": [
            {**file.model_dump(), "variant": variant.id, "urls": list(entry.urls[file.path])}
            for variant in manifest.variants
            for file in variant.files
        ],
    }


def _table(models: list[dict[str, Any]]) -> Table:
    from rich.table import Table  # noqa: PLC0415 (60 ms)

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("model", "version", "size", "licence", "", "what it does"):
        table.add_column(
            column,
            justify="right" if column == "size" else "left",
            no_wrap=column == "model",
            min_width=max(len(each["name"]) for each in models) if column == "model" else None,
        )
    for each in models:
        size, state = human_size(each["bytes"]), "here" if each["here"] else ""
        table.add_row(each["name"], each["version"], size, each["licence"], state, each["summary"])
    return table


def _one(model: dict[str, Any]) -> str:
    state = "on this machine" if model["here"] else f"get it: wherever add {model['name']}"
    rows = [
        ("licence", model["licence"]),
        ("engines", " or ".join(model["engines"])),
        ("page", model["page"]),
        ("state", state),
    ]
    for file in model["files"]:
        rows.append(("file", f"{file['path']}, {human_size(file['bytes'])}, for {file['variant']}"))
        rows += [("sha256", file["sha256"]), *(("", url) for url in file["urls"])]
    lines = [f"{model['name']} {model['version']}", model["summary"], ""]
    return "\n".join([*lines, *(f"{key:<8} {printable(text)}" for key, text in rows)])
