"""`wherever prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherever_edge.cli import JsonFlag, Output, run, stages


@run
def prove(
    package: Annotated[
        Path, typer.Argument(help="A package directory or archive.", show_default=False)
    ],
    *,
    samples: Annotated[
        Path | None,
        typer.Option(help="Measure the metric again on these, as `wherever convert` reads them."),
    ] = None,
    engine: Annotated[
        list[str] | None, typer.Option(help="Only this engine; may be repeated.")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="The metric that the package was converted with.")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Of a .csv: the truth.")] = None,
    image_column: Annotated[str | None, typer.Option(help="Of a .csv: paths of images.")] = None,
    images: Annotated[Path | None, typer.Option(help="The directory of a COCO file.")] = None,
    most_samples: Annotated[
        int, typer.Option(help="Take no more than this many, evenly.", min=1)
    ] = 2000,
    json: JsonFlag = False,
) -> None:
    """Say of each variant, in each engine here, whether it is what it was made as.

    Digests, certificates and golden samples are checked; the exit code is 1 when anything failed.
    """
    from wherever_convert.proof.prove import prove as prove_package  # noqa: PLC0415 (numpy)
    from wherever_convert.samples import SampleOptions  # noqa: PLC0415 (numpy)

    with stages("opening the package") as (advance, tell):
        proof = prove_package(
            package,
            samples,
            engines=engine or (),
            metric=metric,
            reading=SampleOptions(label_column, image_column, images, most_samples),
            advance=advance,
            tell=tell,
        )
    Output(json=json).emit(proof.to_dict(), proof.view)
    if not proof.passed:
        raise typer.Exit(1)
