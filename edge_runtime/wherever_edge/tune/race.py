"""Who goes on when plans are measured in turns, and what their turns say. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from wherever_devices.measured import Measurement

if TYPE_CHECKING:
    from wherever_devices.plans import RunPlan
    from wherever_devices.profiles import Objective

# Turns after which a plan may be dropped, and after which nothing new is learnt.
FEWEST_TURNS = 3
MOST_TURNS = 15
# A turn lasts about this long, so that one plan's turn sees about the machine of the next one's.
_TURN_S = 0.03
_MOST_RUNS = 200
# A plan that took this much longer than the best one in every round is out.
_CLEARLY = 1.15

_OBJECTIVES: tuple[Objective, ...] = ("latency", "cpu_time")


class Turn(NamedTuple):
    """One plan's part of a round: seconds of each run, and the CPU time of all."""

    runs_s: tuple[float, ...]
    cpu_s: float

    def cost_s(self, objective: Objective) -> float:
        """What a run of this turn cost."""
        return median(self.runs_s) if objective == "latency" else self.cpu_s / len(self.runs_s)


@dataclass(slots=True)
class Contestant:
    """A plan, and how it did so far.

    Attributes:
        plan: the plan.
        turns: one a round; those who are in the race have the same number.
        usual_s: what a run took while it warmed up.
        load_s: opening it took this long.
        memory_bytes: what it added to the memory of its process.
        wrong: how its answers differ, or "".
        failed: why it cannot go on, or "".
        dropped: it is clearly not the best one.
    """

    plan: RunPlan
    turns: list[Turn] = field(default_factory=list[Turn])
    usual_s: float = 0.0
    load_s: float = 0.0
    memory_bytes: int = 0
    wrong: str = ""
    failed: str = ""
    dropped: bool = False

    @property
    def racing(self) -> bool:
        """True while it goes on."""
        return not (self.wrong or self.failed or self.dropped)

    @property
    def told(self) -> bool:
        """True when there is something to keep of it."""
        return bool(self.turns or self.wrong or self.failed)

    def cost_s(self, objective: Objective) -> float:
        """What a run costs, by the median of the rounds."""
        return median(turn.cost_s(objective) for turn in self.turns)

    def next_runs(self) -> int:
        """How many runs its next turn has."""
        usual_s = self.cost_s("latency") if self.turns else self.usual_s
        return max(1, min(_MOST_RUNS, int(_TURN_S / max(usual_s, 1e-9))))

    def measurement(self, variant_digest: str) -> Measurement:
        """What is known of it."""
        if not self.turns:
            return Measurement(variant_digest, self.plan, wrong=self.wrong, failed=self.failed)
        samples = [sample for turn in self.turns for sample in turn.runs_s]
        return Measurement(
            variant_digest,
            self.plan,
            latency_s=self.cost_s("latency"),
            p90_s=_p90(samples),
            cpu_s=self.cost_s("cpu_time"),
            load_s=self.load_s,
            memory_bytes=self.memory_bytes,
            runs=len(samples),
            rounds=len(self.turns),
            wrong=self.wrong,
            failed=self.failed,
        )


Field: TypeAlias = Sequence[Contestant]


def drop_the_slow(contestants: Field) -> None:
    """Mark those who were clearly behind in every round, by latency and by CPU time."""
    left = [each for each in contestants if each.racing and len(each.turns) >= FEWEST_TURNS]
    if len(left) < 2:
        return
    leaders = {goal: min(left, key=lambda each: each.cost_s(goal)) for goal in _OBJECTIVES}
    for each in left:
        each.dropped = all(_is_behind(each, leaders[goal], goal) for goal in _OBJECTIVES)


def finished(contestants: Field) -> bool:
    """True when another round would tell nothing: all are out, or were measured enough."""
    return all(len(each.turns) >= MOST_TURNS for each in contestants if each.racing)


def settled(found: Measurement | None) -> bool:
    """True when nothing more is to be learnt of a plan: it cannot run, or ran often enough."""
    return found is not None and (found.rounds >= FEWEST_TURNS or not found.usable)


def kept(contestants: Iterable[Contestant], variant_digest: str) -> list[Measurement]:
    """What is to be kept of a race."""
    return [each.measurement(variant_digest) for each in contestants if each.told]


def _is_behind(each: Contestant, leader: Contestant, objective: Objective) -> bool:
    pairs = zip(each.turns, leader.turns, strict=False)
    return each is not leader and all(
        own.cost_s(objective) > _CLEARLY * best.cost_s(objective) for own, best in pairs
    )


def _p90(samples: Sequence[float]) -> float:
    return quantiles(samples, n=10, method="inclusive")[-1] if len(samples) > 1 else samples[0]
