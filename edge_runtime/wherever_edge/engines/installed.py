"""The engines of this process, by name: which are usable, and which one opens a variant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from wherever_contracts.errors import EngineError
from wherever_devices.machine import EngineState, unable
from wherever_edge import plugins

if TYPE_CHECKING:
    from wherever_contracts.manifest import Variant
    from wherever_edge.engines.engine import Engine, Session

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
        self, variant: Variant, files: Sequence[bytes], *, threads: int
    ) -> tuple[Session, tuple[str, ...]]:
        """Open a variant in the first engine that it names and that is able to.

        Returns:
            The session, and why each engine that the variant prefers to this one was passed over.

        Raises:
            EngineError: none is able to; it tells why, for each.
        """
        passed_over: list[str] = []
        states = self.states(variant.needs.engines)
        for name, reason in unable(variant.needs, variant.format, states).items():
            if reason:
                passed_over.append(f"{name} {reason}")
                continue
            try:
                session = self._engine(name).open(
                    files,
                    file_format=variant.format,
                    precision=variant.precision,
                    threads=threads,
                )
            except EngineError as error:
                passed_over.append(str(error))
            else:
                return session, tuple(passed_over)
        raise EngineError("; ".join(passed_over) or "it names no engine")

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
