"""A first conversion: a fresh environment, one command in a terminal, a proven package."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ESTIMATOR = ROOT / "examples" / "digits" / "estimator.py"

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory) -> Path:
    """The programs of an environment with what the example's first lines install."""
    folder = tmp_path_factory.mktemp("fresh") / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    install = [str(folder / "bin" / "pip"), "install", "-q", "--no-compile"]
    subprocess.run([*install, f"{ROOT}[convert]", "scikit-learn"], check=True)
    return folder / "bin"


@pytest.fixture
def desk(fresh, tmp_path, monkeypatch) -> Path:
    """An empty directory with the samples, and the environment's programs before others."""
    desk = tmp_path / "desk"
    desk.mkdir()
    subprocess.run([str(fresh / "python"), str(ESTIMATOR)], cwd=desk, check=True)
    monkeypatch.setenv("PATH", f"{fresh}{os.pathsep}{os.environ['PATH']}")
    return desk


def command() -> list[str]:
    """The command of the example's own words."""
    words = ESTIMATOR.read_text().split("wherever convert ", 1)[1].split('"""', 1)[0]
    arguments = words.replace("\\", " ").split()
    return ["wherever", "convert", str(ROOT / arguments[0]), *arguments[1:]]


def in_terminal(arguments: list[str], folder: Path, until: str = "") -> tuple[int, str]:
    """Run it in a terminal of 80 columns; Ctrl-C is pressed when `until` is shown.

    Returns:
        The exit code, and all that was shown.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(folder)
        os.environ["COLUMNS"] = "80"
        os.execvp(arguments[0], arguments)
    shown = b""
    while select.select([terminal], [], [], 120)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # how Linux says that nobody has the terminal open any more
            break
        if until and until.encode() in shown:
            os.write(terminal, b"\x03")
            until = ""
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()


def test_the_first_conversion_is_one_command_that_shows_where_it_is_and_gives_a_proven_package(
    desk, capsys
):
    start = time.monotonic()
    code, shown = in_terminal(command(), desk)
    took_s = time.monotonic() - start
    with capsys.disabled():
        print(f"\nthe demo's estimator was converted in {took_s:.1f} s")
    assert code == 0, shown
    stages = ["running estimator.py for estimator", "cleaning the graph", "making ONNX, int8"]
    places = [shown.index(each) for each in [*stages, "proving my-digits-fp32"]]
    assert places == sorted(places)
    report = shown.rpartition("\x1b")[2]
    assert re.search(r"onnxruntime +0\.9\d+ +\+0\.0000 +1\.0000 +[\d.]+ [mu]s", report)
    assert max(map(len, report.splitlines())) <= 80
    assert sorted(path.name for path in desk.iterdir()) == [
        "my-digits",
        "my-digits.html",
        "samples.npz",
    ]
    proof = ["wherever", "prove", "my-digits", "--samples", "samples.npz"]
    proven = subprocess.run(proof, cwd=desk, capture_output=True, text=True, check=False)
    assert proven.returncode == 0, proven.stdout + proven.stderr
    assert "my-digits 1.0.0: passed" in proven.stdout


def test_on_a_pipe_there_is_nothing_but_the_report(desk):
    done = subprocess.run(command(), cwd=desk, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("my-digits 1.0.0: my-digits\n")
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize("stage", ["running estimator.py", "cleaning the graph", "making ONNX"])
def test_ctrl_c_leaves_nothing_behind(desk, stage):
    code, shown = in_terminal(command(), desk, until=stage)
    assert code == 130, shown
    assert "Traceback" not in shown
    assert [path.name for path in desk.iterdir()] == ["samples.npz"]
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(desk) not in running.stdout
