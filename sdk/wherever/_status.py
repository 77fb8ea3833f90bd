"""What a client knows of itself without asking anyone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from wherever_contracts.durations import duration
from wherever_contracts.errors import WhereverError
from wherever_edge.counters import COUNTERS, exposition
from wherever_edge.updates.watching import UpdateState, update_state

if TYPE_CHECKING:
    from wherever._escalation.facts import Facts
    from wherever._remotes import Remote
    from wherever._routing.hints import Hints
    from wherever._settings import Settings
    from wherever._standing import Standing
    from wherever_edge.host import Loaded
    from wherever_edge.host_health.health import HealthFacts
    from wherever_edge.packages.store import Package, Store


# So many recent observations make what is known of a host more than a guess.
_SURE = 3.0


@dataclass(frozen=True, slots=True)
class HostStatus:
    """What the calls and probes of a box or gateway have shown.

    Attributes:
        round_trip_p50_s: an empty call there and back; half of them take no longer.
        round_trip_p95_s: nearly all of them take no longer.
        up_bytes_per_s: how fast data travels to it.
        down_bytes_per_s: how fast answers travel back.
        queue_s: how long a call waits for its engine.
        load: calls inside it over as many as it runs at a time; None: it did not say lately.
        in_flight: calls of this process that are on the way to it.
        limit: how many it answers well at a time.
        ejected_s: for so long it is left out, because others do better; 0: it is not.
        pushed_back_s: for so long it asked to be left alone; 0: it did not.
        samples: how much the times and rates were learned from, each observation counting less as
            it ages; under 3 they are mostly a guess.
    """

    round_trip_p50_s: float
    round_trip_p95_s: float
    up_bytes_per_s: float
    down_bytes_per_s: float
    queue_s: float
    load: float | None
    in_flight: int
    limit: int
    ejected_s: float
    pushed_back_s: float
    samples: float

    def __str__(self) -> str:
        if self.samples < _SURE:
            return f"little known yet; {self.in_flight} of {self.limit} calls on the way"
        crowded = "" if self.load is None else f", load {self.load:.0%}"
        return (
            f"round trip {duration(self.round_trip_p50_s)} (95 %: "
            f"{duration(self.round_trip_p95_s)}), up {_rate(self.up_bytes_per_s)}, "
            f"down {_rate(self.down_bytes_per_s)}, queue {duration(self.queue_s)}{crowded}; "
            f"{self.in_flight} of {self.limit} calls on the way; from {self.samples:.0f} "
            "observations"
        )


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

    `state` is "ready", "offline" (this device is not connected), "down" (it failed, is not asked,
    and is being probed), "returning" (one call is trying it), "doubtful" (a call to it is overdue,
    and it is being probed), "ejected" (it does much worse than the others) or "busy" (it asked to
    be left alone for a while); `why` says what happened; `usual_s` is how long its calls usually
    take, 0 when unknown; `known` is the rest, None for the device.
    """

    place: str
    host: str
    state: str
    why: str
    usual_s: float
    known: HostStatus | None = None


