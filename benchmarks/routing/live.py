"""The scenarios with real processes: a gateway and a caller, with a shaped link between them."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import Row, table

from routing.rig import DELAY, Bench, Made, bench, held_s

DEADLINE_S = 0.1
SLOW_S = 0.05


class Seen(NamedTuple):
    """What came of a scenario.

    Attributes:
        late: calls that took longer than their deadline, of those that had one, also without what
            they waited for the machine.
        held: calls that were late or slow because they did.
        slow: calls in an outage that the gateway did not answer, slower than the device alone at
            its 99th percentile and 50 ms.
        worst_s: what the slowest of the late or slow ones took.
        back_s: from the moment that the link (or the gateway) is back to the first answer of it,
            without what was waited for the machine.
    """

    scenario: str
    calls: int
    failed: int
    cloud: int
    late: int = 0
    held: int = 0
    slow: int = 0
    worst_s: float = 0.0
    back_s: float = 0.0


def deadline(made: Bench, name: str, mode: str, seconds: float) -> Seen:
    """Calls with a deadline over a recorded link, with some trouble; see `_TROUBLES`."""
    made.until_used(mode)
    _recorded(made)
    calls = made.during(
        seconds, lambda: _TROUBLES[name](made, seconds), mode=mode, deadline_s=DEADLINE_S
    )
    made.gateway.process.send_signal(signal.SIGCONT)
    made.link.tell("restore")
    _set(made, f"{DELAY},trace=none,loss=0")
    over = [call for call in calls if call.elapsed_s > DEADLINE_S]
    late = [call for call in over if call.own_s > DEADLINE_S]
    worst_s = max((call.elapsed_s for call in over), default=0.0)
    seen = _seen(f"{name}, {mode}", calls)
    return seen._replace(late=len(late), held=len(over) - len(late), worst_s=worst_s)


def _recorded(made: Bench) -> None:
    traces = Path(os.environ.get("WHEREVER_TEST_DATA", "")) / "traces" / "mahimahi"
    for way in ("up", "down"):
        made.link.tell(way, f"{DELAY},trace={traces / f'Verizon-LTE-short.{way}'}")


def _set(made: Bench, spec: str) -> None:
    for way in ("up", "down"):
        made.link.tell(way, spec)


def _as_it_is(_: Bench, __: float) -> None:
    """Nothing happens."""


def _ten_cuts(made: Bench, seconds: float) -> None:
    for _ in range(10):
        sleep(0.07 * seconds)
        made.link.tell("cut")
        sleep(0.03 * seconds)
        made.link.tell("restore")


def _lossy(made: Bench, _: float) -> None:
    _set(made, "loss=0.3")


def _hung(made: Bench, seconds: float) -> None:
    sleep(seconds / 4)
    made.gateway.process.send_signal(signal.SIGSTOP)


_TROUBLES: dict[str, Callable[[Bench, float], None]] = {
    "recorded link": _as_it_is,
    "10 cuts": _ten_cuts,
    "30 % loss": _lossy,
    "gateway hung": _hung,
}
TROUBLES = tuple(_TROUBLES)


def outage(made: Bench, name: str, mode: str, seconds: float) -> Seen:
    """A cut link; see `_OUTAGES` for what else is the matter meanwhile."""
    meanwhile, before_back = _OUTAGES[name]
    made.until_used(mode)
    moments: list[float] = []

    def happen() -> None:
        sleep(0.5)
        moments.append(monotonic())
        meanwhile(made)
        sleep(max(0.0, moments[0] + seconds - monotonic()))
        before_back(made)
        moments.append(monotonic())

    calls = made.during(seconds + 4.0, happen, mode=mode)
    begin, end = moments
    limit_s = made.local_s + SLOW_S
    hit = [call for call in calls if call.ended > begin and call.began < end and call.asked]
    over = [call for call in hit if call.place != "cloud" and call.elapsed_s > limit_s]
    slow = [call for call in over if call.own_s > limit_s]
    ends = (call.ended for call in calls if call.place == "cloud")
    back = min((moment for moment in ends if moment > end), default=float("inf"))
    return _seen(f"{name}, {mode}", calls)._replace(
        held=len(over) - len(slow),
        slow=len(slow),
        worst_s=max((call.elapsed_s for call in over), default=0.0),
        back_s=back - end - held_s(made.held, end, back),
    )


def _cut(made: Bench) -> None:
    made.link.tell("cut")


def _restore(made: Bench) -> None:
    made.link.tell("restore")


def _restart(made: Bench) -> None:
    """It ends in good order: a GOAWAY, and calls under way are finished."""
    made.gateway.end(signal.SIGTERM)


def _start(made: Bench) -> None:
    made.start_gateway()


def _half_open(made: Bench) -> None:
    """The gateway dies behind the cut: nobody tells the caller that its connection is gone."""
    _cut(made)
    made.gateway.end()
    made.start_gateway()


def _nameless(made: Bench) -> None:
    made.link.name_gateway(known=False)
    _cut(made)


def _named(made: Bench) -> None:
    made.link.name_gateway(known=True)
    _restore(made)


_OUTAGES: dict[str, tuple[Callable[[Bench], None], Callable[[Bench], None]]] = {
    "link cut": (_cut, _restore),
    "gateway restarted (GOAWAY)": (_restart, _start),
    "half-open sockets": (_half_open, _restore),
    "DNS failure": (_nameless, _named),
}
OUTAGES = tuple(_OUTAGES)


def _seen(name: str, calls: Sequence[Made]) -> Seen:
    cloud = sum(call.place == "cloud" for call in calls)
    return Seen(name, len(calls), sum(not call.place for call in calls), cloud)


def everything(deadline_seconds: float, outage_seconds: float) -> Iterator[Seen]:
    """Every scenario, each for so long."""
    with bench() as made:
        for mode in ("auto", "prefer_in_cloud"):
            for name in TROUBLES:
                yield deadline(made, name, mode, deadline_seconds)
            for name in OUTAGES:
                yield outage(made, name, mode, outage_seconds)


def rows() -> list[Row]:
    """The scenarios beside their bars, with outages of a minute."""
    return [_row(seen) for seen in everything(20.0, 60.0)]


def _row(seen: Seen) -> Row:
    counts = f"{seen.calls} calls, {seen.cloud} by the gateway"
    if seen.worst_s:
        counts += f"; the slowest of these {1e3 * seen.worst_s:.0f} ms"
    if seen.held:
        counts += f"; {seen.held} more held up by the machine"
    if seen.back_s or seen.slow:
        measured = f"{seen.failed} failed, {seen.slow} slow, back after {1e3 * seen.back_s:.0f} ms"
        met = not seen.failed and seen.slow <= 1 and seen.back_s <= 1.0
        return Row(f"live: {seen.scenario}", measured, counts, "0, <= 1, <= 1 s", met)
    measured = f"{seen.failed} failed, {seen.late} late"
    met = not seen.failed and seen.late < 0.001 * seen.calls
    deadline = f"deadline {1e3 * DEADLINE_S:.0f} ms"
    return Row(f"live: {seen.scenario}, {deadline}", measured, counts, "0, < 0.1 %", met)


def main() -> None:
    """Run every scenario for so long, and print what came of each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--deadline-seconds", type=float, default=20.0)
    parser.add_argument("--outage-seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    seen = list(everything(given.deadline_seconds, given.outage_seconds))
    text = json.dumps([each._asdict() for each in seen]) if given.json else None
    print(text or table([_row(each) for each in seen]))


if __name__ == "__main__":
    main()
