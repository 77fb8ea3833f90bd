"""Cut off at any byte or killed at any moment, an update leaves the old version or the new one.

A few points in every run; `make test-full` takes 40 of each.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from wherever_contracts.errors import UpdateError
from wherever_edge.updates.watching import update_state

MANY = pytest.param(40, marks=[pytest.mark.full, pytest.mark.timeout(300)])

# Forks a child for each point; the child kills itself at its n-th touch of the home. What it
# answers with is how each child ended, or (for the point 0) how many touches an update has.
KILLER = """
import json, os, pathlib, shutil, signal, sys
import httpx, numpy, onnxruntime, tenacity, tuf.ngclient
from wherever_edge import downloads, host
from wherever_edge.packages import archive, golden, store
from wherever_edge.updates import agent, fetcher

TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}

def update(home, url, root, fatal, written):
    touches = 0

    def count(event, arguments):
        nonlocal touches
        if event in TOUCHES and home in str(arguments[0]):
            touches += 1
            if touches == fatal:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    agent.UpdateAgent(pathlib.Path(home), url, root=root).update()
    os.write(written, str(touches).encode())

for line in sys.stdin:
    task = json.loads(line)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        update(task["home"], task["url"], pathlib.Path(task["root"]).read_bytes(),
               task["fatal"], writing)
        os._exit(0)
    os.close(writing)
    touches = os.read(reading, 100).decode()
    os.close(reading)
    _, status = os.waitpid(child, 0)
    print(json.dumps([os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0, touches]), flush=True)
"""


@pytest.fixture
def killer():
    """Runs updates that are killed at their n-th touch of the disk."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def kill(fleet, fatal):
        task = {
            "home": str(fleet.home),
            "url": fleet.server.url,
            "root": str(fleet.first_root),
            "fatal": fatal,
        }
        process.stdin.write(json.dumps(task) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield kill
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


class Rewinder:
    """Takes a device back to how it was before each attempt."""

    def __init__(self, fleet):
        self._fleet = fleet
        self._kept = fleet.root / "home-before"
        shutil.copytree(fleet.home, self._kept, symlinks=True)

    def __call__(self):
        shutil.rmtree(self._fleet.home)
        shutil.copytree(self._kept, self._fleet.home, symlinks=True)


@pytest.mark.parametrize("points", [8, MANY])
def test_cut_off_at_any_byte_the_old_version_serves_and_the_next_update_succeeds(fleet, points):
    rewind = Rewinder(fleet)
    fleet.publish("1.1.0")
    start = fleet.server.sent
    fleet.update()
    whole = fleet.server.sent - start
    for point in range(points):
        rewind()
        offset = whole * point // points
        fleet.server.budget = fleet.server.sent + offset
        assert fleet.refusal() in {"unreachable", "download"}, offset
        assert fleet.serves() == "1.0.0", offset
        assert update_state(fleet.home).stale, offset
        fleet.server.heal()
        assert fleet.update().models[0].outcome == "updated", offset
        assert fleet.serves() == "1.1.0", offset


@pytest.mark.parametrize("points", [8, MANY])
def test_killed_at_any_moment_one_version_serves_and_the_next_update_succeeds(
    fleet, killer, points
):
    rewind = Rewinder(fleet)
    fleet.publish("1.1.0")
    signal, touches = killer(fleet, 0)
    assert (signal, fleet.serves()) == (0, "1.1.0")
    ends = set()
    for point in range(points):
        rewind()
        fatal = 1 + (int(touches) - 1) * point // (points - 1)
        assert killer(fleet, fatal)[0] == 9, fatal
        ends.add(fleet.serves())
        assert not update_state(fleet.home).stale, fatal
        assert fleet.update().models[0].outcome in {"updated", "current"}, fatal
        assert fleet.serves() == "1.1.0", fatal
        assert not (fleet.home / "signed" / "staging").exists(), fatal
    assert ends == {"1.0.0", "1.1.0"}


def test_a_first_update_that_was_killed_leaves_nothing_in_the_way(fleet, killer):
    shutil.rmtree(fleet.home)
    names = ("scales",)
    for fatal in (3, 30, 60):
        assert killer(fleet, fatal)[0] in {0, 9}
        if fleet.home.exists():
            with_nothing = fleet.store().refused()
            assert all("scales" in str(path) for path, _ in with_nothing)
    assert fleet.update(*names).models[0].outcome == "updated"
    assert fleet.serves() == "1.0.0"


def test_an_update_that_begins_during_another_one_is_sent_away(fleet):
    fleet.publish("1.1.0")
    met = []

    def second(_done, _whole):
        with pytest.raises(UpdateError, match="under way") as caught:
            fleet.update()
        met.append(caught.value.kind)

    fleet.agent().update(["scales"], progress=second)
    assert set(met) == {"busy"}
    assert fleet.serves() == "1.1.0"
