"""Measuring the plans of packages within a budget of time; what was measured is not done again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from wherever_contracts.errors import PackageError
from wherever_devices.machine import unfit
from wherever_devices.measured import Measurements
from wherever_devices.onednn import VARIABLE
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.tune.candidates import candidates
from wherever_edge.tune.contest import Contest
from wherever_edge.tune.crew import Crew
from wherever_edge.tune.race import Contestant, drop_the_slow, finished, kept, settled

if TYPE_CHECKING:
    from collections.abc import Generator

    from wherever_contracts.manifest import Variant
    from wherever_devices.decision import Decision
    from wherever_devices.machine import EngineState, Machine
    from wherever_devices.plans import RunPlan
    from wherever_edge.packages.package import Package
    from wherever_edge.tune.kept import KeptMeasurements

BUDGET_S = 30.0
# Seconds between two savings while a race goes on.
_SAVE_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be measured of one variant.

    Attributes:
        digest: the variant's, by which measurements are kept.
        missing: plans of which too little is known.
        known: plans of which enough is known.
    """

    package: Package
    variant: Variant
    digest: str
    missing: tuple[RunPlan, ...]
    known: tuple[RunPlan, ...]


@dataclass(frozen=True, slots=True)
class Tuned:
    """What came of it.

    Attributes:
        measured: plans that were measured now.
        known: plans that had been measured before.
        left: plans for which the time was too short; measuring again goes on with them.
        elapsed_s: how long it took.
        refused: variants with damaged files, each with what is wrong.
    """

    measured: int
    known: int
    left: int
    elapsed_s: float
    refused: tuple[str, ...] = ()


class Tuner:
    """Measures engine x device x precision x threads of variants, and keeps the figures.

    The plans of a variant take turns in rounds, so that a noisy moment hits all alike; one that is
    clearly behind leaves. Each engine runs in a process of its own. What is known is saved as it
    comes, so that nothing measured is lost, whatever ends the process.

    Args:
        kept: where figures are kept.
        machine: what this machine is, or imitates.
        decision: which plans are allowed.
        budget_s: how long to measure, about; each variant gets its share of what is left.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        kept: KeptMeasurements,
        machine: Machine,
        decision: Decision,
        *,
        budget_s: float = BUDGET_S,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._kept = kept
        self._machine = machine
        self._decision = decision
        self._budget_s = budget_s
        self._clock = clock
        self._engines = InstalledEngines()
        self._saved_at = clock()
        self._over: Callable[[], None] = lambda: None

    def tune(
        self,
        packages: Sequence[Package],
        *,
        fresh: bool = False,
        progress: Callable[[float], None] = lambda share: None,
    ) -> Tuned:
        """Measure what is not known yet of some packages.

        Args:
            packages: theirs are the variants.
            fresh: measure anew what is known, too.
            progress: called now and then with the share of the time that is over, 0 to 1.

        Raises:
            OverloadedError: somebody else measures under this home.
            OSError: the figures cannot be saved.
        """
        started = self._clock()
        self._over = lambda: progress(min(1.0, (self._clock() - started) / self._budget_s))
        with self._kept.alone(), self._crew() as crew:
            tasks = list(self._tasks(packages, crew, self._kept.load(), fresh=fresh))
            pending = [(task, _damage(task)) for task in tasks if task.missing]
            done = self._measure_all([task for task, why in pending if not why], crew, started)
        progress(1.0)
        whys = [why for _, why in pending]
        known = sum(len(task.known) for task in tasks)
        left = sum(len(task.missing) for task in tasks) - done
        return Tuned(done, known, left, self._clock() - started, tuple(filter(None, whys)))

    def _measure_all(self, tasks: Sequence[Task], crew: Crew, started: float) -> int:
        """How many plans were measured: each task gets its share of the time that is left."""
        crew.start({plan.engine for task in tasks for plan in task.missing})
        done = 0
        for position, task in enumerate(tasks):
            left_s = self._budget_s - (self._clock() - started)
            if position and left_s <= 0:  # the first one is measured however slow the start was
                break
            done += self._measure(task, crew, left_s / (len(tasks) - position))
        return done

    @contextmanager
    def _crew(self) -> Generator[Crew]:
        isa = self._machine.onednn_max_cpu_isa
        crew = Crew(self._machine.usable_cores, {VARIABLE: isa} if isa else {})
        with closing(crew):
            yield crew

    def _tasks(
        self, packages: Sequence[Package], crew: Crew, found: Measurements, *, fresh: bool
    ) -> Iterator[Task]:
        """One for each variant that can run here; those of equal digests are one."""
        seen: set[str] = set()
        for package in packages:
            for variant in package.present():
                digest = package.variant_digest(variant.id)
                if digest not in seen:
                    seen.add(digest)
                    plans = self._plans(variant, crew)
                    of = found.of(digest)
                    known = tuple(plan for plan in plans if settled(of.get(plan)) and not fresh)
                    missing = tuple(plan for plan in plans if plan not in known)
                    yield Task(package, variant, digest, missing, known)

    def _plans(self, variant: Variant, crew: Crew) -> list[RunPlan]:
        states = self._engines.states(variant.needs.engines)
        if unfit(variant.needs, variant.format, self._machine, states):
            return []
        devices = self._devices(states, crew)
        return candidates(variant, states, devices, self._decision)

    def _devices(self, states: Mapping[str, EngineState], crew: Crew) -> dict[str, tuple[str, ...]]:
        """What hardware each engine can use; asked only where more than the CPU is allowed."""
        if self._decision.devices == ("cpu",):
            return dict.fromkeys(states, ("cpu",))
        able = [name for name, state in states.items() if not state.missing]
        return {name: crew.devices(name) for name in able}

    def _measure(self, task: Task, crew: Crew, share_s: float) -> int:
        """Race the plans that are missing, and the best one that is known beside them."""
        ends = self._clock() + share_s
        field = [Contestant(plan) for plan in (*task.missing, *self._anchor(task))]
        with closing(Contest(task.package, task.variant, crew)) as contest:
            try:
                self._race(field, contest, ends, task)
            finally:
                self._save(task, field)
        return sum(each.told for each in field if each.plan in task.missing)

    def _anchor(self, task: Task) -> list[RunPlan]:
        found = self._kept.load().of(task.digest)
        known = [found[plan] for plan in task.known if found[plan].usable]
        best = min(known, key=lambda each: each.cost_s(self._decision.objective), default=None)
        return [best.plan] if best else []

    def _race(self, field: list[Contestant], contest: Contest, ends: float, task: Task) -> None:
        entered: list[Contestant] = []
        for each in field:
            if entered and self._clock() > ends:
                break
            contest.enter(each)
            self._over()
            entered.append(each)
            if not each.racing:
                self._save(task, entered)
        while True:
            for each in [one for one in entered if one.racing]:
                contest.take_turn(each)
            self._over()
            drop_the_slow(entered)
            if finished(entered) or self._clock() > ends:
                break
            if self._clock() - self._saved_at > _SAVE_EVERY_S:
                self._save(task, entered)

    def _save(self, task: Task, field: Sequence[Contestant]) -> None:
        more = kept(field, task.digest)
        if more:
            self._kept.save(self._kept.load().with_these(more))
        self._saved_at = self._clock()


def _damage(task: Task) -> str:
    """What is wrong with the files of a variant, or ""."""
    try:
        for entry in task.variant.files:
            task.package.read(entry)
    except PackageError as error:
        return f"{task.package.name} {task.package.version}, {task.variant.id}: {error}"
    return ""
