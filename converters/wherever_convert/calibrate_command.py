"""`wherever calibrate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherever_convert.sample_flags import (
    MOST,
    ColumnsOption,
    FormOption,
    HeaderOption,
    ImagesOption,
    MostOption,
    OffsetOption,
    reading,
)
from wherever_edge.cli import JsonFlag, Output, run, stages


@run
def calibrate(
    package: Annotated[
        Path,
        typer.Argument(
            help="A package directory or archive; with -o also the name of one in the wheel.",
            show_default=False,
        ),
    ],
    *,
    samples: Annotated[
        Path,
        typer.Option(
            help="A directory with a folder for each class, a COCO .json, a table (.csv, .tsv, "
            ".jsonl, .parquet), or an .npz; the truth need not be known.",
            show_default=False,
        ),
    ],
    small: Annotated[
        str | None,
        typer.Option(help="The variant of the devices; the one preferred here by default."),
    ] = None,
    large: Annotated[
        str | None,
        typer.Option(help="The variant that escalation asks; the reference by default."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="A new directory or archive; PACKAGE by default."),
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="The package's new version; the next minor one by default.")
    ] = None,
    columns: ColumnsOption = None,
    header: HeaderOption = True,
    images: ImagesOption = None,
    form: FormOption = None,
    label_offset: OffsetOption = 0,
    most_samples: MostOption = MOST,
    json: JsonFlag = False,
) -> None:
    """Measure what a small variant's confidence says about the large one's answer, and keep it.

    For example: wherever calibrate people --samples photos -o people-calibrated
    """
    from wherever_convert.calibrating import calibrate as run_both  # noqa: PLC0415 (numpy)

    options = reading(
        columns,
        header=header,
        images=images,
        form=form,
        label_offset=label_offset,
        most=most_samples,
    )
    with stages("reading the samples") as (advance, tell):
        made = run_both(
            package,
            samples,
            small=small,
            large=large,
            output=output,
            version=version,
            reading=options,
            advance=advance,
            tell=tell,
        )
    Output(json=json).emit(made.to_dict(), made.text)
