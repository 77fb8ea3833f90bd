"""Making a model's variants: each target made, measured and raced, then kept or left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_contracts.errors import EngineError
from wherever_convert.racing import Race, race_against_float
from wherever_convert.report import Row
from wherever_convert.targets import GIVEN, TARGETS, CannotMakeError, Job, Made, make, steps_to

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_convert.draft import DraftVariant
    from wherever_convert.environments import Tell
    from wherever_convert.measuring import Measured
    from wherever_convert.model_file import ModelFile
    from wherever_convert.quantizing import Method
    from wherever_convert.workbench import Trial, Workbench

_NAMED = 3  # layers that a refusal names
# Each time the test part takes part in the choice; more often, and it would prove nothing.
_MOST_AGAIN = 2
# Whose makers put more in float when they are told to.
_GIVE_WAY = frozenset({"int8", "litert-int8"})
# 0.83 - 0.82 is more than 0.01 in binary fractions.
ROUNDING = 1e-9
# What is no faster than the float variant is worth its place on a server alone, if anywhere.
_SERVERS: tuple[Place, ...] = ("cloud",)


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be made.

    Attributes:
        stem: what the variants' ids begin with.
        targets: what to make, in this order.
        named: those that were asked for by name: one that cannot be made fails all.
        max_drop: the most that quality may lose, in points of the metric.
        method: how int8 ranges are found.
        seed: of all that is drawn.
    """

    stem: str
    targets: tuple[str, ...]
    named: frozenset[str]
    max_drop: float
    method: Method
    seed: int

    def variant_id(self, target: str) -> str:
        """The id of the variant in that form."""
        return f"{self.stem}-{target}"


@dataclass(frozen=True, slots=True)
class Kept:
    """A variant that is good enough: its answers to the test part, and what they are worth."""

    variant: str
    target: str
    measured: Measured
    trial: Trial
    race: Race


