"""Hours of random outages: no call fails, none is wrong, the gateway is used again each time."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import wherever
from wherever_edge.builtin import digits_test_split

pytestmark = pytest.mark.soak
SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
SEED = int(os.environ.get("SOAK_SEED", "0"))


class Gateway:
    def __init__(self) -> None:
        self.port = "0"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "wherever", "gateway", "--json", "--no-http"]
        self.process = subprocess.Popen(
            [*command, "--grpc-port", self.port], stdout=subprocess.PIPE, text=True
        )
        self.address = json.loads(self.process.stdout.readline())["grpc"]
        self.port = self.address.rpartition(":")[2]

    def end(self, number: int) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        self.process.wait(30)
        self.process.stdout.close()


def test_random_outages_cost_no_call():
    chance = random.Random(SEED)
    images, labels = digits_test_split()
    gateway = Gateway()
    outages = waited = calls = right = 0
    until = time.monotonic() + SECONDS
    with wherever.Client(gateways=[gateway.address], remote_timeout_s=0.5) as client:
        digits = client.model("digits")

        def call():
            nonlocal calls, right, waited
            position = chance.randrange(len(images))
            prediction = digits(images[position])
            calls += 1
            right += prediction.value.class_index == labels[position]
            ends = {record.outcome for record in prediction.receipt.attempts}
            waited += bool(ends & {"deadline", "unreachable"})
            return prediction

        while time.monotonic() < until:
            kind = chance.choice(["kill", "hang", "restart"])
            outages += 1
            if kind == "hang":
                gateway.process.send_signal(signal.SIGSTOP)
            else:
                gateway.end(signal.SIGKILL if kind == "kill" else signal.SIGTERM)
            for _ in range(chance.randrange(1, 2000)):
                call()
            if kind == "hang":
                gateway.process.send_signal(signal.SIGCONT)
            else:
                gateway.start()
            back_by = time.monotonic() + 30
            while call().place != "cloud":
                assert time.monotonic() < back_by, f"not back after {kind} (seed {SEED})"
    gateway.end(signal.SIGTERM)
    print(f"{calls} calls, {outages} outages, {waited} waited, {100 * right / calls:.2f} % right")
    assert right / calls > 0.9
    assert waited <= 3 * outages
