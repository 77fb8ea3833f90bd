"""The engines of this process, by name: which are usable, and which one opens a variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wherever_devices.machine import EngineState
from wherever_edge import plugins

if TYPE_CHECKING:
    from wherever_devices.plans import RunPlan
    from wherever_edge.engines.engine import Engine, Resources, Session

GROUP = "wherever.engines"


class InstalledEngines:
    """Engines are made when they are first asked about; no runtime is imported for that."""

    def __init__(self) -> None:
        self._made: dict[str, Engine] = {}

    def states(self, names: Iterable[str]) -> dict[str, EngineState]:
        """What each of `names` reads and why it cannot be used; without those nobody knows."""
        known = plugins.entry_points(GROUP)
        return {name: self._state(name) for name in names if name in known}

    def open(
        self, plan: RunPlan, file_format: str, files: Sequence[bytes], resources: Resources
    ) -> Session:
        """Open the files of a variant as a plan says.

        Raises:
            EngineError: the engine is not able to.
        """
        return self._engine(plan.engine).open(
            files, file_format=file_format, plan=plan, resources=resources
        )

    def devices(self, name: str) -> tuple[str, ...]:
        """The hardware that an engine can use here; imports its runtime."""
        return self._engine(name).devices()

    def _engine(self, name: str) -> Engine:
        if name not in self._made:
            self._made[name] = plugins.load(GROUP, name)()
        return self._made[name]

    def _state(self, name: str) -> EngineState:
        try:
            engine = self._engine(name)
        except Exception as error:  # noqa: BLE001 (the named boundary: plug-ins raise anything)
            return EngineState((), f"broken: {error}")
        return EngineState(engine.formats, engine.missing())