@dataclass
class Making:
    """The variants of one model, one after the other.

    Attributes:
        order: what is to be made.
        bench: where they are tried; its reference is there already.
        no_way: says why a target cannot be made of what is given.
        tell: told what takes long.
        made: target -> its file, and how it was made; at first what the source gave, the reference
            before the others.
        kept: by variant id; the reference before the others.
        left_out: target -> why there is none.
        again: target -> how often it was made again, as the test part found it worse.
    """

    order: Order
    bench: Workbench
    no_way: Callable[[str], str]
    tell: Tell
    made: dict[str, Made]
    kept: dict[str, Kept] = field(default_factory=dict[str, Kept])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    again: dict[str, int] = field(default_factory=dict[str, int])

    def run(self) -> None:
        """Make what was ordered.

        Raises:
            CannotMakeError: a target that was asked for by name cannot be made, or loses too much.
            ConversionError: something else failed.
        """
        self._take(self.bench.draft.variant(self.bench.reference))
        for variant in self.bench.draft.variants:
            if variant.id not in self.kept:
                self._take(variant)
        for target in self.order.targets:
            if target not in self.made or self.order.variant_id(target) not in self.kept:
                self._try(target)

    def rows(self) -> list[Row]:
        """What was kept, the last one first."""
        return [self._row(kept) for kept in reversed(self.kept.values())]

    def _take(self, variant: DraftVariant) -> None:
        """Measure a variant that was there before."""
        is_reference = variant.id == self.bench.reference
        bench = self.bench
        measured = bench.reference_measured() if is_reference else bench.measured(variant.id)
        target = GIVEN[variant.file.format, variant.file.precision]
        trial = bench.trial(measured)
        race = Race({}, {})
        if not is_reference:
            race = race_against_float(bench, variant.id, self._floats())
        self.kept[variant.id] = Kept(variant.id, target, measured, trial, race)

    def _try(self, target: str) -> None:
        try:
            self._make(target)
            while (lost := self._keep(target)) is not None:
                self._make_again(target, lost)
        except CannotMakeError as error:
            if target in self.order.named:
                raise
            self.left_out[target] = str(error)

    def _make(self, target: str) -> None:
        way = steps_to(target, self.made)
        if way is None:
            raise CannotMakeError(self.no_way(target))
        for step in way:
            self.tell(f"making {TARGETS[step].title}")
            self.made[step] = make(self._job(step))

    def _make_again(self, target: str, lost: Trial) -> None:
        """Make it with more in float: the test part found it worse than the calibration part."""
        before = self.made[target]
        self.again[target] = self.again.get(target, 0) + 1
        try:
            made = make(replace(self._job(target), after=before))
        except CannotMakeError as error:
            loss = self._loss(target, lost)
            raise CannotMakeError(f"{loss} With more of it in float: {error}") from error
        facts = {**made.facts, "refused_by_test_part": self.again[target]}
        self.made[target] = replace(made, facts=facts, trace=(*before.trace, *made.trace))

    def _job(self, target: str) -> Job:
        of = next(self.made[each] for each in TARGETS[target].made_of if each in self.made)
        scratch = Path(self.bench.scratch / f"make-{target}-{self.again.get(target, 0)}")
        scratch.mkdir()
        order = self.order
        return Job(
            target=TARGETS[target],
            of=of.file,
            bench=self.bench,
            method=order.method,
            max_drop=order.max_drop,
            seed=order.seed,
            scratch=scratch,
            tell=self.tell,
        )

    def _keep(self, target: str) -> Trial | None:
        """Add the variant to the package, unless it is slower than its float.

        Returns:
            What it is worth, when it lost too much and may be made again with less of it changed.
        """
        variant_id = self.order.variant_id(target)
        draft = self.bench.draft
        self.tell(f"measuring {variant_id}")
        variant = draft.add(variant_id, self.made[target].file)
        variant.engines = self.made[target].engines
        try:
            kept = self._weighed(target, variant_id)
            if self._lost(kept.trial) and self._may_again(target):
                draft.drop(variant_id)
                return kept.trial
            self._refuse_drop(target, kept.trial)
            if kept.race.engines and not kept.race.faster:
                self._refuse_slow(target, kept.race)
                variant.places = _SERVERS
        except EngineError as error:
            draft.drop(variant_id)
            raise CannotMakeError(f"no engine here runs it: {error}") from error
        except CannotMakeError:
            draft.drop(variant_id)
            raise
        variant.engines = kept.race.order(variant.engines)
        self.kept[variant_id] = kept
        return None

    def _weighed(self, target: str, variant_id: str) -> Kept:
        """Measure a variant in an engine that it will be offered to."""
        bench, race = self.bench, Race({}, {})
        measured = bench.measured(variant_id)
        trial = bench.trial(measured)
        if not self._lost(trial):
            race = race_against_float(bench, variant_id, self._floats())
            if race.faster and measured.engine in race.slower:
                measured = bench.measured(variant_id, engine=race.faster[0])
                trial = bench.trial(measured)
        return Kept(variant_id, target, measured, trial, race)

    def _lost(self, trial: Trial) -> bool:
        # a metric that is not a number is no proof
        return not trial.drop <= self.order.max_drop + ROUNDING

    def _may_again(self, target: str) -> bool:
        return target in _GIVE_WAY and self.again.get(target, 0) < _MOST_AGAIN

    def _floats(self) -> list[ModelFile]:
        files = [each.file for each in self.made.values()]
        return [each for each in files if each.precision == "float32"]

    def _refuse_drop(self, target: str, trial: Trial) -> None:
        if self._lost(trial):
            raise CannotMakeError(
                f"{self._loss(target, trial)} Try other ranges (--calibration entropy or "
                f"percentile), or more samples"
            )

    def _loss(self, target: str, trial: Trial) -> str:
        """What was lost, and the layers that int8 hurts most."""
        metric = self.bench.judge("test").metric
        layers = [f"{each.name} ({each.op})" for each in self.made[target].layers[:_NAMED]]
        named = f" Most sensitive: {', '.join(layers)}." if layers else ""
        return (
            f"{target} loses too much: {metric} {trial.value + trial.drop:.4f} in the reference, "
            f"{trial.value:.4f} as {target} on {trial.n} samples, a drop of {trial.drop:.4f}; at "
            f"most {self.order.max_drop:.4f} is allowed (--max-drop).{named}"
        )

    def _refuse_slow(self, target: str, race: Race) -> None:
        """Leave out what is slower, unless it was asked for: then servers may have it."""
        if target not in self.order.named:
            raise CannotMakeError(f"{target} is slower than its float variant: {race.words()}")

    def _row(self, kept: Kept) -> Row:
        variant = self.bench.draft.variant(kept.variant)
        engine = kept.measured.engine
        return Row(
            variant=variant.id,
            target=kept.target,
            precision=variant.file.precision,
            bytes=variant.file.size_bytes,
            metric=self.bench.judge("test").metric,
            value=kept.trial.value,
            n=kept.trial.n,
            drop=kept.trial.drop,
            agreement=kept.trial.agreement,
            engine=engine,
            latency_s=kept.measured.latency_s,
            of_float=kept.race.engines.get(engine),
            places=variant.places,
        )
