"""An environment is made once, whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from wherever_convert.environments import cache, python_for
from wherever_convert.environments.tool_sets import TOOL_SETS
from wherever_convert.running import run_model
from wherever_convert.sources import Request, find_source
from wherever_convert.sources.witnesses import compared

pytestmark = [pytest.mark.full, pytest.mark.timeout(300), pytest.mark.environments("boosting")]

# Makes the environment of a set that has one package, from a wheel beside the requirements.
MAKER = """
import sys
from pathlib import Path
from wherever_contracts.errors import WhereverError
from wherever_convert.environments import cache
from wherever_convert.environments.tool_sets import ToolSet

cache._REQUIREMENTS = Path(sys.argv[1])
tools = ToolSet("tiny", "Tests", ("wherever_tiny",), frozenset(), 1)
try:
    print(cache.python_of(tools, lambda words: print(words, flush=True)))
except WhereverError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def requirements(tmp_path) -> Path:
    folder = tmp_path / "requirements"
    folder.mkdir()
    wheel(folder, b"VALUE = 7\n")
    (folder / "tiny.txt").write_text(f"--no-index\n--find-links {folder}\nwherever-tiny==1.0\n")
    (folder / "tiny.constraints").write_text("")
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch) -> Iterator[Path]:
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(tmp_path / "cache"))
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path / "cache")


@pytest.fixture
def small_disk(tmp_path, monkeypatch) -> Iterator[Path]:
    """A cache on a disk of 24 MB: enough for Python, not for what comes then."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", place], check=True)
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(place))
    yield place
    subprocess.run(["umount", place], check=True)


def wheel(folder, content):
    """A wheel with one module, written by hand."""
    about = "wherever_tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / "wherever_tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("wherever_tiny.py", content)
        archive.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: wherever-tiny\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{about}/RECORD", "")


def start(requirements):
    return subprocess.Popen(
        [sys.executable, "-c", MAKER, requirements],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def works(python):
    command = [python, "-c", "import wherever_tiny; print(wherever_tiny.VALUE)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout == "7\n"


def until(condition, timeout_s=60.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def test_two_makers_at_once_make_it_once(requirements, own_cache):
    makers = [start(requirements), start(requirements)]
    (first, second) = sorted((finish(each) for each in makers), key=lambda each: "wait" in each[1])
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert first[1].startswith("making the environment 'tiny' (about 0.0 GB, once)")
    assert second[1].startswith("waiting for another process that makes the environment 'tiny'")
    assert "making the environment" not in second[1].partition("\n")[2]
    python = first[1].splitlines()[-1]
    assert python == second[1].splitlines()[-1]
    assert works(python)
    (folder,) = [each for each in own_cache.iterdir() if each.is_dir()]
    assert [each.ready for each in cache.listed()] == [True]
    said = json.loads((folder / "wherever.json").read_text())
    (folder / "wherever.json").write_text(json.dumps({**said, "folder": "/before/it/was/moved"}))
    assert [each.ready for each in cache.listed()] == [False]


def test_a_maker_that_was_killed_leaves_nothing_that_is_used(requirements, own_cache):
    victim = start(requirements)
    until(lambda: any(own_cache.glob("tiny-*/bin/python")))
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    (half,) = own_cache.glob("tiny-*/")
    assert not (half / "wherever.json").exists()
    code, out, err = finish(start(requirements))
    assert code == 0, err
    assert works(out.splitlines()[-1])
    assert "making the environment 'tiny'" in out


def test_an_interrupted_maker_cleans_up(requirements, own_cache):
    maker = start(requirements)
    until(lambda: any(own_cache.glob("tiny-*/bin/python")))
    maker.send_signal(signal.SIGINT)
    finish(maker)
    assert [each for each in own_cache.iterdir() if each.is_dir()] == []


def test_without_a_network_it_is_said_what_to_run(requirements, own_cache, monkeypatch):
    (requirements / "wherever_tiny-1.0-py3-none-any.whl").unlink()
    code, _, err = finish(start(requirements))
    assert code == 1
    assert err.startswith("MissingExtraError: Tests need tools that are not installed here")
    assert "the package index cannot be reached, or lacks something" in err
    assert "wherever environments --make tiny" in err
    assert len(err.strip().splitlines()) == 1
    (log,) = own_cache.glob("*.log")
    assert str(log) in err
    assert "No matching distribution" in log.read_text()
    assert [each for each in own_cache.iterdir() if each.is_dir()] == []


def test_a_full_disk_is_said_and_nothing_is_left(requirements, small_disk):
    wheel(requirements, os.urandom(30_000_000))
    code, _, err = finish(start(requirements))
    assert code == 1
    assert "the disk is full" in err
    assert [each for each in small_disk.iterdir() if each.is_dir()] == []


def test_what_the_file_imports_decides_where_it_runs(tmp_path):
    """In an interpreter that lacks the framework, the managed environment has it."""
    (tmp_path / "booster.py").write_text(
        "import numpy as np\nimport lightgbm\nx = np.random.default_rng(0).random((200, 4))\n"
        "model = lightgbm.LGBMClassifier(n_estimators=4, verbose=-1).fit(x, x.sum(1) > 2)\n"
    )
    told = []
    rows = np.random.default_rng(1).random((30, 4), np.float32)
    request = Request(rows, "classify", frozenset(), tmp_path, tell=told.append)
    source = f"{tmp_path / 'booster.py'}:model"
    model = find_source(source).load(source, request)
    assert (
        compared(model.witness, run_model(model.files["onnx"], model.witness.inputs)).error < 1e-4
    )
    python = cache.interpreter(cache.folder_of(TOOL_SETS["boosting"]))
    assert python.exists()
    assert python_for("boosting") == python
