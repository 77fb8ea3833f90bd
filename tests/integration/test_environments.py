"""Scripts run in other environments with nothing of ours, and end with whoever started them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import time
import venv
from pathlib import Path

import numpy as np
import pytest

from wherever_contracts.errors import ConversionError, MissingExtraError, SettingsError
from wherever_convert.environments import cache, python_for
from wherever_convert.environments.making import MARKER
from wherever_convert.environments.tool_sets import ToolSet
from wherever_convert.running import run_model
from wherever_convert.sources import Request, find_source
from wherever_convert.sources.witnesses import compared
from wherever_edge.cli import FAILED

TRAIN = """
import os
import sys

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

try:
    import wherever_contracts
except ImportError:
    pass
else:
    raise RuntimeError("wherever is here")


def model():
    if came := {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"} & os.environ.keys():
        raise RuntimeError(f"{came} came along")
    return LogisticRegression(max_iter=300).fit(*load_iris(return_X_y=True))


def where():
    raise RuntimeError(sys.prefix)
"""

SLOW = """
import os
import subprocess
import sys
import time
from pathlib import Path

grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
Path("pids.part").write_text(f"{os.getpid()} {grandchild.pid}")
Path("pids.part").rename("pids")
time.sleep(300)
"""

CONVERT = """
import sys
from pathlib import Path
from wherever_convert.sources import Request, find_source
scratch = Path("scratch")
scratch.mkdir()
find_source("slow.py:x").load("slow.py:x", Request(None, "tensors", frozenset(), scratch))
"""


@pytest.fixture(scope="module")
def training_python(tmp_path_factory) -> Path:
    """The Python of somebody's training environment: scikit-learn, and no wherever."""
    folder = tmp_path_factory.mktemp("training") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for path in files_of("scikit-learn", "skl2onnx"):
        (site / path.name).symlink_to(path)
    return folder / "bin" / "python"


def files_of(*names: str) -> set[Path]:
    """What distributions and all that they need have installed, at the top."""
    left, done, found = [*names], set(), set()
    while left:
        name = left.pop()
        try:
            installed = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another system
        needed = [each for each in installed.requires or () if "extra ==" not in each]
        left += {re.match(r"[\w.-]+", each)[0] for each in needed} - done
        done.add(name)
        tops = {path.parts[0] for path in installed.files if path.parts[0] != ".."}
        found |= {Path(installed.locate_file(top)) for top in tops - {"__pycache__"}}
    return found


@pytest.fixture
def train(tmp_path, monkeypatch):
    (tmp_path / "train.py").write_text(TRAIN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def request_for(folder, **changes):
    (folder / "scratch").mkdir(exist_ok=True)
    rows = np.random.default_rng(0).random((20, 4), np.float32) * 5
    return Request(rows, "classify", frozenset(), folder / "scratch", **changes)


def test_a_file_is_converted_in_an_environment_without_wherever(
    train, training_python, monkeypatch
):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "contracts"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    source = find_source("train.py:model")
    model = source.load("train.py:model", request_for(train, python=training_python))
    assert model.labels == ("0", "1", "2")
    assert model.facts["file"] == "train.py"
    assert {"scikit-learn", "skl2onnx"} <= model.facts["tools"].keys()
    parity = compared(model.witness, run_model(model.files["onnx"], model.witness.inputs))
    assert parity.error < 1e-5
    assert parity.rows == 20


def test_the_named_python_runs_the_file(train, training_python):
    with pytest.raises(ConversionError, match=str(training_python.parents[1])):
        find_source("train.py:where").load(
            "train.py:where", request_for(train, python=training_python)
        )


def test_a_module_that_the_environment_lacks_is_named_with_what_to_do(train, training_python):
    (train / "other.py").write_text("import onnxruntime\n")
    with pytest.raises(ConversionError, match=r"other\.py imports onnxruntime, .*--python"):
        find_source("other.py:x").load("other.py:x", request_for(train, python=training_python))


def test_a_python_that_is_not_there_is_said(train):
    with pytest.raises(ConversionError, match=r"none/python cannot be run"):
        find_source("train.py:model").load(
            "train.py:model", request_for(train, python=train / "none" / "python")
        )


def test_frameworks_that_go_into_no_environment_are_refused_before_the_file_runs(tmp_path):
    (tmp_path / "both.py").write_text("import torch, keras, xgboost\nraise SystemExit\n")
    source = f"{tmp_path / 'both.py'}:x"
    with pytest.raises(ConversionError, match=r"imports keras and torch and xgboost.*--python"):
        find_source(source).load(source, request_for(tmp_path))


def test_an_interruption_ends_everything_that_was_started(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    with subprocess.Popen(
        [sys.executable, "-c", CONVERT], cwd=tmp_path, stderr=subprocess.DEVNULL
    ) as process:
        until((tmp_path / "pids").exists)
        process.send_signal(signal.SIGINT)
        process.wait(20)
    assert_gone(tmp_path / "pids")


def test_tools_that_are_installed_here_need_no_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(tmp_path / "none"))
    assert python_for("scikit-learn") == Path(sys.executable)
    assert not (tmp_path / "none").exists()


def test_what_would_fill_the_disk_is_refused_before_any_work(monkeypatch, tmp_path):
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(tmp_path))
    huge = ToolSet("openvino", "Models of a kind", ("none",), frozenset(), 10**9)
    with pytest.raises(MissingExtraError, match=r"1100000\.0 GB are needed there.*--make openvino"):
        cache.python_of(huge)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_said(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(tmp_path / "file"))
    with pytest.raises(SettingsError, match=r"cannot be written .*WHEREVER_ENVIRONMENTS names"):
        cache.python_of(ToolSet("openvino", "Models", (), frozenset(), 1))


def test_environments_are_listed_and_removed_on_the_shell(answered, monkeypatch, tmp_path):
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(tmp_path))
    root = tmp_path
    whole, half = root / "torch-0123456789ab", root / "torch-ba9876543210"
    for folder in (whole, half):
        (folder / "bin").mkdir(parents=True)
        (folder / "bin" / "python").write_text("not really")
    (whole / MARKER).write_text(json.dumps({"folder": str(whole), "size_bytes": 7}))
    said = answered("environments")
    states = {each["folder"]: each["state"] for each in said["environments"]}
    assert states == {str(whole): "of other versions", str(half): "not whole"}
    assert [each["size_bytes"] for each in said["environments"]] == [7, 10]
    assert "keras" in said["known"]
    gone = answered("environments", "--remove", "torch")
    assert gone["environments"] == []
    assert sorted(gone["removed"]) == [str(whole), str(half)]
    assert not whole.exists()
    refused = answered("environments", "--remove", "torch", code=FAILED)
    assert "there is no environment 'torch' (there are: none)" in refused["error"]["message"]
    refused = answered("environments", "--make", "none", code=FAILED)
    assert "there is no environment 'none' to make" in refused["error"]["message"]


def until(condition, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def assert_gone(path):
    """The processes whose ids are in a file have ended."""
    for pid in map(int, path.read_text().split()):
        until(lambda pid=pid: not is_running(pid))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # an orphan that was ended stays in the table until somebody collects it
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
