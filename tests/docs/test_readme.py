"""Every block of the README is run, here or where the comment above it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from wherever_edge.builtin import PACKAGES, digits_test_split

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"(?:<!-- run by (\S+) -->\n)?```(\w+)\n(.*?)```", TEXT, re.DOTALL)
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("WHEREVER_")},
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
}


def blocks(language: str) -> list[str]:
    return [code for elsewhere, name, code in BLOCKS if name == language and not elsewhere]


def run(command: list[str], home: Path) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=home,
        env={**ENVIRONMENT, "WHEREVER_HOME": str(home)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_block_is_of_a_kind_that_is_run_or_names_the_test_that_runs_it():
    for elsewhere, language, code in BLOCKS:
        if elsewhere:
            source = (ROOT / elsewhere).read_text()
            assert all(
                str(line.split())[:-1] in source.replace('"', "'") for line in code.splitlines()
            )
        else:
            assert language in {"python", "bash", "text"}


@pytest.fixture
def desk(tmp_path) -> Path:
    """A directory with what the README takes for granted: a model file and a picture."""
    shutil.copy(PACKAGES / "digits" / "cnn.onnx", tmp_path / "model.onnx")
    ink = digits_test_split()[0][0]
    Image.fromarray(ink.astype("uint8") * 15).resize((64, 64)).save(tmp_path / "photo.png")
    return tmp_path


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_a_python_block_runs(number, desk):
    code = blocks("python")[number]
    printed = run([sys.executable, "-W", "error", "-c", code], desk)
    expected = re.findall(r"(?m)^\s*print\(.*?\)\s+# (.*)", code)
    for line in expected:
        assert line in printed or "where it came from" in line


@pytest.mark.parametrize("number", range(len(blocks("bash"))))
def test_a_shell_block_runs(number, desk):
    code = blocks("bash")[number]
    printed = run(["bash", "-eu", "-m", "-c", code], desk)
    for expected in re.findall(r"# -> (.*)", code):
        assert expected in printed
