"""What a client knows of itself without asking anyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import WhereverError
from wherever_edge.counters import COUNTERS
from wherever_edge.updates.watching import UpdateState, update_state

if TYPE_CHECKING:
    from wherever._remotes import Remote
    from wherever._settings import Settings
    from wherever_edge.host import Loaded
    from wherever_edge.packages.store import Package, Store


# What the states of a breaker mean to somebody who wants to call.
_WORDS = {"closed": "ready", "open": "down", "trial": "returning"}


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model that can be called."""

    name: str
    version: str
    trust: str
    boundary: str
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PlaceStatus:
    """A place that may be asked.

    `state` is "ready", "down" (it failed, is not asked, and is being probed) or "returning" (one
    call is trying it); `why` says what failed; `usual_s` is the usual round trip, 0 when unknown.
    """

    place: str
    host: str
    state: str
    why: str
    usual_s: float


@dataclass(frozen=True, slots=True)
class LoadedStatus:
    """A variant that was loaded here.

    `bytes` is what it took, 0 when that is not known; `pids` are its worker processes, if any.
    """

    model: str
    version: str
    variant: str
    plan: str
    bytes: int
    in_memory: bool
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Status:
    """Models, places and problems, as known now.

    `counts` are those of this process since it began: substitutions, crashes, evictions, ...
    """

    models: tuple[ModelStatus, ...]
    loaded: tuple[LoadedStatus, ...]
    places: tuple[PlaceStatus, ...]
    problems: tuple[str, ...]
    updates: UpdateState
    counts: dict[str, int]
    home: str
    mode: str
    boundary: str

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, ready for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        models = [f"{m.name} {m.version} ({', '.join(m.variants)}; {m.trust})" for m in self.models]
        places = [f"{p.host}: {p.state}{f' ({p.why})' if p.why else ''}" for p in self.places]
        rows = [
            *(("model", text) for text in models),
            *(("loaded", text) for text in map(loaded_line, self.loaded)),
            *(("place", text) for text in places),
            *(("problem", text) for text in self.problems),
            *(("updates", text) for text in update_lines(self.updates)),
            *(("count", f"{name} {count}") for name, count in self.counts.items()),
            ("calls", f"mode {self.mode}, boundary {self.boundary}"),
            ("home", self.home),
        ]
        return "\n".join(f"{name:>8}  {text}" for name, text in rows)


def make_status(
    settings: Settings,
    store: Store | WhereverError,
    remotes: Mapping[str, Remote],
    problems: tuple[str, ...] = (),
    loaded: Sequence[Loaded] = (),
) -> Status:
    """Put the status together; nothing here can fail or wait."""
    models: tuple[ModelStatus, ...] = ()
    if isinstance(store, WhereverError):
        problems = (*problems, str(store))
    else:
        models = tuple(_model_status(package) for package in store.list())
        problems = (*problems, *(f"{path}: {error}" for path, error in store.refused()))
    return Status(
        models=models,
        loaded=tuple(map(_loaded_status, loaded)),
        places=(
            PlaceStatus("device", "device", "ready", "", 0.0),
            *(_remote_status(remote) for remote in remotes.values()),
        ),
        problems=problems,
        updates=update_state(settings.home),
        counts=COUNTERS.snapshot(),
        home=str(settings.home),
        mode=settings.mode,
        boundary=settings.boundary,
    )


def loaded_line(loaded: LoadedStatus) -> str:
    """What was loaded, in a line."""
    size = f"{loaded.bytes / 2**20:.1f} MiB" if loaded.bytes else "size not known"
    where = size if loaded.in_memory else f"out of memory now, took {size}"
    pids = f", process {', '.join(map(str, loaded.pids))}" if loaded.pids else ""
    return f"{loaded.model} {loaded.version}, {loaded.variant} in {loaded.plan}{pids}: {where}"


def update_lines(updates: UpdateState) -> list[str]:
    """How the device stands with its registry; nothing when it never had one."""
    if not updates.registry and not updates.stale:
        return []
    seen = "never seen"
    if updates.refreshed_at:
        seen = f"seen {datetime.fromtimestamp(updates.refreshed_at, UTC):%Y-%m-%d %H:%M} UTC"
    trouble = f"; cannot refresh, what was verified goes on serving: {updates.problem}"
    return [f"{updates.registry}, {seen}{trouble if updates.stale else ''}"]


def _model_status(package: Package) -> ModelStatus:
    return ModelStatus(
        package.name,
        package.version,
        package.trust,
        package.manifest.boundary,
        tuple(variant.id for variant in package.present()),
    )


def _loaded_status(loaded: Loaded) -> LoadedStatus:
    return LoadedStatus(
        loaded.model,
        loaded.version,
        loaded.variant,
        str(loaded.plan),
        loaded.held_bytes,
        loaded.in_memory,
        loaded.pids,
    )


def _remote_status(remote: Remote) -> PlaceStatus:
    health = remote.health
    return PlaceStatus(remote.place, remote.name, _WORDS[health.state], health.why, health.usual_s)
