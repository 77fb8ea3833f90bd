"""`wherever prove`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherever_convert.sample_flags import (
    MOST,
    ColumnsOption,
    FormOption,
    HeaderOption,
    ImageColumnOption,
    ImagesOption,
    LabelColumnOption,
    MostOption,
    OffsetOption,
    reading,
)
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
    columns: ColumnsOption = None,
    label_column: LabelColumnOption = None,
    image_column: ImageColumnOption = None,
    header: HeaderOption = True,
    images: ImagesOption = None,
    form: FormOption = None,
    label_offset: OffsetOption = 0,
    most_samples: MostOption = MOST,
    json: JsonFlag = False,
) -> None:
    """Say of each variant, in each engine here, whether it is what it was made as.

    Digests, certificates and golden samples are checked; the exit code is 1 when anything failed.
    """
    from wherever_convert.proof.prove import prove as prove_package  # noqa: PLC0415 (numpy)

    with stages("opening the package") as (advance, tell):
        proof = prove_package(
            package,
            samples,
            engines=engine or (),
            metric=metric,
            reading=reading(
                columns,
                label_column=label_column,
                image_column=image_column,
                header=header,
                images=images,
                form=form,
                label_offset=label_offset,
                most=most_samples,
            ),
            advance=advance,
            tell=tell,
        )
    Output(json=json).emit(proof.to_dict(), proof.view)
    if not proof.passed:
        raise typer.Exit(1)
