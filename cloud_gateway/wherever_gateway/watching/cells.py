"""Counts of calls by model, version and tenant, in a bounded number of cells; pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

# upper ends of the histograms' buckets, in seconds; one more has what is above
BOUNDS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

_MOST_S = 1e6
_MOST_ROWS = 256

# what stands in place of a name when there are too many, or nothing here has it
OTHER = "_other"


class Limits(NamedTuple):
    """How many names have numbers of their own; calls of all others are counted as `OTHER`.

    Attributes:
        models: models.
        versions: of each model, those that came last; the numbers of older ones are dropped.
        tenants: tenants.
        cells: combinations of the three.
    """

    models: int = 256
    versions: int = 8
    tenants: int = 128
    cells: int = 1024


USUAL = Limits()


class Key(NamedTuple):
    """Whose calls a cell counts."""

    model: str
    version: str
    tenant: str


class Failure(NamedTuple):
    """Whose calls had no answer, and the code of the error."""

    model: str
    version: str
    tenant: str
    reason: str


class Spread:
    """A histogram of seconds: calls in each bucket, and the sum."""

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_S) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one more; what no clock says (a server behind this one may) counts as nothing."""
        if not 0.0 <= seconds <= _MOST_S:
            seconds = 0.0
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.sum_s += seconds

    def copy(self) -> Spread:
        """The same as it is now."""
        twin = Spread()
        twin.counts, twin.sum_s = self.counts.copy(), self.sum_s
        return twin


class Tally:
    """How many, and how long they took together."""

    __slots__ = ("count", "sum_s")

    def __init__(self, count: int = 0, sum_s: float = 0.0) -> None:
        self.count = count
        self.sum_s = sum_s

    def add(self, seconds: float) -> None:
        """Count one more; see `Spread.add`."""
        self.count += 1
        if 0.0 <= seconds <= _MOST_S:
            self.sum_s += seconds

    def copy(self) -> Tally:
        """The same as it is now."""
        return Tally(self.count, self.sum_s)


class Cell:
    """The calls that were answered of one model, version and tenant.

    Attributes:
        queue: seconds that they waited for the engine.
        engine: seconds inside the engine.
        total: seconds from their admission to their answer.
        received_bytes: the sizes of their messages.
        last_s: when the last one ended, in seconds since 1970.
        runs: by how many calls shared a run: such calls, and seconds that the engine took.
    """

    __slots__ = ("engine", "last_s", "queue", "received_bytes", "runs", "total")

    def __init__(self) -> None:
        self.queue = Spread()
        self.engine = Spread()
        self.total = Spread()
        self.received_bytes = 0
        self.last_s = 0.0
        self.runs: dict[int, Tally] = {}

    def ran(self, rows: int, engine_s: float) -> None:
        """One of them shared a run with others; beyond 256, their number does not count."""
        self.engine.add(engine_s)
        rows = min(rows, _MOST_ROWS)
        runs = self.runs.get(rows)
        if runs is None:
            runs = self.runs[rows] = Tally()
        runs.add(engine_s)

    def copy(self) -> Cell:
        """The same as it is now."""
        twin = Cell()
        twin.queue, twin.engine = self.queue.copy(), self.engine.copy()
        twin.total, twin.received_bytes = self.total.copy(), self.received_bytes
        twin.last_s = self.last_s
        twin.runs = {rows: tally.copy() for rows, tally in self.runs.items()}
        return twin


class Cells:
    """Cells by model, version and tenant, within limits. Not safe to use from many threads.

    A model has cells once it has answered a call; until then, and for its failures, only where
    `known` says that there is such a model. So names that callers made up take no room.

    Args:
        known: whether a model is served here.
        limits: how many names have numbers of their own.
    """

    def __init__(self, known: Callable[[str], bool], limits: Limits = USUAL) -> None:
        self._known = known
        self._limits = limits
        self._versions: dict[str, list[str]] = {}
        self._tenants: set[str] = set()
        self._found: dict[tuple[str, str, str], Cell] = {}
        self._unread: dict[tuple[str, str], Tally] = {}
        self.answered: dict[Key, Cell] = {}
        self.failed: dict[Failure, Tally] = {}

    def cell(self, model: str, version: str, tenant: str) -> Cell:
        """Where answered calls are counted."""
        cell = self._found.get((model, version, tenant))
        return cell if cell is not None else self._enter(Key(model, version, tenant))

    def failure(self, model: str, version: str, tenant: str, reason: str) -> Tally:
        """Where calls without an answer are counted."""
        label = self._model_that_failed(model)
        known = self._versions.get(label, [])
        newest = known[-1] if known else ""
        return self._failure(
            Failure(label, version if version in known else newest, self.tenant(tenant), reason)
        )

    def unread(self, tenant: str, reason: str) -> Tally:
        """Where calls are counted that were refused before it was known what they ask for."""
        found = self._unread.get((tenant, reason))
        if found is None:
            found = self._failure(Failure(OTHER, "", self.tenant(tenant), reason))
            if self.tenant(tenant) == tenant:  # so that there is a bound
                self._unread[tenant, reason] = found
        return found

    def tenant(self, tenant: str) -> str:
        """What a tenant's calls are counted as."""
        if tenant in self._tenants:
            return tenant
        if len(self._tenants) >= self._limits.tenants:
            return OTHER
        self._tenants.add(tenant)
        return tenant

    def _failure(self, key: Failure) -> Tally:
        if key not in self.failed and len(self.failed) >= self._limits.cells:
            key = Failure(OTHER, "", OTHER, key.reason)
        return self.failed.setdefault(key, Tally())

    def _enter(self, asked: Key) -> Cell:
        key = self._named(asked)
        cell = self.answered.setdefault(key, Cell())
        if key == asked:
            self._found[key] = cell
        return cell

    def _named(self, asked: Key) -> Key:
        """What the calls are counted as."""
        model = asked.model if self._has_room_for(asked.model) else OTHER
        key = Key(model, "", self.tenant(asked.tenant))
        if model != OTHER:
            self._renew(model, asked.version)
            key = key._replace(version=asked.version)
        for counted in (key, key._replace(tenant=OTHER)):
            if counted in self.answered or len(self.answered) < self._limits.cells:
                return counted
        return Key(OTHER, "", OTHER)

    def _renew(self, model: str, version: str) -> None:
        """Remember a version of a model, and drop the oldest when there are too many."""
        versions = self._versions.setdefault(model, [])
        if version in versions:
            return
        versions.append(version)
        if len(versions) > self._limits.versions:
            self._drop(model, versions.pop(0))

    def _drop(self, model: str, version: str) -> None:
        for key in [key for key in self.answered if key[:2] == (model, version)]:
            del self.answered[key]
            self._found.pop(key, None)
        for failure in [each for each in self.failed if each[:2] == (model, version)]:
            del self.failed[failure]

    def _model_that_failed(self, model: str) -> str:
        if model in self._versions:
            return model
        return model if self._known(model) and self._has_room_for(model) else OTHER

    def _has_room_for(self, model: str) -> bool:
        return model in self._versions or len(self._versions) < self._limits.models
