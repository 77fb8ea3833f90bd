"""Make a LiteRT file of a program of torch.export, with LiteRT's converter for PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wherever_convert.env.script import RefusedError, first_words, main
from wherever_convert.env.tools import tool, versions

_FEATURE = "converting PyTorch modules to LiteRT"


def convert(job: dict[str, Any]) -> dict[str, Any]:
    """Convert a program.

    Args:
        job: `program`, a file that we wrote just before; `output`, a path.

    Returns:
        `tools`: the versions that made it.
    """
    torch, litert = tool("torch", _FEATURE), tool("litert_torch", _FEATURE)
    program = torch.export.load(job["program"])
    arguments, _ = program.example_inputs
    try:
        litert.convert(program.module(), arguments).export(job["output"])
    except Exception as error:
        raise RefusedError(f"litert-torch cannot convert it: {first_words(error)}") from error
    if not Path(job["output"]).is_file():
        raise RefusedError("litert-torch wrote nothing")
    return {"tools": versions("litert-torch", "torch")}


if __name__ == "__main__":
    main(convert)
