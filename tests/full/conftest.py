"""What these tests need that pip does not bring: other environments, Debian's programs."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

IN_CI = os.environ.get("CI") == "true"


@pytest.fixture(scope="session", autouse=True)
def environments(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make what tests are marked to need beside the tests, from the first one that needs some on.

    Whoever needs an environment that is not made yet waits for it, or makes it.
    """
    marks = (mark for item in request.session.items for mark in item.iter_markers("environments"))
    names = dict.fromkeys(name for mark in marks for name in mark.args)
    if not names or os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        yield
        return
    command = [sys.executable, "-m", "wherever", "environments"]
    command += [part for name in names for part in ("--make", name)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        yield


@pytest.fixture(scope="session")
def debian() -> Callable[[str, str], str]:
    """Finds a program, and installs the Debian package that has it if it is not there yet."""

    def find(name: str, package: str) -> str:
        found = _found(name)
        if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
            _install(name, package)
            found = _found(name)
        if found is None and not IN_CI:
            pytest.skip(f"{name} is not here, and cannot be installed: apt-get install {package}")
        assert found, f"{package} is installed, and {name} is not there"
        return found

    return find


def _found(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _install(name: str, package: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with Path(os.environ["WHEREVER_TEST_TURNS"], "apt").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)  # of two at once, apt-get refuses one
        if _found(name) is None:
            for command in (["update"], ["install", "-y", "--no-install-recommends", package]):
                subprocess.run(["apt-get", "-qq", *command], env=environment, check=IN_CI)


@pytest.fixture(scope="session")
def peer_python() -> Callable[..., Path]:
    """Makes an environment of its own with what pip finds, once for all tests; gives its Python."""

    def make(name: str, *requirements: str) -> Path:
        home = Path(os.environ["WHEREVER_TEST_TURNS"])
        python = home / name / "bin" / "python"
        with (home / f"{name}.turn").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if not (home / name / "made").exists():
                subprocess.run([sys.executable, "-m", "venv", home / name], check=True)
                install = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
                subprocess.run([*install, *requirements], check=True)
                (home / name / "made").touch()
        return python

    return make
