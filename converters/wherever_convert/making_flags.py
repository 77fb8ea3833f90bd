"""The options with which commands say what is made, and how much it may lose."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import typer

from wherever_contracts.errors import ConversionError

MaxDropOption: TypeAlias = Annotated[
    str, typer.Option(help="Leave out what loses more points of the metric: 1% or 0.01.")
]
CalibrationOption: TypeAlias = Annotated[
    Literal["minmax", "entropy", "percentile"], typer.Option(help="How int8 ranges are found.")
]
ReportOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="Write a page that shows everything: out.html.")
]
SeedOption: TypeAlias = Annotated[int, typer.Option(help="Of all that is drawn.")]


def fraction(text: str) -> float:
    """The number that "1%" or "0.01" stands for.

    Raises:
        ConversionError: it is neither.
    """
    try:
        if text.strip().endswith("%"):
            return float(text.strip()[:-1]) / 100
        return float(text)
    except ValueError:
        raise ConversionError(f"--max-drop takes 1% or 0.01, not {text!r}") from None
