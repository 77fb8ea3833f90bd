"""The files of the update agent: the state, twice, and the lock that lets one updater work."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from wherever_contracts.errors import UpdateError
from wherever_edge.durable import lock, write_durably
from wherever_edge.updates.state import MAX_STATE_BYTES, State, parse_state

STATE_NAME = "state.json"
_COPY_NAME = "state.copy.json"


def read_state(folder: Path) -> State:
    """What is installed in `folder`; an empty state when nothing ever was.

    Where `state.json` is damaged, the copy that was written after it is read.

    Raises:
        UpdateError: both are damaged, or cannot be read.
    """
    try:
        found = _read(folder / STATE_NAME)
    except UpdateError:
        copy = _read(folder / _COPY_NAME)
        if copy is None:
            raise
        return copy
    return found or _read(folder / _COPY_NAME) or State()


def write_state(folder: Path, state: State) -> None:
    """Keep a state, durably.

    Raises:
        OSError: it cannot be written; the one before is still there.
    """
    data = state.model_dump_json(indent=1).encode()
    write_durably(folder / STATE_NAME, data)
    write_durably(folder / _COPY_NAME, data)


def sweep(folder: Path) -> None:
    """Remove the files that a process which was killed had not named yet."""
    for leftover in (*folder.glob(".*"), *(folder / "tuf").glob("tmp*")):
        if leftover.is_file():
            leftover.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, what: str) -> Generator[None]:
    """Hold a lock that ends with this process, however it ends.

    Args:
        path: the lock's file; made when it is not there.
        what: what the lock is for, in words.

    Raises:
        UpdateError: another process holds it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        held = path.open("a+b")
    except OSError as error:
        raise UpdateError(f"{path} cannot be made: {error.strerror or error}", "disk") from error
    with held as file:
        try:
            lock(file.fileno(), wait=False)
        except OSError as error:
            raise UpdateError(f"{what} is under way already (it holds {path})", "busy") from error
        yield


def _read(path: Path) -> State | None:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_STATE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UpdateError(f"{path}: {error.strerror or error}", "state") from error
    if len(data) > MAX_STATE_BYTES:
        raise UpdateError(f"{path} is damaged (more than {MAX_STATE_BYTES} bytes)", "state")
    return parse_state(data)
