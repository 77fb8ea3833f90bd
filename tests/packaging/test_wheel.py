"""What is in the wheel and the sdist, and that the wheel works on its own."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.check
ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "wherever",
    "wherever_contracts",
    "wherever_devices",
    "wherever_edge",
    "wherever_convert",
    "wherever_gateway",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(out), str(ROOT)],
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


def test_the_wheel_claims_no_import_name_but_ours(wheel):
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == PACKAGES


def test_the_wheel_carries_types_the_digits_package_and_its_test_split(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert "wherever_edge/builtin/digits/model.json" in names
    assert any(
        name.startswith("wherever_edge/builtin/") and name.endswith(".npz") for name in names
    )


def test_the_wheel_is_small_enough_for_a_laptop_app(wheel):
    assert wheel.stat().st_size < 2_000_000


def test_the_sdist_can_be_tested_and_leaves_caches_out(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
    inner = {name.split("/", 1)[1] for name in names if "/" in name}
    assert {"Makefile", "LICENSE", "tests/conftest.py", "docs/promises.md"} <= inner
    caches = re.compile(r"(^|/)(__pycache__|\.[a-z_]+_cache|\.hypothesis)/")
    assert not [
        name for name in inner if caches.search(name) or name.startswith((".venv", ".git/"))
    ]


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_bare_install_predicts_and_runs_the_demo(wheel, tmp_path):
    """`pip install .` in a clean environment gives the same `wherever demo`."""
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "env")], check=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True)
    code = "import wherever; p = wherever.predict('digits', [0] * 64); print(p.place)"
    done = subprocess.run(
        [python, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.strip() == "device"
    demo = subprocess.run(
        [tmp_path / "env" / "bin" / "wherever", "demo", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
