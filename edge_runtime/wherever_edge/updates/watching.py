"""Noticing that an update was installed, whichever process installed it."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from wherever_contracts.errors import UpdateError
from wherever_edge.updates.disk import STATE_NAME, read_state

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UpdateState:
    """How a device stands with its registry.

    Attributes:
        registry: its address, "" when the device never had one.
        refreshed_at: when its signed state was last seen and right (seconds since 1970; 0: never).
        stale: whether the last try to refresh or to install failed.
        problem: why, in words; "" when it did not.
        kind: the same as a word for programs.
        active: model -> the signed version that serves.
        generation: grows whenever another version shall serve.
    """

    registry: str = ""
    refreshed_at: float = 0.0
    stale: bool = False
    problem: str = ""
    kind: str = ""
    active: dict[str, str] = field(default_factory=dict[str, str])
    generation: int = 0


def update_state(home: Path) -> UpdateState:
    """How the device with this home stands with its registry. Never raises, asks nobody."""
    try:
        state = read_state(home / "signed")
    except UpdateError as error:
        return UpdateState(stale=True, problem=str(error), kind=error.kind)
    active = {model: state.followed(model) for model in state.models}
    return UpdateState(
        registry=state.registry,
        refreshed_at=state.refreshed_at,
        stale=state.problem is not None,
        problem=state.problem.message if state.problem else "",
        kind=state.problem.kind if state.problem else "",
        active={model: followed.active for model, followed in active.items() if followed},
        generation=state.generation,
    )


class Watcher:
    """Calls back when another version shall serve; looks every second, on a thread of its own.

    The thread holds no lock while it waits, so a process may fork at any time; in the child there
    is no thread, and `close` does nothing.

    Args:
        home: the home whose `signed` directory is watched.
        callback: called on the watcher's thread. What it raises is logged.
        seen: the generation that the caller has looked at (`Store.generation`), so that an update
            between that look and this moment is not missed; by default the one there is now.
        every_s: seconds between two looks.
    """

    def __init__(
        self,
        home: Path,
        callback: Callable[[], object],
        *,
        seen: int | None = None,
        every_s: float = 1.0,
    ) -> None:
        self._home = home
        self._path = home / "signed" / STATE_NAME
        self._callback = callback
        self._every_s = every_s
        self._ended = threading.Event()
        self._mark = self._look() if seen is None else None
        self._generation = update_state(home).generation if seen is None else seen
        self._thread = threading.Thread(target=self._watch, name="wherever-updates", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking; a callback that is at work ends first."""
        self._ended.set()
        if self._thread is not threading.current_thread():
            self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _watch(self) -> None:
        while not self._ended.wait(self._every_s):
            mark = self._look()
            if mark != self._mark:
                self._mark = mark
                self._compare()

    def _look(self) -> tuple[int, int, int] | None:
        try:
            status = os.stat(self._path)  # noqa: PTH116 (a look a second: no Path to be made)
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _compare(self) -> None:
        generation = update_state(self._home).generation
        if generation == self._generation:
            return
        self._generation = generation
        try:
            self._callback()
        except Exception:  # noqa: BLE001 (what the callback does is not known here)
            _log.exception("what follows an update failed")
