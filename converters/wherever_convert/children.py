"""Running a script of `wherever_convert.env` in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wherever_contracts.errors import ConversionError, MissingExtraError
from wherever_convert.process_groups import run_in_group

_TIMEOUT_S = 3600
_SHOWN_LINES = 5
_LITTLE_SPACE_BYTES = 64 * 1024
_PACKAGE = "wherever_convert"
# What a caller sets counts; these say what is so otherwise.
_USUAL = {
    "ORT_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TF_CPP_MIN_LOG_LEVEL": "2",
}
# What steers one interpreter does not suit another. An environment that is made without bytecode
# needs leave to write it: a framework takes seconds to compile.
_OURS = frozenset(
    {
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "__PYVENV_LAUNCHER__",
    }
)


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

    Nothing of it outlives an interruption.

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
    result, printed = folder / "result.json", folder / "printed.txt"
    result.unlink(missing_ok=True)
    printed.unlink(missing_ok=True)
    here = python is None or python == Path(sys.executable)
    command = _command_here(script) if here else _command_there(python, script, folder)
    try:
        code = run_in_group(
            [*command, str(folder / "job.json"), str(result)],
            printed,
            env=_variables(os.environ, here=here),
            timeout_s=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise ConversionError(f"{what} took longer than {timeout_s:.0f} s") from error
    except OSError as error:
        raise ConversionError(f"{what} failed: {command[0]} cannot be run: {error}") from error
    return _outcome(result, code, what, printed)


def _command_here(script: str) -> list[str]:
    # -P: nothing of the caller's directory may stand in for a module that the script imports
    return [sys.executable, "-P", "-m", f"{_PACKAGE}.env.{script}"]


def _command_there(python: Path | None, script: str, folder: Path) -> list[str]:
    """The command for another interpreter, which finds a copy of the scripts and nothing else."""
    place = folder / "scripts"
    own = Path(__file__).parent / "env"
    if not place.is_dir():
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(own, place / _PACKAGE / "env", ignore=leave)
        # with it ours is found before one that is installed there
        (place / _PACKAGE / "__init__.py").touch()
        shutil.copy(own / "start.py", place)
    return [str(python), str(place / "start.py"), f"{_PACKAGE}.env.{script}"]


def _variables(given: Mapping[str, str], *, here: bool) -> dict[str, str]:
    # some tools walk sets of names: their files would differ from run to run
    kept = {name: value for name, value in given.items() if here or name not in _OURS}
    return {**_USUAL, **kept, "PYTHONHASHSEED": "0"}


def _outcome(result: Path, code: int, what: str, printed: Path) -> dict[str, Any]:
    try:
        outcome: dict[str, Any] = json.loads(result.read_bytes())
    except (FileNotFoundError, ValueError):
        # none, or half of one: it died, or could not write it
        raise ConversionError(
            f"{what} failed with exit code {code}: {_last_words(printed)}"
        ) from None
    if "error" in outcome:
        if outcome.get("code") == MissingExtraError.code:
            raise MissingExtraError(outcome["error"])
        raise ConversionError(f"{what} failed: {outcome['error']}")
    return outcome


def _last_words(printed: Path) -> str:
    if shutil.disk_usage(printed.parent).free < _LITTLE_SPACE_BYTES:
        return f"no space is left in {printed.parent}"
    lines = printed.read_text(errors="replace").strip().splitlines()[-_SHOWN_LINES:]
    return " / ".join(lines) or "it said nothing"
