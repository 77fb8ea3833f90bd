"""How samples are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wherever_convert.samples.sample import Form

MOST_SAMPLES = 2000


@dataclass(frozen=True, slots=True)
class SampleOptions:
    """How samples are read.

    Attributes:
        label_column: the column of a table that holds the truth.
        image_column: the column that holds images: paths, relative to the table, or bytes.
        images: the directory of a COCO file's images, or of the paths in a table.
        most: no more than this many are read, taken evenly.
        text_column: the column that holds texts.
        columns: what columns are, by role: "label", "image", "text", "file", or the name of an
            input of the model, which takes the numbers of one column or of several.
        header: the first line of a CSV or TSV names its columns; else they are "1", "2", ...
        form: what the samples are, where it does not show: "images", "texts", "files", "rows".
        labels: the names of classes that are given by number (YOLO's label files).
        label_offset: added to classes that are given by number; -1 where they count from 1.
    """

    label_column: str | None = None
    image_column: str | None = None
    images: Path | None = None
    most: int = MOST_SAMPLES
    text_column: str | None = None
    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict[str, str])
    header: bool = True
    form: Form | None = None
    labels: Sequence[str] | None = None
    label_offset: int = 0

    def roles(self) -> dict[str, tuple[str, ...]]:
        """Every column that was named, by role."""
        given = {"label": self.label_column, "image": self.image_column, "text": self.text_column}
        named = {role: (name,) for role, name in given.items() if name is not None}
        several = {
            role: (names,) if isinstance(names, str) else tuple(names)
            for role, names in self.columns.items()
        }
        return {**named, **several}