@dataclass(frozen=True, slots=True)
class NetworkStatus:
    """How this device is connected; None is "not known".

    Attributes:
        offline: no network interface is up, or none that is has a route.
        metered: the way to the gateways costs by the byte.
    """

    offline: bool | None
    metered: bool | None

    def __str__(self) -> str:
        way = {None: "not known to be connected", True: "offline", False: "connected"}
        cost = {None: "not known to be metered", True: "metered", False: "not metered"}
        return f"{way[self.offline]}, {cost[self.metered]}"


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
    `promises` are what is known of variants' answers: how far they are the reference's, what
    people said of them, and how the promises stand that calls asked for.
    """

    models: tuple[ModelStatus, ...]
    loaded: tuple[LoadedStatus, ...]
    places: tuple[PlaceStatus, ...]
    network: NetworkStatus
    problems: tuple[str, ...]
    updates: UpdateState
    counts: dict[str, int]
    home: str
    mode: str
    boundary: str
    promises: tuple[Facts, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, ready for JSON."""
        return {**asdict(self), "promises": [facts.to_dict() for facts in self.promises]}

    def metrics(self) -> str:
        """The counts, and what is known of answers, in the text format of Prometheus."""
        if not self.promises:
            return exposition(self.counts, {})
        from wherever._escalation.gauges import gauges_of  # noqa: PLC0415 (seldom needed)

        return exposition(self.counts, gauges_of(self.promises))

    def __str__(self) -> str:
        models = [f"{m.name} {m.version} ({', '.join(m.variants)}; {m.trust})" for m in self.models]
        places = [f"{p.host}: {place_line(p)}" for p in self.places]
        rows = [
            *(("model", text) for text in models),
            *(("loaded", text) for text in map(loaded_line, self.loaded)),
            *(("place", text) for text in places),
            ("network", str(self.network)),
            *(("promise", text) for facts in self.promises for text in promise_lines(facts)),
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
    network: Hints,
    problems: tuple[str, ...] = (),
    loaded: Sequence[Loaded] = (),
    standing: Standing | None = None,
) -> Status:
    """Put the status together; nothing here can fail or wait."""
    models: tuple[ModelStatus, ...] = ()
    promises: tuple[Facts, ...] = ()
    if isinstance(store, WhereverError):
        problems = (*problems, str(store))
    else:
        packages = store.list()
        models = tuple(_model_status(package) for package in packages)
        if standing is not None:
            promises = standing.facts(packages)
            problems = tuple(dict.fromkeys((*problems, *standing.problems)))
        problems = (*problems, *(f"{path}: {error}" for path, error in store.refused()))
    return Status(
        models=models,
        loaded=tuple(map(_loaded_status, loaded)),
        places=(
            PlaceStatus("device", "device", "ready", "", 0.0),
            *(_remote_status(remote, network) for remote in remotes.values()),
        ),
        network=NetworkStatus(*network),
        problems=problems,
        updates=update_state(settings.home),
        counts=COUNTERS.snapshot(),
        home=str(settings.home),
        mode=settings.mode,
        boundary=settings.boundary,
        promises=promises,
    )


def loaded_line(loaded: LoadedStatus) -> str:
    """What was loaded, in a line."""
    size = f"{loaded.bytes / 2**20:.1f} MiB" if loaded.bytes else "size not known"
    where = size if loaded.in_memory else f"out of memory now, took {size}"
    pids = f", process {', '.join(map(str, loaded.pids))}" if loaded.pids else ""
    return f"{loaded.model} {loaded.version}, {loaded.variant} in {loaded.plan}{pids}: {where}"


def place_line(place: PlaceStatus) -> str:
    """How a place stands, in a line."""
    state = f"{place.state} ({place.why})" if place.why else place.state
    return state if place.known is None else f"{state}; {place.known}"


def promise_lines(facts: Facts) -> list[str]:
    """What is known of a variant's answers, the first line saying which it is."""
    first, *rest = facts.lines()
    return [first, *(f"  {line}" for line in rest)]


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


def _remote_status(remote: Remote, network: Hints) -> PlaceStatus:
    health = remote.health
    cost = health.cost
    known = HostStatus(
        cost.round_trip_p50_s,
        cost.round_trip_p95_s,
        cost.up_bytes_per_s,
        cost.down_bytes_per_s,
        cost.queue_s,
        health.load,
        health.in_flight,
        health.limit,
        health.ejected_s,
        health.pushed_back_s,
        cost.samples,
    )
    offline = network.why_not(here=remote.here)
    state, why = ("offline", "") if offline else (_state(health), health.why)
    return PlaceStatus(remote.place, remote.name, state, why, health.usual_s, known)


def _state(health: HealthFacts) -> str:
    """What is known of a host, as a word for somebody who wants to call."""
    if health.state != "closed":
        return "down" if health.state == "open" else "returning"
    if health.pushed_back_s > 0:
        return "busy"
    if health.doubtful:
        return "doubtful"
    return "ejected" if health.ejected_s > 0 else "ready"


def _rate(bytes_per_s: float) -> str:
    size, unit = (1e6, "MB/s") if bytes_per_s >= 1e6 else (1e3, "kB/s")
    return f"{bytes_per_s / size:.3g} {unit}"
