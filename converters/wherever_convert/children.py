"""Running a script of `wherever_convert.env` in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError, MissingExtraError

_TIMEOUT_S = 3600
_SHOWN_LINES = 5


def run_child(
    script: str,
    job: dict[str, Any],
    folder: Path,
    what: str,
    *,
    python: Path | None = None,
    timeout_s: float = _TIMEOUT_S,
) -> dict[str, Any]:
    """Run a script with a job in plain data, and return what it made of it.

    Args:
        script: module of `wherever_convert.env`.
        job: what to do, as JSON can hold it.
        folder: a directory for the job, the result and what the script printed.
        what: what is done, for errors ("quantizing the model").
        python: the interpreter of another environment; there the script may import nothing of ours
            but the scripts beside it.
        timeout_s: the longest that it may take.

    Raises:
        ConversionError: the script failed, crashed, or took longer than that.
        MissingExtraError: something that it needs is not installed.
    """
    (folder / "job.json").write_text(json.dumps(job))
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    # -P: nothing of the caller's directory may stand in for a module that the script imports
    interpreter = str(python or sys.executable)
    command = [interpreter, "-P", "-m", f"wherever_convert.env.{script}"]
    command += [str(folder / "job.json"), str(result)]
    with (folder / "printed.txt").open("wb") as printed:
        try:
            code = subprocess.run(  # noqa: S603 (our own script, by this interpreter)
                command,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                # some tools walk sets of names: their files would differ from run to run
                env={"ORT_DISABLE_TELEMETRY": "1", **os.environ, "PYTHONHASHSEED": "0"},
                check=False,
            ).returncode
        except subprocess.TimeoutExpired as error:
            raise ConversionError(f"{what} took longer than {timeout_s:.0f} s") from error
    return _outcome(result, code, what, folder / "printed.txt")


def _outcome(result: Path, code: int, what: str, printed: Path) -> dict[str, Any]:
    if not result.is_file():
        tail = printed.read_text(errors="replace").strip().splitlines()[-_SHOWN_LINES:]
        said = " / ".join(tail) or "it said nothing"
        raise ConversionError(f"{what} failed with exit code {code}: {said}")
    outcome: dict[str, Any] = json.loads(result.read_text())
    if "error" in outcome:
        if outcome.get("code") == MissingExtraError.code:
            raise MissingExtraError(outcome["error"])
        raise ConversionError(f"{what} failed: {outcome['error']}")
    return outcome
