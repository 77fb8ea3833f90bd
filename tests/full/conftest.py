"""What these tests need that pip does not bring: other environments, Debian's programs."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as pillow

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


@pytest.fixture(scope="session")
def chromium(debian: Callable[[str, str], str]) -> str:
    """The path of Chromium."""
    return debian("chromium", "chromium")


# What a browser reads and writes; the first move keeps one from being lost under the other.
_AT_THREE_AND_FOUR = 'exec 20<&{} 21>&{}; exec "$@" 3<&20 4>&21 20<&- 21>&-'


class Browser:
    """Chromium, asked by its DevTools protocol over a pipe, so that no port is open.

    Every name resolves to nothing, but for this machine's own address.
    """

    def __init__(self, program: str, profile: Path) -> None:
        theirs, self._asking = os.pipe()
        self._answers, own = os.pipe()
        options = (
            "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
            "--disable-background-networking --disable-component-update --disable-sync "
            "--remote-debugging-pipe --hide-scrollbars about:blank"
        )
        command = [program, *options.split(), f"--user-data-dir={profile}"]
        command.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
        self._process = subprocess.Popen(
            ["bash", "-c", _AT_THREE_AND_FOUR.format(theirs, own), "bash", *command],
            pass_fds=(theirs, own),
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs)
        os.close(own)
        self._rest = b""
        self._number = 0
        self.events: list[dict[str, Any]] = []
        self._session: str | None = None

    def start(self) -> None:
        """Open the window in which pages are shown."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        answer = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """Carry a command out, and keep the events that come meanwhile."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._asking, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, page: Path | str, width: int, scheme: str) -> None:
        """Show a page that is a file or has an address, and wait until it is there."""
        self.events.clear()
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.ask("Emulation.setDeviceMetricsOverride", **size)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.ask("Emulation.setEmulatedMedia", media="", features=[feature])
        self.ask("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        while not any(each.get("method") == "Page.loadEventFired" for each in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """What an expression is in the page."""
        said = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in said, said
        return said["result"].get("value")

    def picture(self, *, whole: bool) -> pillow.Image:
        said = self.ask("Page.captureScreenshot", captureBeyondViewport=whole)
        return pillow.open(io.BytesIO(base64.b64decode(said["data"])))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        os.close(self._asking)
        os.close(self._answers)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], 60)
            data = os.read(self._answers, 1 << 16) if ready else b""
            assert data, "chromium has ended, or does not answer"
            self._rest += data
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)


@pytest.fixture(scope="module")
def browser(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    opened = Browser(chromium, tmp_path_factory.mktemp("profile"))
    try:
        opened.start()
        yield opened
    finally:
        opened.close()
