"""Two programs with a shaped link between them: a gateway, and a caller that uses the router.

The link is made by `linkshaper.py` (two network namespaces joined in user space: Linux and root),
which is found beside the test data or through WHEREVER_LINKSHAPER.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, Self

CLIENT_IP, SERVER_IP = "10.79.0.1", "10.79.0.2"
PORT = 8001
NAME = "gateway.test"
DELAY = "delay_ms=25"
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
        held_s: for so long of it the machine did not run threads that were ready, as the kernel
            counts it, or as a thread shows that only had to wake: the longer of both.
    """

    began: float
    elapsed_s: float
    place: str
    asked: bool
    held_s: float

    @property
    def own_s(self) -> float:
        """What it took beside waiting for the machine."""
        return self.elapsed_s - self.held_s

    @property
    def ended(self) -> float:
        """When it ended."""
        return self.began + self.elapsed_s


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
        self.held: list[tuple[float, float]] = []
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
        heard = self.caller.hear()
        self.held = heard["held"]
        return [_made(call, self.held) for call in heard["calls"]]

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


def _made(call: tuple[float, float, str, bool, float], held: list[tuple[float, float]]) -> Made:
    began, elapsed_s, place, asked, queued_s = call
    slept_s = held_s(held, began, began + elapsed_s)
    return Made(began, elapsed_s, place, asked, max(slept_s, queued_s))


def held_s(held: list[tuple[float, float]], begin: float, end: float) -> float:
    """For how long of a stretch of time the machine did not run what was due."""
    return sum(max(0.0, min(woke, end) - max(due, begin)) for due, woke in held)


@contextmanager
def bench() -> Generator[Bench]:
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
