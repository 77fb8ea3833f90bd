"""`wherever inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from wherever_edge.cli import JsonFlag, Output, run


@run
def inspect(
    thing: Annotated[
        Path,
        typer.Argument(
            help="A model file (.onnx, .tflite, .xml), a package or its archive, or a Hugging "
            "Face folder.",
            show_default=False,
        ),
    ],
    *,
    json: JsonFlag = False,
) -> None:
    """Show what is in a model file, a package, or a Hugging Face folder, and what opens it.

    Nothing in it is run; engines try a model file in processes of their own.

    For example: wherever inspect model.onnx
    """
    from wherever_convert.inspecting import inspect as look_into  # noqa: PLC0415 (pydantic: 40 ms)

    found = look_into(thing)
    Output(json=json).emit(found.to_dict(), found.view)
