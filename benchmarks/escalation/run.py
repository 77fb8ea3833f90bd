"""The bench for promises: `python benchmarks/escalation/run.py [NAME ...] [--json]`.

Two real variants answer every input of the test data once. Then thresholds are set from samples of
those pairs, and it is counted how often the level holds, and what is escalated for it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from escalation.cascades import CASCADES
from escalation.miners import at_defaults, swept
from escalation.pairs_of import Pool, pool_of
from escalation.splits import (
    Elsewhere,
    certified,
    conformal,
    drawn,
    elsewhere,
    escalated_at_equal_risk,
    halves,
    plug_in,
    population_of,
)
from wherever._escalation.words import CONFIDENCE
from wherever_contracts.tensors import Array

LEVELS = (0.02, 0.05, 0.1, 0.2)
SPLITS = 200
# What a package calibrated on ample data has; the pools here are smaller.
AMPLE = 2000
BAR = 0.93
_HELD = (
    *("cascade", "pairs", "alone", "level", "certified", "ours holds", "with 2,000 pairs"),
    *("conformal", "plug-in", "other half within", "but for chance"),
)
MINERS = ("Threshold", "CrossEntropy", "IBT")


@dataclass(frozen=True)
class Cell:
    """A cascade at a level. All but `n` and `level` are shares.

    Attributes:
        cascade: its name.
        n: the pairs there are, which is also the size of a draw.
        level: the mean loss that is promised.
        alone: the mean loss where nothing is escalated.
        certified: draws that let any answer be given.
        held: draws whose threshold keeps the level over the pool.
        held_conformal: the same, of plain conformal risk control.
        held_plug_in: the same, of the threshold that keeps the level in the sample itself.
        held_ample: draws of `AMPLE` pairs whose threshold keeps the level.
        half_within: splits in which the other half keeps the level.
        half_not_above: splits in which it is not above it by more than chance.
        escalated: mean over draws.
        escalated_ample: mean over draws of `AMPLE` pairs.
        oracle: what is escalated at the smallest threshold that keeps the level over the pool.
        miners: by name, what is escalated at the mean losses of the draws of `AMPLE` pairs.
        out_of_reach: by name, the share of those draws whose mean loss no setting keeps.
    """

    cascade: str
    n: int
    level: float
    alone: float
    certified: float
    held: float
    held_conformal: float
    held_plug_in: float
    held_ample: float
    half_within: float
    half_not_above: float
    escalated: float
    escalated_ample: float
    oracle: float
    miners: dict[str, float]
    out_of_reach: dict[str, float]


@dataclass(frozen=True)
class Figures:
    """A cascade: what it is, its cells, and Sedna's miners as they come.

    Attributes:
        cascade: its name.
        source: its variants and inputs, in words.
        cells: one for each level that the small variant alone does not keep.
        defaults: by miner, the share escalated and the mean loss at thresholds of 0.5.
        elsewhere: by level, what thresholds of all other groups come to in each; empty of a cascade
            whose inputs are one group.
    """

    cascade: str
    source: str
    cells: tuple[Cell, ...]
    defaults: dict[str, tuple[float, float]]
    elsewhere: dict[float, list[Elsewhere]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(CASCADES)}")
    parser.add_argument("--splits", type=int, default=SPLITS, help="draws, and halves")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(CASCADES))
    if unknown:
        parser.error(f"there is no cascade {', '.join(unknown)}; there are {', '.join(CASCADES)}")
    data = Path(os.environ["WHEREVER_TEST_DATA"])
    measured = [figures(pool_of(name, data), given.splits) for name in given.names or CASCADES]
    print(json.dumps([asdict(each) for each in measured]) if given.json else in_words(measured))


def figures(pool: Pool, splits: int = SPLITS) -> Figures:
    """Everything about one cascade; equal pools give equal figures.

    Args:
        pool: its pairs.
        splits: how many draws, and how many halves.
    """
    boxes = _boxes(pool)
    return Figures(
        pool.name,
        pool.source,
        tuple(_cells(pool, splits)),
        at_defaults(pool.scores, boxes, pool.loss),
        _elsewhere(pool),
    )


def in_words(measured: Sequence[Figures]) -> str:
    """The figures as Markdown tables."""
    cells = [cell for each in measured for cell in each.cells]
    parts = [_held(cells), _escalated(cells), _defaults(measured)]
    parts += [_moved(each) for each in measured if each.elsewhere]
    missed = [f"{c.cascade} at {c.level:.0%}" for c in cells if min(c.held, c.held_ample) < BAR]
    verdict = f"missed: {', '.join(missed)}" if missed else "met in every row"
    return "\n\n".join([*parts, f"The level holds in at least {BAR:.0%} of draws: {verdict}."])


def _cells(pool: Pool, splits: int) -> Iterator[Cell]:
    chance = np.random.default_rng(0)
    n = pool.loss.size
    samples = [chance.integers(n, size=max(n, AMPLE)) for _ in range(splits)]
    orders = [chance.permutation(n) for _ in range(splits)]
    everything = population_of(pool.confidence, pool.loss)
    curves = swept(pool.scores, _boxes(pool), pool.loss)
    rule = certified(1 - CONFIDENCE, whole=not pool.detects)
    for level in (each for each in LEVELS if each < pool.loss.mean()):
        ours = drawn(pool, rule, level, n, samples)
        ample = drawn(pool, rule, level, AMPLE, samples)
        other = halves(pool, rule, level, orders)
        equal = {
            name: escalated_at_equal_risk(pool, ample.thresholds, curve)
            for name, curve in curves.items()
        }
        yield Cell(
            cascade=pool.name,
            n=n,
            level=level,
            alone=float(pool.loss.mean()),
            certified=ours.certified,
            held=ours.held,
            held_conformal=drawn(pool, conformal, level, n, samples).held,
            held_plug_in=drawn(pool, plug_in, level, n, samples).held,
            held_ample=ample.held,
            half_within=other.within,
            half_not_above=other.not_above,
            escalated=ours.escalated,
            escalated_ample=ample.escalated,
            oracle=everything.escalated_at(everything.least(level)),
            miners={name: share for name, (share, _) in equal.items()},
            out_of_reach={name: never for name, (_, never) in equal.items()},
        )


def _elsewhere(pool: Pool) -> dict[float, list[Elsewhere]]:
    if np.unique(pool.group).size < 2:
        return {}
    rule = certified(1 - CONFIDENCE, whole=not pool.detects)
    return {level: elsewhere(pool, rule, level) for level in LEVELS}


def _boxes(pool: Pool) -> Sequence[Array]:
    """What miners of boxes are given: of a classifier, one with the best score."""
    return pool.scores if pool.detects else [each.max(keepdims=True) for each in pool.scores]


def _held(cells: Sequence[Cell]) -> str:
    lines = [
        f"| {' | '.join(_HELD)} |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.cascade} | {c.n} | {c.alone:.1%} | {c.level:.0%} | {c.certified:.1%} "
        f"| {c.held:.1%} | {c.held_ample:.1%} | {c.held_conformal:.1%} | {c.held_plug_in:.1%} "
        f"| {c.half_within:.1%} | {c.half_not_above:.1%} |"
        for c in cells
    ]
    return "\n".join(lines)


def _escalated(cells: Sequence[Cell]) -> str:
    lines = [
        f"| cascade | level | ours | with 2,000 pairs | oracle | {' | '.join(MINERS)} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {c.cascade} | {c.level:.0%} | {c.escalated:.1%} | {c.escalated_ample:.1%} "
        f"| {c.oracle:.1%} | {' | '.join(_mined(c, name) for name in MINERS)} |"
        for c in cells
    ]
    return "\n".join(lines)


def _mined(cell: Cell, name: str) -> str:
    never = cell.out_of_reach[name]
    beyond = f" ({never:.0%} out of reach)" if never else ""
    return f"{cell.miners[name]:.1%}{beyond}"


def _defaults(measured: Sequence[Figures]) -> str:
    lines = [
        f"| cascade | {' | '.join(f'{name}: escalated, loss' for name in MINERS)} |",
        "|---|---|---|---|",
    ]
    for each in measured:
        shares = (each.defaults[name] for name in MINERS)
        told = " | ".join(f"{escalated:.1%}, {loss:.1%}" for escalated, loss in shares)
        lines.append(f"| {each.cascade} | {told} |")
    return "\n".join(lines)


def _moved(figures: Figures) -> str:
    groups = next(iter(figures.elsewhere.values()))
    lines = [
        f"| {figures.cascade}, level | {' | '.join(f'{g.group} ({g.n})' for g in groups)} |",
        f"|---|{'---|' * len(groups)}",
    ]
    for level, found in figures.elsewhere.items():
        told = " | ".join(f"{each.escalated:.0%}, {each.risk:.1%}" for each in found)
        lines.append(f"| {level:.0%} | {told} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
