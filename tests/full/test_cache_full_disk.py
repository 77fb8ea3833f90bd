"""The result cache on a disk that is really full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from wherever._cache import ResultCache
from wherever_contracts.receipts import Answer, Ran

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0, reason="only root mounts a tmpfs"
    ),
]
RAN = Ran("m", "1.0.0", "v", "d", "d", "local", "onnxruntime", "1", "cpu", "int8", 1)
MIB = 1024 * 1024


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def answer(size):
    return Answer({"x": np.zeros(size, np.float32)}, 0.5, RAN, 0.0)


def name(number):
    return number.to_bytes(32, "big")


def test_a_full_disk_fails_no_call_and_keeps_what_it_has(small_disk: Path):
    now = [0.0]
    cache = ResultCache(
        small_disk / "cache", max_bytes=64 * MIB, device_key=bytes(32), clock=lambda: now[0]
    )
    with closing(cache):
        cache.put(name(0), answer(100))
        for number in range(1, 200):
            cache.put(name(number), answer((1000, 20_000)[number % 2]))
            assert cache.get(name(0)) is not None
            now[0] += 1
        stats = cache.stats()
        assert stats["failures"] > 0
        assert stats["damaged"] == 0
        found = [number for number in range(200) if cache.get(name(number)) is not None]
        assert len(found) == stats["entries"] > 10
        assert not (small_disk / "cache" / "cache.db.damaged").exists()


def test_a_disk_that_is_full_from_the_start_fails_no_call(small_disk: Path):
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    now = [0.0]
    cache = ResultCache(
        small_disk / "cache", max_bytes=64 * MIB, device_key=bytes(32), clock=lambda: now[0]
    )
    with closing(cache):
        for number in range(5):
            assert cache.get(name(number)) is None
            cache.put(name(number), answer(100))
            now[0] += 1
        assert cache.stats()["failures"] > 0
        (small_disk / "filler").unlink()
        now[0] += 1
        cache.put(name(0), answer(100))
        assert cache.get(name(0)) is not None
