"""Making an environment: once, whole or not at all, with a reason when it cannot be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wherever_contracts.errors import MissingExtraError, SettingsError
from wherever_convert.environments import Tell, quiet
from wherever_convert.environments.pip_log import news, why_failed
from wherever_convert.environments.tool_sets import ToolSet
from wherever_convert.process_groups import run_in_group
from wherever_edge.durable import lock, write_durably

# Written last: without it a directory is what an ended maker left.
MARKER = "wherever.json"

_PIP = "pip==26.3"
_TIMEOUT_S = 3600
# What would make pip write somewhere else than into the environment.
_ELSEWHERE = frozenset({"PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PYTHONHOME"})
_SPARE = 1.1
_FULL_BYTES = 4_000_000


@contextmanager
def alone(folder: Path, tools: ToolSet | None, tell: Tell = quiet) -> Generator[int]:
    """Let one process at a time make or remove an environment.

    Args:
        folder: the environment's.
        tools: what is in it; None: do not wait for another process.
        tell: told when there is one to wait for.

    Yields:
        The locked file. Whoever inherits it holds the lock, too: what an ended maker started and
        left behind may still write there.

    Raises:
        SettingsError: another process has it, and is not waited for; or it cannot be locked.
    """
    path = folder.with_name(f"{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise SettingsError(
            f"{path.parent} cannot be written ({error.strerror}); WHEREVER_ENVIRONMENTS names "
            f"another directory for environments"
        ) from error
    try:
        _lock(descriptor, folder, tools, tell)
        yield descriptor
    finally:
        os.close(descriptor)


def make(tools: ToolSet, requirements: Path, folder: Path, tell: Tell, descriptor: int) -> None:
    """Make an environment; whoever calls has it alone.

    Args:
        tools: what goes into it.
        requirements: the file that pins them.
        folder: where it goes; what an ended maker left there is removed.
        tell: told what happens.
        descriptor: the locked file.

    Raises:
        MissingExtraError: it cannot be made; nothing is left of it but pip's log.
    """
    size = f"{tools.megabytes / 1000:.1f} GB"
    tell(f"making the environment {tools.name!r} (about {size}, once)")
    maker = _Maker(tools, folder, tell, descriptor)
    shutil.rmtree(folder, ignore_errors=True)
    maker.log.unlink(missing_ok=True)
    try:
        maker.check_space()
        maker.run(sys.executable, "-I", "-m", "venv", str(folder))
        maker.pip("--upgrade", "--quiet", _PIP)
        maker.pip("-r", str(requirements), "-c", str(requirements.with_suffix(".constraints")))
        maker.mark()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def size_of(folder: Path) -> int:
    """The bytes of all files below a directory."""
    return sum(each.lstat().st_size for each in folder.rglob("*") if not each.is_dir())


@dataclass(frozen=True)
class _Maker:
    """One making of an environment."""

    tools: ToolSet
    folder: Path
    tell: Tell
    descriptor: int

    @property
    def log(self) -> Path:
        return self.folder.with_name(f"{self.folder.name}.log")

    def check_space(self) -> None:
        """Refuse before any work what would fill the disk."""
        free = shutil.disk_usage(self.folder.parent).free
        wanted = int(self.tools.megabytes * 1e6 * _SPARE)
        if free < wanted:
            raise self.refusal(f"{wanted / 1e9:.1f} GB are needed there, {free / 1e9:.1f} are free")

    def pip(self, *arguments: str) -> None:
        """Install something in the environment."""
        python = self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
        options = (
            "--disable-pip-version-check",
            "--no-input",
            "--progress-bar=off",
            "--no-compile",
        )
        self.run(str(python), "-I", "-m", "pip", "install", *options, *arguments)

    def run(self, *command: str) -> None:
        """Run one step.

        Raises:
            MissingExtraError: it failed.
        """
        told = ""

        def look() -> None:
            nonlocal told
            latest = news(self._printed())
            if latest not in {"", told}:
                told = latest
                self.tell(f"environment {self.tools.name!r}: {latest}")

        variables = {name: each for name, each in os.environ.items() if name not in _ELSEWHERE}
        try:
            code = run_in_group(
                command,
                self.log,
                env=variables,
                timeout_s=_TIMEOUT_S,
                keep=[self.descriptor],
                look=look,
            )
        except subprocess.TimeoutExpired as error:
            raise self.refusal(f"it took longer than {_TIMEOUT_S} s") from error
        if code:
            raise self.refusal(self._why() or f"exit code {code}")

    def mark(self) -> None:
        """Say that it is whole."""
        said = {
            "name": self.tools.name,
            "folder": str(self.folder),
            "python": sys.version.split()[0],
            "size_bytes": size_of(self.folder),
        }
        write_durably(self.folder / MARKER, json.dumps(said, indent=2).encode())

    def refusal(self, reason: str) -> MissingExtraError:
        """Why there is no environment, and what to do."""
        return MissingExtraError(
            f"{self.tools.title} need tools that are not installed here, and the environment "
            f"{self.tools.name!r} for them could not be made in {self.folder.parent}: {reason}. "
            f"With a network and {self.tools.megabytes / 1000:.1f} GB of disk, run: "
            f"wherever environments --make {self.tools.name}{self._logged()}"
        )

    def _why(self) -> str:
        # the making of a virtual environment does not say why it failed
        if shutil.disk_usage(self.folder.parent).free < _FULL_BYTES:
            return "the disk is full"
        return why_failed(self._printed())

    def _logged(self) -> str:
        return f" (pip's words are in {self.log})" if self.log.is_file() else ""

    def _printed(self) -> Sequence[str]:
        return self.log.read_text(errors="replace").splitlines() if self.log.is_file() else ()


def _lock(descriptor: int, folder: Path, tools: ToolSet | None, tell: Tell) -> None:
    try:
        lock(descriptor, wait=False)
    except OSError:
        if tools is None:
            raise SettingsError(f"{folder} is being made by another process") from None
        tell(f"waiting for another process that makes the environment {tools.name!r}")
        lock(descriptor, wait=True)
