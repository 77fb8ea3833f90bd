"""The outbox on a disk that is really full."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import wherever

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a tmpfs"
    ),
]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path) -> None:
    free = shutil.disk_usage(disk).free
    (disk / "filler").write_bytes(bytes(free))


def test_a_full_disk_refuses_calls_that_are_to_wait_and_fails_none(small_disk, scales_package):
    arguments = {"home": small_disk / "home", "packages": [scales_package.root]}
    unsure = np.array([0.1, 0.2, 0.15], np.float32)
    with wherever.Client(**arguments) as client:
        scales = client.model("scales")
        kept = [scales(unsure, later=True) for _ in range(3)]
        assert {p.receipt.later for p in kept} == {"waits in the outbox"}
        fill(small_disk)
        p = scales(unsure, later=True)
        assert p.value == "middle"
        assert p.receipt.later == f"not put in: the disk of {small_disk / 'home/outbox'} is full"
        with pytest.raises(wherever.OutboxFullError):
            p.upgrade()
        assert [each.upgrade() for each in kept] == [None] * 3
        (small_disk / "filler").unlink()
        assert scales(unsure, later=True).receipt.later == "waits in the outbox"


def test_answers_that_a_full_disk_does_not_take_are_written_when_it_does(
    small_disk, scales_package, tmp_path
):
    command = [sys.executable, "-m", "wherever", "gateway", "--json", "--no-http"]
    command += ["--grpc-port", "0", "--packages", str(scales_package.root)]
    own = {**os.environ, "WHEREVER_HOME": str(tmp_path / "gateway")}
    arguments = {"home": small_disk / "home", "packages": [scales_package.root]}
    unsure = np.array([0.1, 0.2, 0.15], np.float32)
    with wherever.Client(**arguments) as client:
        p = client.model("scales")(unsure, later=True)
    fill(small_disk)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=own) as process:
        address = json.loads(process.stdout.readline())["grpc"]
        with wherever.Client([address], **arguments) as client:
            assert client.upgrade(p.id, timeout_s=1) is None
            (small_disk / "filler").unlink()
            better = client.upgrade(p.id, timeout_s=30)
            assert (better.place, better.value) == ("cloud", "middle")
        process.terminate()
