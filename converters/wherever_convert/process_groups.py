"""Running a program in a process group of its own, so that nothing of it outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_LOOK_S = 0.5


def run_in_group(
    command: Sequence[str],
    printed: Path,
    *,
    env: Mapping[str, str],
    timeout_s: float,
    folder: Path | None = None,
    keep: Sequence[int] = (),
    look: Callable[[], None] | None = None,
) -> int:
    """Run a program; when it takes too long, or we are interrupted, all of its processes are ended.

    Args:
        command: the program and its arguments.
        printed: a file that what it prints is added to.
        env: its environment variables.
        timeout_s: the longest that it may take.
        folder: where it runs; by default where we do.
        keep: open files that it inherits, where the system can do that.
        look: called now and then while it runs.

    Returns:
        Its exit code.

    Raises:
        TimeoutExpired: it took longer than that.
        OSError: it cannot be started.
    """
    with printed.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 (interpreters that we or the user named)
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=folder,
            start_new_session=True,
            pass_fds=() if os.name == "nt" else tuple(keep),
        )
    try:
        return _waited(process, timeout_s, look)
    except BaseException:
        end_group(process)
        raise


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    if os.name == "nt":
        process.kill()
    else:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _waited(
    process: subprocess.Popen[bytes], timeout_s: float, look: Callable[[], None] | None
) -> int:
    if look is None:
        return process.wait(timeout_s)
    until = time.monotonic() + timeout_s
    while True:
        try:
            return process.wait(_LOOK_S)
        except subprocess.TimeoutExpired:
            look()
            if time.monotonic() > until:
                raise
