"""`wherever models`: the packages known here, or one of them in detail."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from wherever_contracts.errors import PackageError
from wherever_edge.cli import (
    FAILED,
    JsonFlag,
    Output,
    error_data,
    human_size,
    printable,
    progress,
    run,
)

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from wherever_contracts.manifest import InputEntry, OptionEntry, Signature, Variant
    from wherever_edge.packages.store import Package, Store

REACH = {
    "device": "the data stays on this device",
    "site": "the data may go to boxes on this site",
    "anywhere": "the data may go to gateways",
}
_SHOWN_LABELS = 10


@run
def command(
    name: Annotated[
        str, typer.Argument(help='A model, such as "digits" or "digits@1.0"; all when not given.')
    ] = "",
    *,
    packages: Annotated[
        list[Path] | None,
        typer.Option("--packages", help="A directory of packages, a package, or an archive."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also check every byte of every package.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """List the models that are known here, or show one of them."""
    store = store_of(packages)
    shown = [store.get(name)] if name else store.list()
    refused = [] if name else [(str(path), error) for path, error in store.refused()]
    if verify:
        shown, damaged = _verified(shown)
        refused += damaged
    output = Output(json=json)
    if name and shown:
        output.emit(describe(shown[0]), lambda: _one(shown[0]))
    else:
        data = {
            "models": [describe(package) for package in shown],
            "refused": [{"path": path, **error_data(error)} for path, error in refused],
        }
        output.emit(data, lambda: _all(shown, refused))
    if refused and (verify or not shown):
        raise typer.Exit(FAILED)


def describe(package: Package) -> dict[str, Any]:
    """A package as plain data."""
    manifest = package.manifest
    return {
        "name": package.name,
        "version": package.version,
        "summary": manifest.summary,
        "licence": manifest.licence,
        "boundary": manifest.boundary,
        "reference": manifest.reference,
        "trust": package.trust,
        "digest": package.digest,
        "path": str(package.root),
        "from": origin(package),
        "signature": manifest.signature.model_dump(mode="json", exclude_none=True),
        "variants": [_variant(package, variant) for variant in manifest.variants],
    }


def origin(package: Package) -> str:
    """Where a package came from, in words."""
    if package.trust == "wheel":
        return "wherever itself"
    if package.trust == "signed":
        return "a signed update"
    return _added_from(package) or "this disk"


def _trust(package: Package) -> str:
    """How far a package can be trusted, and for one that was added, from where."""
    source = _added_from(package)
    return f"trust {package.trust}, from {source}" if source else f"trust {package.trust}"


def _added_from(package: Package) -> str:
    if package.trust != "local":
        return ""
    from wherever_edge.packages.shelf import Shelf  # noqa: PLC0415 (only for local ones)

    return Shelf(package.root.parent).origin(package)


def store_of(packages: list[Path] | None) -> Store:
    """The packages that a client would know; those of `packages` alone go before what was added."""
    from wherever._access import open_store  # noqa: PLC0415 (100 ms: only when it runs)
    from wherever._settings import load_settings  # noqa: PLC0415

    return open_store(load_settings(packages=tuple(packages) if packages else None))


def _verified(packages: list[Package]) -> tuple[list[Package], list[tuple[str, PackageError]]]:
    good: list[Package] = []
    bad: list[tuple[str, PackageError]] = []
    with progress(len(packages), "checking") as advance:
        for package in packages:
            try:
                package.verify()
                good.append(package)
            except PackageError as error:
                bad.append((str(package.root), error))
            advance()
    return good, bad


def _variant(package: Package, variant: Variant) -> dict[str, Any]:
    return {
        "id": variant.id,
        "precision": variant.precision,
        "places": list(variant.places),
        "bytes": _size(variant),
        "here": variant in package.present(),
        "engines": list(variant.needs.engines),
        "digest": package.variant_digest(variant.id),
        "quality": [quality.model_dump(mode="json") for quality in variant.quality],
    }


def _all(packages: list[Package], refused: list[tuple[str, PackageError]]) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    parts: list[RenderableType] = [_table(packages)] if packages else []
    for path, error in refused:
        why = printable(f"{path}\n  {error}")
        parts.append(Text.assemble(("refused ", "bold red"), why, no_wrap=True, overflow="ignore"))
    return Group(*parts)


def _table(packages: list[Package]) -> Table:
    from rich.text import Text  # noqa: PLC0415

    table = _grid("left", "left", "right", "left")
    for package in packages:
        title = Text(f"{package.name} {package.version}", "bold")
        boundary = f"boundary {package.manifest.boundary}"
        table.add_row(title, boundary, "", Text(printable(_trust(package))))
        for variant in package.manifest.variants:
            figure = Text("".join(_figures(variant)[:1]))
            size = _here(package, variant)
            table.add_row(f"  {variant.id}", ", ".join(variant.places), size, figure)
    return table


def _one(package: Package) -> RenderableType:
    from rich.console import Group  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    facts = _grid("left", "left")
    for key, value in _rows(package):
        facts.add_row(Text(key, "dim"), Text(printable(value)))
    title = Text(f"{package.name} {package.version}", "bold")
    summary = package.manifest.summary
    return Group(title, *([Text(printable(summary))] if summary else []), Text(), facts)


def _rows(package: Package) -> list[tuple[str, str]]:
    manifest = package.manifest
    return [
        *_signature_rows(manifest.signature),
        *(("variant", _variant_in_words(package, variant)) for variant in manifest.variants),
        ("boundary", f"{manifest.boundary}: {REACH[manifest.boundary]}"),
        ("trust", package.trust),
        ("licence", manifest.licence or "not stated"),
        ("digest", package.digest),
        ("path", str(package.root)),
        ("from", origin(package)),
    ]


def _variant_in_words(package: Package, variant: Variant) -> str:
    role = ", the reference" if variant.id == package.manifest.reference else ""
    needs = [" or ".join(variant.needs.engines), *variant.needs.cpu_features]
    if variant.needs.memory_bytes:
        needs.append(f"{human_size(variant.needs.memory_bytes)} of memory")
    lines = [
        f"{variant.id}{role}: {variant.precision}, {_here(package, variant)}",
        f"for {', '.join(variant.places)}; needs {', '.join(needs)}",
    ]
    measured = zip(_figures(variant), variant.quality, strict=True)
    lines += [f"{figure} on {each.n:,} of {each.dataset}" for figure, each in measured]
    return "\n  ".join(lines)


def _signature_rows(signature: Signature) -> list[tuple[str, str]]:
    return [
        *(("takes", f"{entry.name}: {_input(entry)}") for entry in signature.inputs),
        ("gives", _value(signature)),
        *(("option", _option(option)) for option in signature.options),
    ]


def _input(entry: InputEntry) -> str:
    if entry.kind == "text":
        return "text"
    if entry.kind == "bytes":
        return "a file, or bytes"
    if entry.kind == "tensor":
        return f"an array of {entry.dtype}{list(entry.shape or ())}{_range(entry.min, entry.max)}"
    numbers = entry.numbers
    if numbers is None:
        return "an image"
    scale = _range(numbers.min, numbers.max)
    return f"an image, or an array of {numbers.dtype}{list(numbers.shape)}{scale}"


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return ""
    return f", {low:g} to {high:g}"


def _value(signature: Signature) -> str:
    value = signature.value
    if value.kind == "label":
        return f"one of {_labels(value.labels)}"
    if value.kind == "detections":
        return f"detections, of {_labels(value.labels)}"
    outputs = {entry.name: entry.spec() for entry in signature.outputs}
    if value.kind == "embedding":
        return f"an embedding, {outputs[value.vector]}"
    return ", ".join(f"{name}: {spec}" for name, spec in outputs.items())


def _labels(labels: tuple[str, ...]) -> str:
    more = ", ..." if len(labels) > _SHOWN_LABELS else ""
    return f"{len(labels)} labels ({', '.join(labels[:_SHOWN_LABELS])}{more})"


def _option(option: OptionEntry) -> str:
    text = f"{option.name}={option.default:g}, {option.min:g} to {option.max:g}"
    return f"{text}: {option.help}" if option.help else text


def _figures(variant: Variant) -> list[str]:
    return [printable(f"{each.metric} {each.value:.4g}") for each in variant.quality]


def _here(package: Package, variant: Variant) -> str:
    return human_size(_size(variant)) if variant in package.present() else "not here"


def _size(variant: Variant) -> int:
    return sum(entry.bytes for entry in variant.files)


def _grid(*justify: Literal["left", "right"]) -> Table:
    from rich.table import Table  # noqa: PLC0415

    table = Table.grid(padding=(0, 2, 0, 0))
    for each in justify:
        table.add_column(justify=each, overflow="fold")
    return table
