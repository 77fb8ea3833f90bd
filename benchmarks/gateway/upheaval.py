"""Models that are swapped and gateways that are restarted under load: what calls notice of it.

    python benchmarks/gateway/upheaval.py --swaps 1000 --restarts 100

Our SDK calls from four threads; one more process calls with Triton's client, unmodified, which has
no retries of its own.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import httpx
import numpy as np

import wherever

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from gateway_process import Gateway  # noqa: E402 (beside this folder)
from in_cloud import echo_package  # noqa: E402

_THREADS = 4
_VALUES = np.arange(12, dtype=np.float32)


@dataclass
class Seen:
    """What callers saw.

    Attributes:
        calls: how many were made.
        failed: those without an answer, by what the error said first.
        wrong: answers that were not those of the model.
        slowest_s: the slowest answer.
        versions: which versions answered.
        peers: how many calls each host answered.
    """

    calls: int = 0
    wrong: int = 0
    slowest_s: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)
    peers: Counter[str] = field(default_factory=Counter)

    def line(self, name: str) -> str:
        """All of it in a line."""
        failed = sum(self.failed.values())
        share = f"{failed / max(1, self.calls):.3%}"
        return (
            f"{name}: {self.calls:,} calls, {failed} failed ({share}), {self.wrong} wrong, "
            f"slowest {self.slowest_s:.2f} s, {len(self.versions)} versions {dict(self.failed)}"
        )


@contextmanager
def calling(addresses: Sequence[str], package: Path) -> Iterator[Seen]:
    """Calls by our SDK from several threads, until the block ends."""
    seen, over, lock = Seen(), threading.Event(), threading.Lock()

    def call_on() -> None:
        while not over.is_set():
            started = monotonic()
            try:
                answer = echo(_VALUES, mode="only_in_cloud")
            except wherever.WhereverError as error:
                with lock:
                    seen.calls += 1
                    seen.failed[f"{type(error).__name__}: {error}"[:300]] += 1
                continue
            with lock:
                seen.calls += 1
                seen.slowest_s = max(seen.slowest_s, monotonic() - started)
                seen.wrong += not np.array_equal(answer.outputs["y"], _VALUES)
                seen.versions.add(answer.receipt.version)
                seen.peers[answer.receipt.host] += 1

    with wherever.Client(gateways=list(addresses), packages=[package]) as client:
        echo = client.model("echo")
        echo(_VALUES, mode="only_in_cloud")
        threads = [threading.Thread(target=call_on) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            over.set()
            for thread in threads:
                thread.join()


@contextmanager
def public_client(addresses: Sequence[str]) -> Iterator[Seen]:
    """Calls by Triton's client in a process of its own, over one channel to all addresses."""
    command = [sys.executable, str(HERE / "public_calls.py"), *addresses]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        seen = Seen()
        yield seen
        said, _ = process.communicate("\n")
        calls, failed, slowest_s = json.loads(said)
        seen.calls, seen.slowest_s, seen.failed = calls, slowest_s, Counter(failed)


def swap(times: int) -> list[Seen]:
    """Replace the served package by its next version, again and again."""
    with tempfile.TemporaryDirectory() as directory:
        served, aside = Path(directory) / "served", Path(directory) / "aside"
        served.mkdir()
        first = echo_package(aside).root
        shutil.copytree(first, served / "v0")
        with (
            Gateway(["--packages", str(served), "--http-port", "0"], http=True) as gateway,
            calling([gateway.address], first) as ours,
            public_client([gateway.address]) as theirs,
        ):
            url = f"http://{gateway.ready['http']}/v1/admin/reload"
            for n in range(1, times + 1):
                _write_version(first, served / f"v{n}", f"1.0.{n}")
                httpx.post(url, timeout=30).raise_for_status()
                shutil.rmtree(served / f"v{n - 1}")
    return [ours, theirs]


def _write_version(origin: Path, target: Path, version: str) -> None:
    """A copy of a package with another version, there all at once."""
    made = target.with_name(f".{target.name}")
    shutil.copytree(origin, made)
    manifest = json.loads((made / "model.json").read_text())
    (made / "model.json").write_text(json.dumps({**manifest, "version": version}))
    made.rename(target)


def restart(times: int) -> list[Seen]:
    """Restart one of two gateways, in turn: drained, then killed."""
    with tempfile.TemporaryDirectory() as directory:
        package = echo_package(Path(directory) / "echo").root
        arguments = ["--packages", str(package)]
        with Gateway(arguments) as one, Gateway(arguments) as other:
            addresses = [one.address, other.address]
            with calling(addresses, package) as ours, public_client(addresses) as theirs:
                for n in range(times):
                    gateway = (one, other)[n % 2]
                    if n % 4 < 2:
                        gateway.signal(signal.SIGKILL)
                    gateway.restart()
                    _until_used(ours, gateway.address)
    return [ours, theirs]


def _until_used(seen: Seen, address: str) -> None:
    """Wait until a host answers calls again: whoever restarts the next one waits so long, too."""
    wanted = seen.peers[address] + 10
    step = threading.Event()
    while seen.peers[address] < wanted:
        step.wait(0.01)


def main() -> None:
    """Do both, and say what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=1000)
    parser.add_argument("--restarts", type=int, default=100)
    options = parser.parse_args()
    for name, happen, times in (
        ("swaps", swap, options.swaps),
        ("restarts", restart, options.restarts),
    ):
        started = monotonic()
        ours, theirs = happen(times)
        print(f"{times} {name} in {monotonic() - started:.0f} s")
        print(" ", ours.line("our SDK"))
        print(" ", theirs.line("Triton's client"), flush=True)


if __name__ == "__main__":
    main()
