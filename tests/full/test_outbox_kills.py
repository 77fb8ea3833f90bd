"""Two hundred processes that use one outbox, each killed at a random moment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked"),
]
PROGRAM = Path(__file__).with_name("outbox_kills.py")
KILLS = 200


@pytest.fixture
def gateway(tmp_path):
    command = [sys.executable, "-m", "wherever", "gateway", "--json", "--no-http"]
    own = {**os.environ, "WHEREVER_HOME": str(tmp_path / "gateway")}
    with subprocess.Popen(
        [*command, "--grpc-port", "0"], stdout=subprocess.PIPE, text=True, env=own
    ) as process:
        yield json.loads(process.stdout.readline())["grpc"]
        process.terminate()


def test_no_kill_loses_a_call_that_was_acknowledged_or_records_a_result_twice(gateway):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), gateway, str(KILLS), "20261121"],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    print(found)
    assert found["kills"] == KILLS
    assert found["acknowledged"] > KILLS / 4
    assert (found["lost"], found["changed"], found["left"]) == ([], [], [])
    assert (found["not_told"], found["told_differently"]) == ([], [])
