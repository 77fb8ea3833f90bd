"""Kills processes that use one outbox, at random moments, and counts what was lost or doubled.

Run as `python outbox_kills.py GATEWAY KILLS SEED`; prints what it found as JSON. The processes are
forked from this one, which has imported everything and reached no host, so that a life is short.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import grpc  # noqa: F401 (imported before the children are forked, as are the next)
import numpy as np
import onnxruntime  # noqa: F401

import wherever
import wherever._outbox.opening
import wherever_edge.oip.connection  # noqa: F401

AT_ONCE = 3
CALLS_IN_A_LIFE = 4
LONGEST_LIFE_S = 0.7


def live(gateway: str, report: int, number: int) -> None:
    """Put calls in, say which were acknowledged, and deliver whatever waits, until killed."""

    def say(what: str, id_: str, more: str = "") -> None:
        os.write(report, f"{what} {id_} {more}\n".encode())  # less than PIPE_BUF: in one piece

    def on_upgrade(id_: str, end: object) -> None:
        answer = end.outputs if isinstance(end, wherever.Prediction) else {"error": str(end)}
        say("told", id_, hashlib.sha256(repr(answer).encode()).hexdigest()[:16])

    client = wherever.Client([gateway], on_upgrade=on_upgrade, outbox_share=1.0)
    digits = client.model("digits")
    chance = np.random.default_rng(number)
    for _ in range(CALLS_IN_A_LIFE):
        p = digits(chance.uniform(0, 16, 64), later=True)
        if p.receipt.later == "waits in the outbox":
            say("kept", p.id)
    while True:
        time.sleep(1)


def snapshot(results: Path) -> dict[str, tuple[int, str]]:
    """Each result that there is: which file it is, and what is in it."""
    found = {}
    for path in results.glob("*.answer"):
        content = path.read_bytes()
        found[path.stem] = (path.stat().st_ino, hashlib.sha256(content).hexdigest())
    return found


class Run:
    """Children that live, what they said, and what lay on the disk after each death."""

    def __init__(self, gateway: str, seed: int) -> None:
        self.gateway = gateway
        self.chance = random.Random(seed)
        self.home = Path(os.environ["WHEREVER_HOME"])
        self.lives = 0
        self.kept: set[str] = set()
        self.told: dict[str, set[str]] = {}
        self.calls_back: Counter[str] = Counter()
        self.seen: dict[str, tuple[int, str]] = {}
        self.changed: set[str] = set()
        self.living: dict[int, tuple[int, float]] = {}
        self.rest: dict[int, bytes] = {}

    def start(self, life_s: float) -> int:
        reading, writing = os.pipe()
        self.lives += 1
        child = os.fork()
        if child == 0:
            os.close(reading)
            try:
                live(self.gateway, writing, self.lives)
            finally:
                os._exit(1)
        os.close(writing)
        self.living[child] = reading, time.monotonic() + life_s
        self.rest[child] = b""
        return child

    def listen(self, until: float) -> None:
        pipes = {pipe: child for child, (pipe, _) in self.living.items()}
        ready, _, _ = select.select(list(pipes), [], [], max(0.0, until - time.monotonic()))
        for pipe in ready:
            self.take(pipes[pipe], os.read(pipe, 65536))

    def take(self, child: int, data: bytes) -> None:
        *lines, self.rest[child] = (self.rest[child] + data).split(b"\n")
        for line in lines:
            what, id_, more = line.decode().split(" ")
            if what == "kept":
                self.kept.add(id_)
            else:
                self.told.setdefault(id_, set()).add(more)
                self.calls_back[id_] += 1

    def kill(self, child: int) -> None:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), "a process ended before it was killed"
        pipe, _ = self.living.pop(child)
        while data := os.read(pipe, 65536):
            self.take(child, data)
        os.close(pipe)

    def look(self) -> None:
        now = snapshot(self.home / "outbox" / "results")
        for id_, before in self.seen.items():
            if now.get(id_) != before:
                self.changed.add(id_)
        self.seen.update(now)

    def pending(self) -> list[str]:
        return [path.stem for path in (self.home / "outbox" / "pending").glob("*.call")]


def main(gateway: str, kills: int, seed: int) -> dict[str, object]:
    with wherever.Client() as client:
        client.model("digits")(np.zeros(64))  # imports what is imported late
    run = Run(gateway, seed)
    try:
        return run_all(run, kills)
    finally:
        for child in run.living:
            os.kill(child, signal.SIGKILL)


def run_all(run: Run, kills: int) -> dict[str, object]:
    died = 0
    while died < kills:
        while len(run.living) < AT_ONCE:
            run.start(run.chance.uniform(0.05, LONGEST_LIFE_S))
        child = min(run.living, key=lambda child: run.living[child][1])
        while time.monotonic() < (until := run.living[child][1]):
            run.listen(until)
        run.kill(child)
        died += 1
        run.look()
    for child in list(run.living):
        run.kill(child)
    waiting = len(run.pending())
    last = run.start(float("inf"))
    until = time.monotonic() + 60
    while (run.pending() or run.kept - run.told.keys()) and time.monotonic() < until:
        run.listen(time.monotonic() + 0.2)
    run.kill(last)
    run.look()
    return {
        "kills": died,
        "acknowledged": len(run.kept),
        "results": len(run.seen),
        "waited_at_the_end": waiting,
        "lost": sorted(run.kept - run.seen.keys()),
        "changed": sorted(run.changed),
        "told_differently": sorted(id_ for id_, said in run.told.items() if len(said) > 1),
        "not_told": sorted(run.kept - run.told.keys()),
        "told_again": sum(count - 1 for count in run.calls_back.values()),
        "left": run.pending(),
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
