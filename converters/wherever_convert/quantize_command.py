"""`wherever quantize`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherever_convert.making_flags import (
    CalibrationOption,
    MaxDropOption,
    ReportOption,
    SeedOption,
    fraction,
)
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
def quantize(
    package: Annotated[Path, typer.Argument(help="A package directory or archive.")],
    *,
    samples: Annotated[Path, typer.Option(help="As for `wherever convert`.", show_default=False)],
    variant: Annotated[
        str | None,
        typer.Option(help="The float variant to start from; the reference by default."),
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(help="int8 (the default), int8-dynamic, fp16, ir-int8, ...; repeatable."),
    ] = None,
    max_drop: MaxDropOption = "1%",
    calibration: CalibrationOption = "minmax",
    metric: Annotated[
        str | None, typer.Option(help="top-1, f1, mAP, ...; by default what suits the model.")
    ] = None,
    columns: ColumnsOption = None,
    label_column: LabelColumnOption = None,
    image_column: ImageColumnOption = None,
    header: HeaderOption = True,
    images: ImagesOption = None,
    form: FormOption = None,
    label_offset: OffsetOption = 0,
    most_samples: MostOption = MOST,
    version: Annotated[
        str | None, typer.Option(help="The package's new version; the next minor one by default.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new directory or archive; PACKAGE by default."),
    ] = None,
    report: ReportOption = None,
    seed: SeedOption = 0,
    json: JsonFlag = False,
) -> None:
    """Add int8 (or other) variants to a package, made of its float one and measured beside it.

    For example: wherever quantize people --samples photos.json --max-drop 1%
    """
    from wherever_convert.enlarging import quantize as enlarge  # noqa: PLC0415 (numpy)

    with stages("reading the samples") as (advance, tell):
        made = enlarge(
            package,
            samples=samples,
            variant=variant,
            targets=target or (),
            max_drop=fraction(max_drop),
            calibration=calibration,
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
            metric=metric,
            version=version,
            output=output,
            page=report,
            seed=seed,
            advance=advance,
            tell=tell,
        )
    Output(json=json).emit(made.to_dict(), made.text)
