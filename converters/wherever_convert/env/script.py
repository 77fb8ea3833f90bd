"""What the scripts share: a job in, a result or an error out, both as JSON files."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wherever_contracts.errors import WhereverError


def main(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Read the job that the first argument names, and write the result that the second names."""
    job, result = map(Path, sys.argv[1:3])
    try:
        outcome = work(json.loads(job.read_text()))
    except WhereverError as error:
        outcome = {"error": str(error), "code": error.code}
    except Exception as error:  # noqa: BLE001 (whatever happened is told to who started us)
        traceback.print_exc()
        outcome = {"error": f"{type(error).__name__}: {error}"}
    result.write_text(json.dumps(outcome))


def fail_in_words(error: BaseException) -> str:
    """The last line of an error, with where in a file it happened."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" (line {frames[-1].lineno} of {frames[-1].filename})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"
