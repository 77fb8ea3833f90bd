"""The scenarios with real processes: a gateway and a caller, with a shaped link between them.

The link is made by `linkshaper.py` (two network namespaces joined in user space: Linux and root),
which is found beside the test data or through WHEREVER_LINKSHAPER.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any, NamedTuple, Self

if __name__ == "__main__":  # as a script it has its own folder in the path, not the one above
    sys.path.insert(0, str(Path(__file__).parents[1]))

from harness import Row, table

CLIENT_IP, SERVER_IP = "10.79.0.1", "10.79.0.2"
PORT = 8001
NAME = "gateway.test"
DELAY = "delay_ms=25"
DEADLINE_S = 0.1
SLOW_S = 0.05
PAUSE_S = 0.02
BACK_WITHIN_S = 10.0
MISSING = (
    "no linkshaper.py: set WHEREVER_LINKSHAPER to it, or WHEREVER_TEST_DATA to a folder beside "
    "which there is tools/linkshaper.py"
)


class Made(NamedTuple):
    """One call: when it began, what it took, where its answer came from ("": it failed).

    Attributes:
        asked: whether the gateway was asked; a call that it was not can only be slow because the
            machine is busy.
    """

    began: float
    elapsed_s: float
    place: str
    asked: bool


class Seen(NamedTuple):
    """What came of a scenario.

    Attributes:
        late: calls that took longer than their deadline, of those that had one.
        slow: calls in an outage slower than the device alone at its 99th percentile and 50 ms.
        worst_s: what the slowest of the late or slow ones took.
        back_s: from the moment that the link (or the gateway) is back to the first answer of it.
    """

    scenario: str
    calls: int
    failed: int
    cloud: int
    late: int = 0
    slow: int = 0
    worst_s: float = 0.0
    back_s: float = 0.0


class ShapedLink:
    """Two namespaces and the link between them, for as long as it is entered."""

    def __init__(self, shaper: Path) -> None:
        tag = os.getpid()
        self.client, self.server = f"wl-client-{tag}", f"wl-server-{tag}"
        self._shaper = shaper
        self._folder = Path(tempfile.mkdtemp(prefix="wherever-link-"))
        self._control = self._folder / "control"
        self._names = Path("/etc/netns") / self.client
        self._process: subprocess.Popen[str] | None = None

    def tell(self, *words: str) -> str:
        """Give a command (`cut`, `restore`, `up SPEC`, ...) and return the answer."""
        mine = self._folder / "mine"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            asking.bind(str(mine))
            asking.settimeout(5)
            try:
                asking.sendto(" ".join(words).encode(), str(self._control))
                return asking.recv(65536).decode()
            finally:
                mine.unlink()

    def name_gateway(self, *, known: bool) -> None:
        """Let the client's resolver know the gateway's name, or not."""
        self._names.mkdir(parents=True, exist_ok=True)
        entry = f"{SERVER_IP} {NAME}\n" if known else ""
        (self._names / "hosts").write_text(f"127.0.0.1 localhost\n{entry}")

    def __enter__(self) -> Self:
        self.name_gateway(known=True)
        (self._names / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        spaces = ["--client-ns", self.client, "--server-ns", self.server]
        command = [sys.executable, str(self._shaper), "run", "--control", str(self._control)]
        self._process = subprocess.Popen(
            [*command, *spaces, "--up", DELAY, "--down", DELAY], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "ready":
            raise SystemExit("the link could not be made: that needs root, TUN and iproute2")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self._names, ignore_errors=True)


class Program:
    """A program of ours in a namespace; each line that it is told is answered by one of JSON."""

    def __init__(self, namespace: str, home: str, *command: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "WHEREVER_HOME": home},
        )
        self.ready: dict[str, Any] = self.hear()

    def say(self, **words: object) -> None:
        """Tell it to do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{json.dumps(words)}\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """What it answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended with {self.process.wait()}")
        return json.loads(line)

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it with a signal, also when it is stopped."""
        for each in (signal.SIGCONT, number) if number != signal.SIGKILL else (number,):
            self.process.send_signal(each)
        self.process.wait(20)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Bench:
    """The link, a gateway at one end and a caller at the other."""

    def __init__(self, link: ShapedLink, home: str) -> None:
        self.link = link
        self._home = home
        self.gateway = self.start_gateway()
        caller = str(Path(__file__).with_name("caller.py"))
        self.caller = Program(link.client, home, caller, f"grpc://{NAME}:{PORT}")
        self.local_s = self._local_p99_s()

    def start_gateway(self) -> Program:
        """A gateway at the server's end."""
        options = ["--host", SERVER_IP, "--grpc-port", str(PORT), "--no-http", "--insecure"]
        options += ["--no-tls", "--no-keys", "--json"]
        command = ["-m", "wherever", "gateway", *options]
        self.gateway = Program(self.link.server, self._home, *command)
        return self.gateway

    def during(
        self, seconds: float, happen: Callable[[], None] = lambda: None, **options: Any
    ) -> list[Made]:
        """The calls of some seconds, in which something happens."""
        self.caller.say(seconds=seconds, pause_s=PAUSE_S, **options)
        happen()
        return [Made(*made) for made in self.caller.hear()]

    def until_used(self, mode: str = "prefer_in_cloud") -> None:
        """Call until the gateway answers."""
        give_up = monotonic() + BACK_WITHIN_S
        while monotonic() < give_up:
            if any(made.place == "cloud" for made in self.during(0.2, mode=mode)):
                return
        raise RuntimeError(f"the gateway was not used within {BACK_WITHIN_S:.0f} s")

    def close(self) -> None:
        """End both programs."""
        self.caller.end()
        self.gateway.end()

    def _local_p99_s(self) -> float:
        took = sorted(made.elapsed_s for made in self.during(1.0, mode="only_on_device"))
        return took[int(0.99 * len(took))]


@contextmanager
def bench() -> Iterator[Bench]:
    """A link, a gateway and a caller.

    Raises:
        SystemExit: there is no linkshaper, or the link cannot be made here.
    """
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        made = Bench(stack.enter_context(ShapedLink(find_shaper())), home)
        stack.callback(made.close)
        yield made


def find_shaper() -> Path:
    """The program that makes the link.

    Raises:
        SystemExit: it is not there.
    """
    data = os.environ.get("WHEREVER_TEST_DATA")
    beside = Path(data).parent / "tools" / "linkshaper.py" if data else Path("linkshaper.py")
    shaper = Path(os.environ.get("WHEREVER_LINKSHAPER", beside))
    if not shaper.is_file():
        raise SystemExit(MISSING)
    return shaper


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
    late = [call.elapsed_s for call in calls if call.elapsed_s > DEADLINE_S]
    return _seen(f"{name}, {mode}", calls)._replace(late=len(late), worst_s=max(late, default=0.0))


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
    hit = [call for call in calls if call.began + call.elapsed_s > begin and call.began < end]
    limit_s = made.local_s + SLOW_S
    slow = [call.elapsed_s for call in hit if call.asked and call.elapsed_s > limit_s]
    ends = [call.began + call.elapsed_s for call in calls if call.place == "cloud"]
    back_s = min((moment for moment in ends if moment > end), default=float("inf")) - end
    worst_s = max(slow, default=0.0)
    seen = _seen(f"{name}, {mode}", calls)
    return seen._replace(slow=len(slow), worst_s=worst_s, back_s=back_s)


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
