"""Where measurements are kept: one file under the home for each machine that they were made on."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_contracts.errors import OverloadedError
from wherever_devices.measured import (
    DamagedError,
    Fingerprint,
    Measurements,
    fingerprint,
    read_measurements,
    short_name,
    write_measurements,
)
from wherever_edge import plugins
from wherever_edge.durable import lock, write_durably
from wherever_edge.engines.installed import GROUP

if TYPE_CHECKING:
    from wherever_devices.machine import Machine

_LOG = logging.getLogger(__name__)
_FOLDER = "measured"
_NOTHING = Measurements()
_LOCK = ".lock"
# The distributions that bring the runtimes of our own engines.
_RUNTIMES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "litert": "ai-edge-litert"}


class KeptMeasurements:
    """The measurements of one machine under one home.

    Reading them costs one look at the file's time and size while it stays as it is. A file that
    is damaged counts as empty; `trouble` and a warning say so, and the next save replaces it.

    Args:
        home: where state is kept.
        machine: what the figures are for.

    Attributes:
        trouble: why the file was not used, or "".
    """

    def __init__(self, home: Path, machine: Machine) -> None:
        self._folder = home / _FOLDER
        self._machine = machine
        self._seen: tuple[int, int, int] | None = None
        self._read = Measurements()
        self._about: Fingerprint | None = None
        self.trouble = ""

    @property
    def about(self) -> Fingerprint:
        """The machine as the figures depend on it."""
        if self._about is None:
            self._about = fingerprint(self._machine, engine_versions())
        return self._about

    @property
    def path(self) -> Path:
        """The file."""
        return self._folder / f"{short_name(self.about)}.json"

    def load(self) -> Measurements:
        """What was measured so far."""
        if not os.path.isdir(self._folder):  # noqa: PTH112 (False, too, where nobody may look)
            return _NOTHING
        seen = _state(self.path)
        if seen != self._seen:
            self._seen, self._read = seen, self._load()
        return self._read

    def save(self, found: Measurements) -> None:
        """Replace what is kept.

        Raises:
            OSError: it cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        write_durably(self.path, write_measurements(self.about, found))

    @contextmanager
    def alone(self) -> Generator[None]:
        """Around measuring: two who measure at once would measure each other.

        Raises:
            OverloadedError: somebody else measures under this home.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                lock(descriptor, wait=False)
            except OSError as error:
                raise OverloadedError(
                    f"another process measures under {self._folder} now; try again when it is done"
                ) from error
            yield
        finally:
            os.close(descriptor)

    def _load(self) -> Measurements:
        self.trouble = ""
        try:
            return read_measurements(self.path.read_bytes(), self.about)
        except FileNotFoundError:
            return Measurements()
        except (OSError, DamagedError) as error:
            self.trouble = f"{self.path} is not used: {error}"
            _LOG.warning("%s; `wherever profile` measures anew", self.trouble)
            return Measurements()


@cache
def engine_versions() -> dict[str, str]:
    """Name -> version of the runtime, of the engines that are installed."""
    points = plugins.entry_points(GROUP)
    found = {name: _version(name, point.dist) for name, point in points.items()}
    return {name: version for name, version in found.items() if version}


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _version(name: str, plugin: object) -> str:
    """The runtime's version; of an engine by others the version of the plug-in."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 (28 ms)

    if name not in _RUNTIMES:
        return str(getattr(plugin, "version", "")) or "of unknown version"
    try:
        return version(_RUNTIMES[name])
    except PackageNotFoundError:
        return ""
