"""Processes that use one outbox, each killed at a random moment: 200, and 2,000 by `make soak`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked")
PROGRAM = Path(__file__).with_name("outbox_kills.py")
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


@pytest.mark.parametrize(
    ("kills", "seed"),
    [
        pytest.param(200, 20261121, marks=pytest.mark.full, id="200"),
        pytest.param(2000, SEED, marks=[pytest.mark.soak, pytest.mark.timeout(0)], id="2000"),
    ],
)
def test_no_kill_loses_a_call_that_was_acknowledged_or_records_a_result_twice(gateway, kills, seed):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), gateway, str(kills), str(seed)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    print(f"seed {seed}: {found}")
    assert found["kills"] == kills
    assert found["acknowledged"] > kills / 4
    assert (found["lost"], found["changed"], found["left"]) == ([], [], [])
    assert (found["not_told"], found["told_differently"]) == ([], [])
