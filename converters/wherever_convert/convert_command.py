"""`wherever convert`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from wherever_contracts.errors import ConversionError
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

if TYPE_CHECKING:
    from wherever_edge.bare.manifest import Pixels

_MAX_LABEL_BYTES = 1024 * 1024


@run
def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A model file or folder, or FILE.py:NAME, an object of a framework or a function "
            "that returns one (the file is run).",
            show_default=False,
        ),
    ],
    *,
    samples: Annotated[
        Path,
        typer.Option(
            help="A directory with a folder for each class, a COCO .json, a table (.csv, .tsv, "
            ".jsonl, .parquet), or an .npz with x and y.",
            show_default=False,
        ),
    ],
    task: Annotated[
        Literal["classify", "detect", "embed", "tensors"],
        typer.Option(help="What the model does.", show_default=False),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="A new directory, or NAME.wherever.", show_default=False
        ),
    ],
    max_drop: MaxDropOption = "1%",
    name: Annotated[str | None, typer.Option(help="The model's name.")] = None,
    version: Annotated[str, typer.Option(help="The package's version.")] = "1.0.0",
    labels: Annotated[
        Path | None, typer.Option(help="A file with a class in each line, in the model's order.")
    ] = None,
    boundary: Annotated[
        Literal["device", "site", "anywhere"], typer.Option(help="How far inputs may travel.")
    ] = "anywhere",
    target: Annotated[
        list[str] | None,
        typer.Option(help="A form to make: int8, fp16, int8-dynamic, ir, litert, ...; repeatable."),
    ] = None,
    profiles: Annotated[
        str | None,
        typer.Option("--for", help="Make what these devices are offered: edge-pc,laptop, ..."),
    ] = None,
    calibration: CalibrationOption = "minmax",
    input_size: Annotated[
        str | None, typer.Option(help="HEIGHTxWIDTH of images, where the file takes any.")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Subtracted: 0.485,0.456,0.406.")] = None,
    std: Annotated[str | None, typer.Option(help="Divided by: 0.229,0.224,0.225.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="What 0-255 is multiplied by before; 1/255 by default.")
    ] = None,
    channels: Annotated[
        Literal["rgb", "bgr", "grey"] | None, typer.Option(help="Their order; rgb by default.")
    ] = None,
    fit: Annotated[
        Literal["stretch", "letterbox", "letterbox_top_left"] | None,
        typer.Option(help="How an image fills the tensor; stretch by default."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(help="PACKAGE or PACKAGE:VARIANT whose signature and pipeline to take."),
    ] = None,
    pipeline: Annotated[
        Path | None, typer.Option(help="A JSON file with the steps: pre, post, signature.")
    ] = None,
    columns: ColumnsOption = None,
    label_column: LabelColumnOption = None,
    image_column: ImageColumnOption = None,
    header: HeaderOption = True,
    images: ImagesOption = None,
    form: FormOption = None,
    label_offset: OffsetOption = 0,
    most_samples: MostOption = MOST,
    metric: Annotated[
        str | None, typer.Option(help="top-1, f1, mAP, ...; by default what suits the task.")
    ] = None,
    report: ReportOption = None,
    python: Annotated[
        Path | None, typer.Option(help="The Python that runs FILE.py; by default one that fits.")
    ] = None,
    allow_code: Annotated[
        bool, typer.Option("--allow-code", help="Read a .pt2 archive: that may run its code.")
    ] = False,
    seed: SeedOption = 0,
    json: JsonFlag = False,
) -> None:
    """Convert a model to a package of variants that are measured, proven and fast enough.

    For example: wherever convert model.onnx --samples photos --task classify -o flowers
    --for edge-pc,laptop --report flowers.html
    """
    from wherever_convert.conversion import convert as convert_model  # noqa: PLC0415 (numpy)

    names = None if labels is None else _lines(labels)
    with stages("reading the samples") as (advance, tell):
        made = convert_model(
            source,
            samples=samples,
            task=task,
            output=output,
            name=name,
            version=version,
            labels=names,
            max_drop=fraction(max_drop),
            boundary=boundary,
            targets=target or (),
            profiles=[] if profiles is None else [each.strip() for each in profiles.split(",")],
            pixels=_pixels(input_size, mean, std, scale, channels, fit),
            reading=reading(
                columns,
                label_column=label_column,
                image_column=image_column,
                header=header,
                images=images,
                form=form,
                labels=names,
                label_offset=label_offset,
                most=most_samples,
            ),
            like=like,
            pipeline=pipeline,
            calibration=calibration,
            metric=metric,
            page=report,
            seed=seed,
            python=python,
            allow_code=allow_code,
            advance=advance,
            tell=tell,
        )
    Output(json=json).emit(made.to_dict(), made.text)


def _lines(path: Path) -> list[str]:
    if path.stat().st_size > _MAX_LABEL_BYTES:
        raise ConversionError(f"{path} has more than {_MAX_LABEL_BYTES} bytes")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ConversionError(f"{path} is no text in UTF-8: {error.reason}") from error
    return [line.strip() for line in lines if line.strip()]


def _pixels(
    size: str | None,
    mean: str | None,
    std: str | None,
    scale: float | None,
    channels: str | None,
    fit: str | None,
) -> Pixels:
    from wherever_edge.bare.manifest import Pixels  # noqa: PLC0415 (numpy)

    if scale is not None and not 0 < scale < math.inf:
        raise ConversionError(f"--scale takes a number above 0, such as 1, not {scale}")
    return Pixels(
        size=None if size is None else _size(size),
        scale=scale,
        mean=None if mean is None else _numbers("--mean", mean),
        std=None if std is None else _numbers("--std", std),
        colour=channels,
        fit=fit,
    )


def _size(text: str) -> tuple[int, int]:
    height, separator, width = text.lower().partition("x")
    if separator and height.isdecimal() and width.isdecimal():
        return int(height), int(width)
    raise ConversionError(f"--input-size takes HEIGHTxWIDTH, such as 224x224, not {text!r}")


def _numbers(option: str, text: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3) or not all(map(math.isfinite, numbers)):
        raise ConversionError(f"{option} takes one number, or three with commas, not {text!r}")
    return numbers
