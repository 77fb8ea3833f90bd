"""The options with which commands say how samples are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

if TYPE_CHECKING:
    from wherever_convert.samples import SampleOptions

ColumnsOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="What a table's columns are: text=a,label=b. Roles are label, text, image, "
        "file, or an input of the model."
    ),
]
HeaderOption: TypeAlias = Annotated[
    bool,
    typer.Option("--header/--no-header", help="The first line of a CSV or TSV names its columns."),
]
LabelColumnOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Of a table: the truth; the same as --columns label=NAME.")
]
ImageColumnOption: TypeAlias = Annotated[
    str | None, typer.Option(help="Of a table: paths of images, as --columns image=NAME.")
]
ImagesOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="The directory of a COCO file's images, or of a table's paths.")
]
FormOption: TypeAlias = Annotated[
    Literal["images", "texts", "files", "rows"] | None,
    typer.Option(help="What the samples are, where it does not show."),
]
OffsetOption: TypeAlias = Annotated[
    int, typer.Option(help="Added to classes that are numbers; -1 where they count from 1.")
]
MostOption: TypeAlias = Annotated[
    int, typer.Option(help="Take no more than this many, evenly.", min=1)
]
MOST = 2000


def reading(
    columns: str | None = None,
    *,
    label_column: str | None = None,
    image_column: str | None = None,
    header: bool = True,
    images: Path | None = None,
    form: Literal["images", "texts", "files", "rows"] | None = None,
    labels: Sequence[str] | None = None,
    label_offset: int = 0,
    most: int = MOST,
) -> SampleOptions:
    """How samples are read, as the options say.

    Raises:
        ConversionError: the columns are written otherwise than "role=NAME,role=NAME".
    """
    from wherever_convert.samples import SampleOptions  # noqa: PLC0415 (numpy)
    from wherever_convert.samples.columns import parse_columns  # noqa: PLC0415 (numpy)

    return SampleOptions(
        label_column=label_column,
        image_column=image_column,
        columns={} if columns is None else parse_columns(columns),
        header=header,
        images=images,
        form=form,
        labels=labels,
        label_offset=label_offset,
        most=most,
    )
