"""The bench for decisions: `python benchmarks/routing/run.py [--live] [--json]`.

Without `--live`, everything is in virtual time, over the recorded links of the test data. With it,
real processes call each other over a link that is shaped between two network namespaces.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import Row, table

from routing.bars import (
    SLOW_DEVICES_S,
    Outage,
    Score,
    Speed,
    outage,
    punctuality,
    quiet,
    score,
    speed,
)
from routing.links import Link
from routing.scenarios import data_folder, recorded
from wherever_contracts.places import Mode

LATE_SHARE = 0.001
RATIO = 1.15
EXTRA_LOAD = 0.05
SHARE_OF_GAIN = 0.95
SLOW_CALLS = 1
BACK_S = 1.0
MODES: tuple[Mode, ...] = ("auto", "prefer_in_cloud")


def rows() -> list[Row]:
    """What is measured in virtual time, beside its bars."""
    links = list(recorded(data_folder()))
    return [_punctual(links), *_speeds(links), *_scores(links), *_outages(links)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--live", action="store_true", help="real processes over a shaped link")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    arguments = parser.parse_args()
    if arguments.live:
        from routing.live import rows as live_rows

        measured = live_rows()
    else:
        measured = rows()
    print(json.dumps([asdict(row) for row in measured]) if arguments.json else table(measured))


def _punctual(links: Sequence[Link]) -> Row:
    seen = punctuality(links)
    return Row(
        f"{len(links)} recorded links as they are, with 10 cuts, a hung gateway, 30 % loss: "
        f"{seen.calls} calls with a deadline that the device can meet",
        f"{seen.late} late, {seen.failed} failed",
        "simulated; auto and prefer_in_cloud",
        "< 0.1 % late, 0 failed",
        seen.late < LATE_SHARE * seen.calls and seen.failed == 0,
    )


def _speeds(links: Sequence[Link]) -> list[Row]:
    return [
        _speed(device_s, [speed(link, device_s) for link in links]) for device_s in SLOW_DEVICES_S
    ]


def _speed(device_s: float, seen: Sequence[Speed]) -> Row:
    worst = max(seen, key=lambda one: one.ratio)
    load = max(one.extra_load for one in seen)
    return Row(
        f"device of {1e3 * device_s:.0f} ms, gateway of 20 ms, same answers: p99 / the oracle's",
        f"at most {worst.ratio:.2f} x ({worst.trace}); gateway asked in vain by {load:.1%} at most",
        f"there: oracle {_ms(worst.oracle_p99_s)}, device {_ms(worst.device_p99_s)}, "
        f"cloud {_ms(worst.cloud_p99_s)}",
        "<= 1.15 x on every link; <= 5 %",
        worst.ratio <= RATIO and load <= EXTRA_LOAD,
    )


def _scores(links: Sequence[Link]) -> list[Row]:
    return [_score(name, score(name, links)) for name in ("digits", "imagenet")]


def _score(name: str, seen: Score) -> Row:
    others = ", ".join(
        f"{policy} {share:.1%}" for policy, share in seen.right.items() if policy != "ours"
    )
    return Row(
        f"{name} cascade over the links: {seen.calls} calls right and in time",
        f"{seen.right['ours']:.1%}: {seen.share_of_gain:.1%} of the oracle's gain",
        others,
        ">= 95 % of what the oracle gains over device or cloud",
        seen.share_of_gain >= SHARE_OF_GAIN,
    )


def _outages(links: Sequence[Link]) -> list[Row]:
    return [
        row
        for mode in MODES
        for row in (
            _outage(mode, "a steady link", [outage(quiet(rtt), mode) for rtt in (0.05, 0.2)]),
            _outage(mode, f"{len(links)} recorded links", [outage(link, mode) for link in links]),
        )
    ]


def _outage(mode: Mode, where: str, seen: Sequence[Outage]) -> Row:
    slow = max(one.slow for one in seen)
    failed = sum(one.failed for one in seen)
    back = sorted(one.back_s for one in seen)
    last = max(seen, key=lambda one: one.back_s)
    return Row(
        f"60 s without a link, {mode}, {where}: calls slower than local p99 + 50 ms",
        f"{failed} failed, at most {slow} slow, gateway back after {_ms(back[len(back) // 2])}, "
        f"at most {_ms(last.back_s)} ({last.trace})",
        "simulated",
        "0 failed, <= 1 slow, back <= 1 s",
        slow <= SLOW_CALLS and failed == 0 and last.back_s <= BACK_S,
    )


def _ms(seconds: float) -> str:
    return f"{1e3 * seconds:.0f} ms"


if __name__ == "__main__":
    main()
