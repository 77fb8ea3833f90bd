"""The engines of this machine, each session of them in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import EngineError
from wherever_edge import plugins
from wherever_edge.engines.installed import GROUP, InstalledEngines
from wherever_edge.isolation import arena, frames
from wherever_edge.isolation.keeper import Keeper
from wherever_edge.isolation.process import refuse_where_impossible
from wherever_edge.isolation.session import IsolatedSession

if TYPE_CHECKING:
    from wherever_devices.machine import EngineState
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.engine import Resources, Session

# Runs at once in one worker: the caller that would be one more waits for a line.
_LEAST_LANES = 2
_MOST_LANES = 8


class IsolatedEngines:
    """What `InstalledEngines` is, with sessions that live in worker processes.

    No runtime is loaded into this process, not even to ask what hardware it can use.

    Raises:
        SettingsError: this system cannot have workers.
    """

    def __init__(self) -> None:
        refuse_where_impossible()
        self._installed = InstalledEngines()
        self._devices: dict[str, tuple[str, ...]] = {}

    def states(self, names: Iterable[str]) -> dict[str, EngineState]:
        """What each of `names` reads and why it cannot be used; without those nobody knows."""
        return self._installed.states(names)

    def open(
        self, plan: RunPlan, file_format: str, files: Sequence[bytes], resources: Resources
    ) -> Session:
        """Open the files of a variant as a plan says, in a new worker.

        Raises:
            EngineError: the engine is not able to, or its process died of it.
        """
        lanes = max(resources.runs, min(os.cpu_count() or 1, _MOST_LANES), _LEAST_LANES)
        size = max(1, sum(map(len, files)))
        cache_dir = resources.cache_dir
        asked = {
            "engine": _where(plan.engine),
            "format": file_format,
            "plan": asdict(plan),
            "resources": {
                **asdict(replace(resources, runs=lanes)),
                "cache_dir": str(cache_dir) if cache_dir else None,
            },
            "sizes": [len(file) for file in files],
            "bytes": size,
        }
        keeper = Keeper(
            plan.engine, asked, kind=frames.LOAD, files=_shared(files, size), lanes=lanes
        )
        return IsolatedSession(keeper, keeper.first_answer())

    def devices(self, name: str) -> tuple[str, ...]:
        """The hardware that an engine can use here; asked once, in a worker.

        Raises:
            EngineError: it could not say.
        """
        if name not in self._devices:
            asked: dict[str, Any] = {"engine": _where(name)}
            keeper = Keeper(name, asked, kind=frames.DEVICES, files=-1, lanes=0)
            try:
                self._devices[name] = tuple(keeper.first_answer())
            finally:
                keeper.close()
        return self._devices[name]


def _where(engine: str) -> str:
    """Where an engine is found: "module:class"; a worker need not look for plug-ins again."""
    found = plugins.entry_points(GROUP).get(engine)
    if found is None:
        raise EngineError(f"no engine named {engine!r} is installed")
    return str(found.value)


def _shared(files: Sequence[bytes], size: int) -> int:
    """A descriptor of the files' bytes, one file after the other.

    Raises:
        EngineError: there is no room.
    """
    try:
        descriptor = arena.anonymous_file(size)
    except OSError as error:
        raise EngineError(f"no {size} bytes of shared memory for the model: {error}") from error
    with arena.mapped(os.dup(descriptor), size) as memory:
        for file in files:
            memory.write(file)
    return descriptor
