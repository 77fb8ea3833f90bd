"""Two thousand processes that use one outbox, each killed at a random moment."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.soak
PROGRAM = Path(__file__).parents[1] / "full" / "outbox_kills.py"
KILLS = 2000
SEED = int(os.environ.get("SOAK_SEED") or random.randrange(2**32))


@pytest.fixture
def gateway(tmp_path):
    command = [sys.executable, "-m", "wherever", "gateway", "--json", "--no-http"]
    own = {**os.environ, "WHEREVER_HOME": str(tmp_path / "gateway")}
    with subprocess.Popen(
        [*command, "--grpc-port", "0"], stdout=subprocess.PIPE, text=True, env=own
    ) as process:
        yield json.loads(process.stdout.readline())["grpc"]
        process.terminate()


def test_no_kill_of_two_thousand_loses_or_doubles_a_result(gateway):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), gateway, str(KILLS), str(SEED)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    print(f"seed {SEED}: {found}")
    assert (found["kills"], found["acknowledged"] > KILLS / 4) == (KILLS, True)
    assert (found["lost"], found["changed"], found["left"]) == ([], [], [])
    assert (found["not_told"], found["told_differently"]) == ([], [])
