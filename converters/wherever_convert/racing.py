"""Whether a variant is faster than its float one, engine by engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wherever_contracts.errors import EngineError
from wherever_convert.judges import measuring_options
from wherever_convert.measuring import engine_inputs
from wherever_convert.speed import Timing, race, slower
from wherever_edge.bare.manifest import ENGINES_OF

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_convert.draft import DraftVariant
    from wherever_convert.model_file import ModelFile
    from wherever_convert.workbench import Workbench
    from wherever_edge.engines.engine import Session
    from wherever_edge.host import LoadedVariant

_FEEDS = 8
_FLOAT = "float-beside"


@dataclass(frozen=True, slots=True)
class Race:
    """How fast a variant is beside the float one.

    Attributes:
        timings: engine -> what the variant took there.
        engines: engine -> its median as a share of the float variant's.
        slower: engines in which it is slower than can be by chance.
    """

    timings: Mapping[str, Timing]
    engines: Mapping[str, float]
    slower: frozenset[str] = frozenset()

    @property
    def faster(self) -> tuple[str, ...]:
        """The engines in which it is not slower, the fastest first."""
        engines = [each for each in self.engines if each not in self.slower]
        return tuple(sorted(engines, key=lambda each: self.timings[each].median_s))

    def order(self, known: Sequence[str]) -> tuple[str, ...]:
        """The engines to offer: the fastest first, then those that were not looked at."""
        rest = [each for each in known if each not in self.engines]
        return (*self.faster, *rest) if self.faster else tuple(known)

    def words(self) -> str:
        """The same in words."""
        return ", ".join(f"{share:.2f} x in {engine}" for engine, share in self.engines.items())


def race_against_float(bench: Workbench, variant_id: str, floats: Sequence[ModelFile]) -> Race:
    """Let a variant of the draft run against a float one, in every engine that runs both here.

    Args:
        bench: where the variant is.
        variant_id: its id.
        floats: the float files of the same model.
    """
    variant = bench.draft.variant(variant_id)
    timings: dict[str, Timing] = {}
    shares: dict[str, float] = {}
    late: set[str] = set()
    for engine in ENGINES_OF[variant.file.format]:
        found = _raced(bench, variant, engine, floats)
        if found is None:
            continue
        own, other = found
        timings[engine] = own
        shares[engine] = own.median_s / other.median_s
        if slower(own, other):
            late.add(engine)
    return Race(timings, shares, frozenset(late))


def race_together(bench: Workbench) -> dict[tuple[str, str], tuple[Timing, float | None]]:
    """Time every variant of a draft beside the others, in every engine that opens it here.

    Returns:
        (variant id, engine) -> its timing, and its median as a share of the float variant's; None
        for that variant itself, and where the engine runs none.
    """
    found: dict[tuple[str, str], tuple[Timing, float | None]] = {}
    formats = {variant.file.format for variant in bench.draft.variants}
    for engine in sorted({engine for each in formats for engine in ENGINES_OF[each]}):
        timings = _timed_together(bench, engine)
        base = _float_of(bench, timings)
        for variant_id, timing in timings.items():
            alone = base is None or base == variant_id
            share = None if alone else timing.median_s / timings[base or ""].median_s
            found[variant_id, engine] = timing, share
    return found


def _timed_together(bench: Workbench, engine: str) -> dict[str, Timing]:
    with ExitStack() as opened:
        runs: dict[str, tuple[Session, list[dict[str, Array]]]] = {}
        for variant in bench.draft.variants:
            if engine in ENGINES_OF[variant.file.format]:
                with suppress(EngineError):
                    loaded = opened.enter_context(bench.draft.opened(variant.id, engine))
                    runs[variant.id] = (loaded.session, _feeds(bench, loaded))
        return race(runs)


def _float_of(bench: Workbench, timings: Mapping[str, Timing]) -> str | None:
    """The float variant among those that were timed; the reference, if it is one of them."""
    floats = [v.id for v in bench.draft.variants if v.file.precision == "float32"]
    floats.sort(key=lambda each: each != bench.reference)
    return next((each for each in floats if each in timings), None)


def _raced(
    bench: Workbench, variant: DraftVariant, engine: str, floats: Sequence[ModelFile]
) -> tuple[Timing, Timing] | None:
    """What the variant took, and the float file that this engine reads; None where one fails."""
    for file in floats:
        if engine in ENGINES_OF[file.format]:
            try:
                return _timed(bench, variant.id, engine, file)
            except EngineError:
                continue
    return None


def _timed(
    bench: Workbench, variant_id: str, engine: str, file: ModelFile
) -> tuple[Timing, Timing]:
    bench.draft.add(_FLOAT, file)
    try:
        with ExitStack() as opened:
            own = opened.enter_context(bench.draft.opened(variant_id, engine))
            other = opened.enter_context(bench.draft.opened(_FLOAT, engine))
            runs = {each.variant.id: (each.session, _feeds(bench, each)) for each in (own, other)}
            found = race(runs)
            return found[variant_id], found[_FLOAT]
    finally:
        bench.draft.drop(_FLOAT)


def _feeds(bench: Workbench, loaded: LoadedVariant) -> list[dict[str, Array]]:
    options = measuring_options(loaded.signature)
    samples = bench.samples("calibration")[:_FEEDS]
    return [engine_inputs(loaded, each, options) for each in samples]
