"""An update arrives signed, under running calls; one that was tampered with is refused."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever.cli._demo_calls import Caller
from wherever.cli._demo_process import ask, attempt
from wherever_contracts.errors import WhereverError
from wherever_contracts.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from wherever.cli._demo_calls import VersionResult
    from wherever.cli._demo_modes import Digit
    from wherever.cli._demo_view import View
    from wherever_edge.packages.store import Package

_OVER_WITHIN_S = 10.0


class Refusal(NamedTuple):
    """Why an update was refused: a word for programs, and a sentence."""

    kind: str
    why: str


@dataclass(slots=True)
class UpdateResult:
    """What came of the updates.

    Attributes:
        versions: what was answered by each version that served, in their order.
        failed: how many calls got no answer.
        error: what the first of them said.
        refusal: of the version that was tampered with.
        over_s: seconds from the start of each update to the first answer of its version.
    """

    versions: list[VersionResult]
    failed: int
    error: str
    refusal: Refusal
    over_s: list[float]

    @property
    def calls(self) -> int:
        """How many calls there were."""
        return self.failed + sum(version.calls for version in self.versions)

    @property
    def mixed(self) -> int:
        """How many answers were not of the version that their receipt names."""
        return sum(version.mixed for version in self.versions)

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain data; only what is `measured` differs from run to run."""
        return {
            "failed": self.failed,
            "mixed": self.mixed,
            "versions": [version.to_dict() for version in self.versions],
            "refused": {"kind": self.refusal.kind, "measured": {"why": self.refusal.why}},
            "measured": {"calls": self.calls, "over_s": self.over_s},
        }


def show_updates(
    view: View,
    digits: Sequence[Digit],
    root: Path,
    settings: dict[str, Any],
    package: Package,
    newer: Path | None,
) -> UpdateResult:
    """Publish two newer versions of a package, the second one damaged, while calls keep coming.

    Args:
        view: shows it as it happens.
        digits: what is asked, over and over.
        root: a directory for the registry.
        settings: of the device's client, its home among them.
        package: what serves at first.
        newer: the directory of the next version; None takes a copy of `package`.

    Raises:
        WhereverError: an update that should be installed was not, or the other way round.
    """
    first = newer or _copy(package.root, root / "next", next_minor(package.version))
    second = _copy(first, root / "after", next_minor(next_minor(package.version)))
    registry = root / "registry"
    view.title("8  an update arrives, signed, while calls keep coming")
    with view.waiting("making a registry ..."):
        made = ask(root, "repo", "init", registry)
    with _served(registry) as url, Caller(digits, {**settings, "registry": url}, package) as caller:
        device = _Device(Path(settings["home"]), url, str(made["root_sha256"]), package.name)
        _publish(view, root, first, f"into a registry at {url}")
        over_s = [_go_over(view, device, caller)]
        view.title("9  an update that was tampered with is refused")
        _publish(view, root, second, "and one bit of it changed on the server")
        with _one_bit_changed(_archive(registry, second)):
            refusal = _refused(view, device)
            _check_goes_on(view, caller, first)
        over_s.append(_go_over(view, device, caller))
    versions = caller.results([first, second])
    view.versions(versions, caller.failed)
    return UpdateResult(versions, caller.failed, caller.error, refusal, over_s)


def next_minor(version: str) -> str:
    """The next minor version: "1.1.0" after "1.0.3"."""
    major, minor, _ = version.split(".", 2)
    return f"{major}.{int(minor) + 1}.0"


def shortened(why: str) -> str:
    """A message with files by their bare names, and with digests of twelve digits."""
    without_address = re.sub(r"\S+://\S*/(?:[0-9a-f]{64}\.)?", "", why)
    return re.sub(r"([0-9a-f]{12})[0-9a-f]{52}", r"\1", without_address)


class _Device(NamedTuple):
    """A device that follows a registry."""

    home: Path
    url: str
    root_sha256: str
    model: str

    def update(self) -> dict[str, Any]:
        """What `wherever update` says of the model."""
        trust = ("--registry", self.url, "--root-sha256", self.root_sha256)
        said = attempt(self.home, "update", self.model, *trust, "--channel", "stable")
        if not said.data.get("models"):
            raise WhereverError(f"`wherever update` failed: {said.error.get('message')}")
        model: dict[str, Any] = said.data["models"][0]
        return model


def _go_over(view: View, device: _Device, caller: Caller) -> float:
    """Update, and wait until calls are answered by the new version; seconds that both took."""
    with view.waiting("updating ..."):
        caller.wait_for(caller.version, _OVER_WITHIN_S)
        before, started = caller.version, perf_counter()
        said = device.update()
        if said["outcome"] != "updated":
            raise WhereverError(f"{said['name']} was not updated: {said['outcome']}: {said['why']}")
        over_s = caller.wait_for(said["version"], _OVER_WITHIN_S) - started
    view.did(
        "update", f"{before} -> {said['version']}, {said['trust']}; it answers {over_s:.1f} s later"
    )
    return over_s


def _refused(view: View, device: _Device) -> Refusal:
    """Update, which must be refused."""
    with view.waiting("updating ..."):
        said = device.update()
    if said["outcome"] != "refused":
        raise WhereverError(f"an update that was tampered with was not refused: {said}")
    refusal = Refusal(said["kind"], shortened(said["why"]))
    view.did("update", f"refused, {refusal.kind}:")
    view.quote(refusal.why)
    return refusal


def _check_goes_on(view: View, caller: Caller, package: Path) -> None:
    """Make sure that calls are still answered by the version before."""
    caller.wait_for_more()
    if caller.version != _version(package):
        raise WhereverError(f"{caller.version} answers after an update that was refused")
    view.did("", f"meanwhile {caller.version} answers; the bit is put back")


def _publish(view: View, root: Path, package: Path, where: str) -> None:
    with view.waiting("signing ..."):
        ask(root, "publish", package, "--repo", root / "registry", "--channel", "stable")
    view.did("publish", f"{_version(package)} signed, {where}")


def _copy(source: Path, target: Path, version: str) -> Path:
    """The same package as another version."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = json.loads((target / MANIFEST_NAME).read_bytes())
    (target / MANIFEST_NAME).write_text(json.dumps({**manifest, "version": version}))
    return target


def _version(package: Path) -> str:
    return str(json.loads((package / MANIFEST_NAME).read_bytes())["version"])


def _archive(registry: Path, package: Path) -> Path:
    """Where the registry has a package's archive."""
    (archive,) = registry.rglob(f"*-{_version(package)}.wherever")
    return archive


@contextmanager
def _one_bit_changed(path: Path) -> Generator[None]:
    """A file with one bit in its middle changed, for the time of the block."""
    data = path.read_bytes()
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    path.write_bytes(changed)
    try:
        yield
    finally:
        path.write_bytes(data)


class _Handler(SimpleHTTPRequestHandler):
    """Files of a directory, without a word about each request."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
        """Say nothing."""


@contextmanager
def _served(directory: Path) -> Generator[str]:
    """A directory on a web server of this process; gives its address."""
    handler = partial(_Handler, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
