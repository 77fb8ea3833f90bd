"""One variant's plans, opened beside each other: checked, warmed, and run in turns."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import (
    EngineCrashError,
    EngineError,
    GoldenError,
    MissingExtraError,
    WhereverError,
)
from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines.engine import EngineFacts, Session
from wherever_edge.loaded import LoadedVariant
from wherever_edge.packages.golden import check_golden
from wherever_edge.resident import Resident
from wherever_edge.tune.agreement import contradiction, made_up
from wherever_edge.tune.race import Turn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherever_contracts.manifest import Variant
    from wherever_contracts.tensors import Array
    from wherever_devices.plans import RunPlan
    from wherever_edge.packages.package import Package
    from wherever_edge.tune.crew import Crew, Worker
    from wherever_edge.tune.race import Contestant

# An engine that takes longer counts as hanging.
OPEN_S = 60.0
RUN_S = 30.0


class Contest:
    """The plans of one variant, each open in its engine's worker.

    Args:
        package: the package.
        variant: one of its variants, whose files are here.
        crew: the workers.
    """

    def __init__(self, package: Package, variant: Variant, crew: Crew) -> None:
        self._package = package
        self._variant = variant
        self._crew = crew
        self._open: dict[RunPlan, Worker] = {}
        self._first: tuple[RunPlan, Mapping[str, Array]] | None = None

    def enter(self, contestant: Contestant) -> None:
        """Open a plan, check what it answers, and warm it up; what goes wrong is noted in it."""
        try:
            self._enter(contestant, self._crew.of(contestant.plan.engine))
        except EngineCrashError as crash:
            self._died(contestant, crash)
        except WhereverError as error:
            contestant.failed = str(error)
        if not contestant.racing:
            self._leave(contestant.plan)

    def take_turn(self, contestant: Contestant) -> None:
        """Let a plan run some times, and note how long that took."""
        plan = contestant.plan
        if self._open.get(plan) is not self._crew.of(plan.engine):
            self.enter(contestant)  # its worker died of another plan
        if not contestant.racing:
            return
        try:
            said = self._ask(plan, "run", RUN_S, runs=contestant.next_runs())
        except EngineCrashError as crash:
            self._died(contestant, crash)
        except EngineError as error:
            contestant.failed = str(error)
        else:
            contestant.turns.append(Turn(tuple(said["runs_s"]), said["cpu_s"]))

    def close(self) -> None:
        """Close what is open; the workers stay."""
        for plan in list(self._open):
            self._leave(plan)

    def _enter(self, contestant: Contestant, worker: Worker) -> None:
        plan = contestant.plan
        self._open[plan] = worker
        said = self._ask(
            plan,
            "open",
            OPEN_S,
            plan=asdict(plan),
            root=str(self._package.root),
            variant=self._variant.id,
        )
        contestant.load_s = said["load_s"]
        contestant.failed = "; ".join(said["departures"])
        if contestant.failed:
            return
        contestant.wrong = self._judge(plan, _RemoteSession(self, plan, said))
        warmed = self._ask(plan, "run", RUN_S, runs=0)
        contestant.usual_s = warmed["usual_s"]
        contestant.memory_bytes = max(0, warmed["memory_bytes"] - said["before_bytes"])

    def _judge(self, plan: RunPlan, session: Session) -> str:
        """What is wrong with a plan's answers, by the golden samples or else by the first plan."""
        try:
            loaded = LoadedVariant(self._package, self._variant, Resident.of(plan, session))
            if check_golden(loaded).n:
                return ""
        except GoldenError as error:
            return str(error)
        except MissingExtraError:
            pass  # the pipeline cannot run here; the engine can
        return self._compare(plan, session.run(made_up(session.inputs)))

    def _compare(self, plan: RunPlan, found: Mapping[str, Array]) -> str:
        if self._first is None:
            self._first = plan, found
            return ""
        other, expected = self._first
        why = contradiction(expected, found, (plan.precision, other.precision))
        return why and f"against {other.engine}, {why}"

    def answer(self, plan: RunPlan, feed: Mapping[str, Array]) -> dict[str, Array]:
        """Run a plan once; later turns get the same tensors.

        Raises:
            EngineError: it could not.
        """
        order = {"do": "answer", "key": str(plan)}
        return self._open[plan].ask(order, feed, timeout_s=RUN_S)[1]

    def _ask(self, of: RunPlan, what: str, timeout_s: float, **more: Any) -> dict[str, Any]:
        order = {"do": what, "key": str(of), **more}
        return self._open[of].ask(order, {}, timeout_s=timeout_s)[0]

    def _died(self, contestant: Contestant, crash: EngineCrashError) -> None:
        contestant.failed = str(crash)
        worker = self._open.pop(contestant.plan, None)
        if worker is not None:
            self._crew.bury(worker)

    def _leave(self, plan: RunPlan) -> None:
        worker = self._open.get(plan)
        if worker is not None and worker is self._crew.of(plan.engine):
            try:
                self._ask(plan, "close", RUN_S)
            except EngineCrashError:
                self._crew.bury(worker)
        self._open.pop(plan, None)


class _RemoteSession(Session):
    """A plan that is open in a worker."""

    __slots__ = ("_contest", "_plan")

    def __init__(self, contest: Contest, plan: RunPlan, said: Mapping[str, Any]) -> None:
        inputs, outputs = (
            tuple(TensorSpec(name, dtype, tuple(shape)) for name, dtype, shape in said[side])
            for side in ("inputs", "outputs")
        )
        facts = EngineFacts(plan.engine, "", "", plan.precision, plan.threads, plan.device)
        super().__init__(inputs, outputs, facts)
        self._contest = contest
        self._plan = plan

    def _run(self, feed: dict[str, Array]) -> dict[str, Array]:
        return self._contest.answer(self._plan, feed)
