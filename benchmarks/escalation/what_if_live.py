"""What-if beside live runs: a gateway behind a recorded link, recorded under one policy.

Each policy is run live by more than one caller, all of them at the same time, so that they meet the
same link and the same machine; their inputs are the same. From each run of one policy a what-if of
another is made and compared with the other's live runs; beside its error stands how far those
differ from each other.

    python benchmarks/escalation/what_if_live.py --seconds 120 --callers 2
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import Row, table
from routing.rig import DELAY, NAME, PORT, SERVER_IP, Program, ShapedLink, find_shaper
from routing.scenarios import data_folder

from wherever._records.reading import read_records
from wherever._whatif.command import what_if
from wherever._whatif.endings import happened
from wherever._whatif.facts import Facts
from wherever._whatif.outcome import Outcome, outcome_of
from wherever._whatif.policy import Policy

PERIOD_S = 0.2
FIGURES = ("mean_s", "p50_s", "p95_s", "remote_calls", "up_bytes", "cost")
PRICES = {"cost_per_call": 0.001, "cost_per_gb": 0.1}
ALLOWED = 0.05

# What a call is told, under each policy.
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "auto, 0.88": {"mode": "auto", "min_confidence": 0.88},
    "auto, 0.97": {"mode": "auto", "min_confidence": 0.97},
    "auto, 0.97, 200 ms": {"mode": "auto", "min_confidence": 0.97, "deadline_s": 0.2},
    "cloud": {"mode": "prefer_in_cloud"},
    "cloud, a tenth in auto": {"mode": "prefer_in_cloud", "explore": 0.1},
}
PAIRS = (
    ("auto, 0.88", "auto, 0.97"),
    ("auto, 0.97", "auto, 0.88"),
    ("auto, 0.97", "auto, 0.97, 200 ms"),
    ("auto, 0.88", "cloud"),
    ("auto, 0.97", "cloud"),
    ("cloud, a tenth in auto", "auto, 0.97"),
)


class Compared(NamedTuple):
    """A what-if beside live runs.

    Attributes:
        figure: which.
        foreseen: by the what-ifs, in the mean.
        live: in the live runs, in the mean.
        error: by how much the first differs from the second, as a share of that.
        apart: by how much the live runs differ from each other, as a share.
        estimated: the share of the calls that were estimated.
    """

    recorded: str
    asked: str
    figure: str
    foreseen: float
    live: float
    error: float
    apart: float
    estimated: float


def runs(link: str, seconds: float, times: int, home: Path) -> dict[str, list[Path]]:
    """Every policy run live by so many callers, all at the same time; where their records lie."""
    with ExitStack() as stack:
        shaped = stack.enter_context(ShapedLink(find_shaper()))
        gateway = _gateway(shaped, home / "gateway")
        stack.callback(gateway.end)
        callers: list[tuple[str, Path, Program]] = []
        for number, name in enumerate([*POLICIES] * times):
            folder = home / f"caller-{number}"
            callers.append((name, folder, _caller(shaped, folder)))
            print(f"caller {number} is ready: {name}", file=sys.stderr, flush=True)
        _set(shaped, str(data_folder() / "mahimahi" / link))
        for number, (name, _, program) in enumerate(callers):
            after_s = PERIOD_S * number / len(callers)
            calls = int(seconds / PERIOD_S)
            program.say(calls=calls, period_s=PERIOD_S, after_s=after_s, **POLICIES[name])
        for _, _, program in callers:
            program.hear()
        _set(shaped, "none")
        for _, _, program in callers:
            _leave(program)
    found: dict[str, list[Path]] = defaultdict(list)
    for name, folder, _ in callers:
        found[name].append(folder)
    return found


def _set(shaped: ShapedLink, trace: str) -> None:
    for way in ("up", "down"):
        shaped.tell(way, f"{DELAY},trace={trace if trace == 'none' else f'{trace}.{way}'}")


def _gateway(shaped: ShapedLink, home: Path) -> Program:
    options = ["--host", SERVER_IP, "--grpc-port", str(PORT), "--no-http", "--insecure"]
    options += ["--no-tls", "--no-keys", "--json"]
    return Program(shaped.server, str(home), "-m", "wherever", "gateway", *options)


def _caller(shaped: ShapedLink, home: Path) -> Program:
    caller = str(Path(__file__).with_name("what_if_caller.py"))
    return Program(shaped.client, str(home), caller, f"grpc://{NAME}:{PORT}")


def _leave(program: Program) -> None:
    """Let a caller write down what it has, and end."""
    assert program.process.stdin is not None
    program.process.stdin.close()
    program.process.wait(20)


def compared(found: Mapping[str, Sequence[Path]]) -> Iterator[Compared]:
    """Every pair of policies: the what-ifs from the runs of the one, and the other's live runs."""
    for recorded, asked in PAIRS:
        policy = policy_of_call(POLICIES[asked])
        reports = [what_if(policy, home) for home in found[recorded]]
        live = [outcome_of(_happened(home, policy)) for home in found[asked]]
        estimated = fmean(report.estimated / report.after.calls for report in reports)
        for figure in FIGURES:
            foreseen = fmean(_figure(report.after, figure) for report in reports)
            seen = [_figure(outcome, figure) for outcome in live]
            mean = fmean(seen)
            yield Compared(
                recorded,
                asked,
                figure,
                foreseen,
                mean,
                (foreseen - mean) / mean,
                (max(seen) - min(seen)) / mean,
                estimated,
            )


def policy_of_call(options: Mapping[str, Any]) -> Policy:
    """The policy that calls with these options follow."""
    told = {"deadline_s": float("inf"), "min_confidence": 0.0, **PRICES, **options}
    told.pop("explore", None)
    return Policy(**told)


def _happened(home: Path, policy: Policy) -> list[Any]:
    return [happened(receipt, policy) for receipt in Facts(read_records(home)).receipts]


def _figure(outcome: Outcome, name: str) -> float:
    value: float = getattr(outcome, name)
    return value


def row(each: Compared) -> Row:
    """A comparison as a row of the table."""
    measured = f"{100 * each.error:+.1f} %"
    shown = f"foreseen {each.foreseen:.6g}, live {each.live:.6g}"
    shown += f"; live runs {100 * each.apart:.1f} % apart; {100 * each.estimated:.0f} % estimated"
    name = f"{each.recorded} -> {each.asked}: {each.figure}"
    return Row(name, measured, shown, "within 5 %", abs(each.error) <= ALLOWED)


def main() -> None:
    """Run every policy, and print how far the what-ifs are off."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--callers", type=int, default=2)
    parser.add_argument("--link", default="Verizon-LTE-short")
    parser.add_argument("--keep", type=Path, help="keep the records here")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with ExitStack() as stack:
        home = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        found = list(compared(runs(given.link, given.seconds, given.callers, home)))
    text = json.dumps([each._asdict() for each in found]) if given.json else None
    print(text or table([row(each) for each in found]))


if __name__ == "__main__":
    main()
