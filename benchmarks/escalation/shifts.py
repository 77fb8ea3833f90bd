"""How soon shifts are found, and how rarely where there is none.

    python benchmarks/escalation/shifts.py DATA [CASE ...]

Each stream has draws of its own. Those to be found: half of the usual answers, drawn at random, is
the calibration, and calls are drawn from the shifted answers to the inputs of the other half (of
another camera: they come in the order in which they were filmed). A `late` shift begins at a call
drawn from the 501st to the 1,000th.

That nothing is found is measured where the calls are exchangeable with the calibration, which is
what the bound is about: the calibration (`PAIRS`) and the calls are drawn from the same pool with
replacement, or a pool is cut in two at random and each half is used once. Two rows show what the
bound does not cover: "other half, drawn again" has calls drawn with replacement from a half that is
none of the calibration's, and so is another, if similar, population; "in order" has the frames of
the calibration's own camera as they were filmed, each like the one before.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from escalation.shift_pools import CASES, Case, Pool
from wherever._escalation.shift import EVERY_CALLS, ShiftWatch
from wherever_contracts.tensors import Array

STREAMS = 200
CALLS = 500
LATE_STREAMS = 100
LONG_STREAMS, LONG_CALLS = 20, 10_000
PAIRS = 300
NEVER = sys.maxsize


@dataclass(frozen=True)
class Found:
    """How many streams of a shift were flagged within `CALLS` calls after it, and after how many.

    `median` and `most` (of 95 % of the streams) are `NEVER` where so many were not flagged; `why`
    is what was said of one stream.
    """

    case: str
    kind: str
    streams: int
    share: float
    median: int
    most: int
    why: str


@dataclass(frozen=True)
class FalseAlarms:
    """Findings where there was no shift.

    `alarms` is how many streams had one, `windows` how many times 500 calls, or what there was of
    them, all streams were watched until then; `exchangeable` says whether the bound is about these.
    """

    case: str
    calls_from: str
    streams: int
    alarms: int
    windows: int
    exchangeable: bool

    @property
    def rate(self) -> float:
        """Findings per 500 calls."""
        return self.alarms / self.windows


_Stream = tuple[Array, Array]
_Drawn = tuple[_Stream, _Stream]


def found(case: Case, kind: str, streams: int = STREAMS, *, late: bool = False) -> Found:
    """Streams of one kind of shift, from the first call or `late`."""
    draw = _late if late else _early
    watched = [draw(case.usual, case.shifted[kind], seed) for seed in range(streams)]
    delays = [calls for calls, _ in watched]
    share = sum(each <= CALLS for each in delays) / streams
    why = next((why for _, why in watched if why), "")
    most = _quantile(delays, 0.95)
    return Found(case.name, kind, streams, share, _quantile(delays, 0.5), most, why)


def false(
    case: Case, streams: int = STREAMS, long_streams: int = LONG_STREAMS
) -> Iterator[FalseAlarms]:
    """Streams without any shift, by where their calls come from."""
    ways: list[tuple[str, Callable[[int], _Drawn], int]] = [
        ("the same pool", lambda seed: _alike(case.usual, CALLS, seed), streams),
        ("the same pool, long", lambda seed: _alike(case.usual, LONG_CALLS, seed), long_streams),
        ("the other half, once", lambda seed: _other_half(case.usual, seed), streams),
        ("other half, drawn again", lambda seed: _halved(case.usual, case.usual, seed), streams),
    ]
    if any(pool.in_order for pool in case.shifted.values()):
        filmed = Pool(*_rows(case.usual, slice(None)), case.usual.weight, in_order=True)
        ways.append(("in order", lambda seed: _halved(case.usual, filmed, seed), streams))
    for name, draw, count in ways:
        drawn = [(draw(seed), seed) for seed in range(count)]
        calls = [_watched(each, seed)[0] for each, seed in drawn]
        lengths = [len(stream[0]) for (_, stream), _ in drawn]
        yield FalseAlarms(
            case.name,
            name,
            count,
            sum(each < NEVER for each in calls),
            sum(-(-each // CALLS) for each in map(min, calls, lengths)),
            name.startswith("the "),
        )


def seconds_per_call(pairs: int = PAIRS, calls: int = 20_000) -> float:
    """Seconds of one core that a call takes which is like the calibration."""
    rng = np.random.default_rng(0)
    confidence, category = rng.random(pairs + calls), rng.integers(0, 10, pairs + calls)
    watch = ShiftWatch(confidence[:pairs], category[:pairs], random.Random(0).random, error=1e-9)
    stream = list(zip(confidence[pairs:].tolist(), category[pairs:].tolist(), strict=True))
    started = process_time()
    for each in stream:
        watch.seen(*each)
    return (process_time() - started) / calls


def _halved(usual: Pool, stream: Pool, seed: int) -> _Drawn:
    """A half of the usual rows for the calibration, and calls from the others of the stream."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(usual.confidence.size)
    known, rest = order[: order.size // 2], order[order.size // 2 :]
    if stream.in_order:
        count = stream.confidence.size
        rows = (rng.integers(count) + np.arange(CALLS)) % count
    else:
        weight = stream.weight[rest]
        rows = rng.choice(rest, CALLS, p=weight / weight.sum())
    return _rows(usual, known), _rows(stream, rows)


def _other_half(usual: Pool, seed: int) -> _Drawn:
    order = np.random.default_rng(seed).permutation(usual.confidence.size)
    half = order.size // 2
    return _rows(usual, order[:half]), _rows(usual, order[half:][:CALLS])


def _alike(usual: Pool, calls: int, seed: int) -> _Drawn:
    rows = np.random.default_rng(seed).integers(usual.confidence.size, size=PAIRS + calls)
    return _rows(usual, rows[:PAIRS]), _rows(usual, rows[PAIRS:])


def _early(usual: Pool, shifted: Pool, seed: int) -> tuple[int, str]:
    return _watched(_halved(usual, shifted, seed), seed)


def _late(usual: Pool, shifted: Pool, seed: int) -> tuple[int, str]:
    """The delay of a shift after calls like the calibration; what was found before is none."""
    before = int(np.random.default_rng(seed).integers(EVERY_CALLS, 2 * EVERY_CALLS))
    known, alike = _alike(usual, before, seed)
    _, after = _halved(usual, shifted, seed)
    stream = (np.concatenate([alike[0], after[0]]), np.concatenate([alike[1], after[1]]))
    calls, why = _watched((known, stream), seed)
    return (calls - before, why) if before < calls < NEVER else (NEVER, "")


def _watched(drawn: _Drawn, seed: int) -> tuple[int, str]:
    """The number of the call at which something was found, and what."""
    known, stream = drawn
    watch = ShiftWatch(*known, random.Random(seed).random)
    for confidence, category in zip(stream[0].tolist(), stream[1].tolist(), strict=True):
        if why := watch.seen(confidence, category):
            return watch.calls, why
    return NEVER, ""


def _rows(pool: Pool, rows: Array | slice) -> _Stream:
    return pool.confidence[rows], pool.category[rows]


def _quantile(delays: Sequence[int], quantile: float) -> int:
    return sorted(delays)[int(np.ceil(quantile * len(delays))) - 1]


def _delays(row: Found) -> str:
    median, most = ("never" if each == NEVER else str(each) for each in (row.median, row.most))
    return f"| {row.share:.1%} | {median} | {most}"


def main() -> None:
    """Measure the cases named on the command line, or all of them."""
    data, *names = sys.argv[1:]
    print(f"a call: {1e6 * seconds_per_call():.1f} us")
    cases = [CASES[name](Path(data)) for name in names or CASES]
    print("| case | shift | flagged | median | 95 % | late | median | 95 % | said |")
    print("|" + "---|" * 9)
    for case in cases:
        for kind in case.shifted:
            row, late = found(case, kind), found(case, kind, LATE_STREAMS, late=True)
            print(f"| {case.name} | {kind} {_delays(row)} {_delays(late)} | {row.why} |")
    print("\n| case | calls from | streams | alarms | per 500 calls |\n|" + "---|" * 5)
    for case in cases:
        for each in false(case):
            print(
                f"| {each.case} | {each.calls_from} | {each.streams} | {each.alarms} "
                f"| {each.rate:.2%} |"
            )


if __name__ == "__main__":
    main()
