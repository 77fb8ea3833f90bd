"""A worker that dies again and again leaves nothing behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from wherever_devices.plans import RunPlan
from wherever_edge.engines.engine import Resources
from wherever_edge.isolation.engines import IsolatedEngines

pytestmark = pytest.mark.full


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def children():
    tasks = Path("/proc/self/task").iterdir()
    return [pid for task in tasks for pid in (task / "children").read_text().split()]


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_fifty_restarts_leave_no_descriptor_zombie_thread_or_memory(echo_package):
    (variant,) = echo_package.manifest.variants
    files = [echo_package.read(entry) for entry in variant.files]
    plan = RunPlan("onnxruntime", "cpu", "float32", 1)
    session = IsolatedEngines().open(plan, variant.format, files, Resources())
    large = {"x": np.ones((1, 1_000_000), np.float32)}
    others = set(children()) - set(map(str, session.pids))
    try:
        for number in range(51):
            np.testing.assert_array_equal(session.run(large)["y"], large["x"])
            if number == 1:
                before = descriptors(), threading.active_count(), resident_bytes()
            (pid,) = session.pids
            os.kill(pid, (signal.SIGKILL, signal.SIGSEGV)[number % 2])
            while session.pids in {(), (pid,)}:
                time.sleep(0.002)
        session.run(large)
        assert (descriptors(), threading.active_count()) == before[:2]
        assert len(set(children()) - others) == 1
        assert resident_bytes() < before[2] + 10_000_000
    finally:
        session.close()
    assert set(children()) <= others
