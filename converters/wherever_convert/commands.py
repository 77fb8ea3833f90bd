"""Commands of this folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from wherever_contracts.errors import ConversionError, PackageError
from wherever_contracts.places import PLACES, Place
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
    """Check a package, and write it to one file that can be handed on.

    `wherever pack add` joins another variant to a package.
    """
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


@run
def pack_add(
    package: Annotated[Path, typer.Argument(help="A package directory or archive.")],
    file: Annotated[Path, typer.Argument(help="An .onnx or .tflite file, or OpenVINO's .xml.")],
    *,
    place: Annotated[
        list[str] | None,
        typer.Option(help="Where it is meant to run; may be repeated. cloud by default."),
    ] = None,
    variant_id: Annotated[
        str | None, typer.Option("--id", help="The variant's name; the file's by default.")
    ] = None,
    precision: Annotated[
        Literal["float32", "float16", "int8"] | None,
        typer.Option(help="What it computes in, where the file does not show it."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="The package's new version; the next minor one by default.")
    ] = None,
    reference: Annotated[
        bool,
        typer.Option("--reference/--no-reference", help="Make it what escalation asks for."),
    ] = True,
    like: Annotated[
        str | None,
        typer.Option(help="The variant whose pipeline to take; the reference by default."),
    ] = None,
    pipeline: Annotated[
        Path | None, typer.Option(help="A JSON file with the steps pre and post, instead.")
    ] = None,
    escalate_below: Annotated[
        float | None,
        typer.Option(
            help="Escalate a device's answer with less confidence than this.", min=0, max=1
        ),
    ] = None,
    sample: Annotated[
        Path | None, typer.Option(help="An image, or a .npy file, to try the variant with.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new directory or archive; PACKAGE by default."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Add a model file to a package as a new variant, such as a large one for the gateway.

    For example: wherever pack add people large.onnx --place cloud --escalate-below 0.8
    """
    from wherever_convert.joining import add_variant  # noqa: PLC0415 (numpy, engines)

    joined = add_variant(
        package,
        file,
        places=_places(place or ["cloud"]),
        variant_id=variant_id,
        precision=precision,
        version=version,
        reference=reference,
        like=like,
        pipeline=pipeline,
        escalate_below=escalate_below,
        sample=None if sample is None else _sample(sample),
        output=output,
    )
    result = {
        "name": joined.package.name,
        "version": joined.package.version,
        "digest": joined.package.digest,
        "path": str(joined.path),
        "variant": joined.variant,
        "reference": joined.package.manifest.reference,
        "checked": joined.checked,
    }
    Output(json=json).emit(result, "\n".join(f"{key:>9}  {value}" for key, value in result.items()))


def _places(given: list[str]) -> list[Place]:
    known: dict[str, Place] = {place: place for place in PLACES}
    unknown = [name for name in given if name not in known]
    if unknown:
        raise ConversionError(f"--place is one of {', '.join(known)}, not {', '.join(unknown)}")
    return [known[name] for name in given]


def _sample(path: Path) -> Any:
    if path.suffix.lower() != ".npy":
        return path
    import numpy as np  # noqa: PLC0415 (90 ms)

    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        raise ConversionError(f"{path} holds no plain array: {error}") from error


def _described(package: Package, path: Path) -> dict[str, Any]:
    return {
        "name": package.name,
        "version": package.version,
        "digest": package.digest,
        "file": str(path),
        "bytes": path.stat().st_size,
    }
