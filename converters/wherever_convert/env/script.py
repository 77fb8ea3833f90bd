"""What the scripts share: a job in, a result or an error out, both as JSON files.

Like all of `wherever_convert.env` that runs in other environments, it needs nothing of ours.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


class RefusedError(Exception):
    """What was asked for cannot be done; the message says why, for whoever asked."""

    code = "conversion"


class MissingToolError(RefusedError):
    """Something is not installed in this environment.

    Args:
        feature: what needs it.
        tool: the package that is not there, as it is imported.
        command: what installs it.
    """

    code = "missing_extra"

    def __init__(self, feature: str, tool: str, command: str) -> None:
        super().__init__(f"{feature} needs {tool} in this environment: {command}")
        self.feature = feature
        self.tool = tool


def main(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read the job that the first argument names, and write the result that the second names."""
    job, result = map(Path, sys.argv[1:3])
    try:
        outcome = work(json.loads(job.read_text()))
    except Exception as error:  # noqa: BLE001 (whatever happened is told to who started us)
        outcome = _told(error)
    result.write_text(json.dumps(outcome))


def fail_in_words(error: BaseException) -> str:
    """The last line of an error, with where in a file it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def first_words(error: BaseException, most: int = 300) -> str:
    """What an error says, in one line of at most so many characters."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def _told(error: Exception) -> dict[str, str]:
    """An error as plain data; ours have a code, whichever side they come from."""
    code = getattr(error, "code", None)
    if isinstance(code, str):
        return {"error": str(error), "code": code}
    traceback.print_exc()
    return {"error": f"{type(error).__name__}: {error}"}
