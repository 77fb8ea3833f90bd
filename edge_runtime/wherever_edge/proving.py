"""A variant is proven on this machine before it serves: its golden samples, once, and remembered.

What passed is remembered in the home as an empty file whose name says what passed, where and in
which engine; so later processes pay one look at the disk. A home that cannot be written to, or
none, costs a process its own check.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from wherever_contracts.errors import GoldenError, MissingExtraError, WhereverError
from wherever_devices.measured import fingerprint, short_name
from wherever_edge.counters import COUNTERS

if TYPE_CHECKING:
    from wherever_devices.machine import Machine
    from wherever_edge.loaded import LoadedVariant

_LOG = logging.getLogger(__name__)
_FOLDER = "proven"
_MOST_REMEMBERED = 1000
_LEAST_BUDGET_S = 1.0
_SHARE_OF_LOADING = 0.02


def budget_s(load_s: float) -> float:
    """How long golden samples may take, seconds, after so many seconds of loading."""
    return max(_LEAST_BUDGET_S, _SHARE_OF_LOADING * load_s)


class Proving:
    """Says once which variants give their golden answers on this machine, and remembers it.

    Safe to use from many threads and processes.

    Args:
        machine: what this machine is.
        home: where it is remembered; None: in this process alone.
    """

    def __init__(self, machine: Machine, home: Path | None) -> None:
        self._machine = machine
        self._folder = None if home is None else home / _FOLDER
        self._passed: set[str] = set()
        self._wrong: dict[str, GoldenError] = {}
        self._locks: dict[str, threading.Lock] = {}

    def require(self, loaded: LoadedVariant, load_s: float) -> None:
        """Run golden samples of a variant, unless they passed here before.

        A package without any is served as it is. Samples that need what is not installed, such as
        Pillow for images, are passed over until it is: a caller may well have other inputs.

        Args:
            loaded: the variant.
            load_s: how long loading it took.

        Raises:
            GoldenError: a sample gave another answer here than where the package was made.
            PackageError: a sample's file is not what the manifest promises.
            EngineError: the engine fails on a sample.
        """
        if not loaded.package.manifest.golden:
            return
        name = self._name(loaded)
        with self._locks.setdefault(name, threading.Lock()):
            if self._known(name):
                return
            try:
                self._prove(name, loaded, budget_s(load_s))
            except WhereverError:
                loaded.resident.put_out()  # it will not run
                raise

    def remember(self, loaded: LoadedVariant) -> None:
        """Remember that a variant's golden samples passed, as whoever installs packages knows."""
        self._remember(self._name(loaded))

    def again(self) -> Proving:
        """The same in a forked process, whose parent's threads may hold locks."""
        fresh = Proving(self._machine, None)
        fresh._folder, fresh._passed = self._folder, self._passed
        return fresh

    def _prove(self, name: str, loaded: LoadedVariant, within_s: float) -> None:
        from wherever_edge.packages.golden import check_golden  # noqa: PLC0415 (most never check)

        model, variant = loaded.package.name, loaded.variant.id
        if name in self._wrong:
            raise self._wrong[name].with_traceback(None)
        try:
            told = str(check_golden(loaded, within_s))
        except MissingExtraError as error:
            told = str(error)
        except GoldenError as error:
            COUNTERS.add("wherever_golden_failures_total", model=model, variant=variant)
            self._wrong[name] = error
            raise
        _LOG.debug("%s %s: %s", model, variant, told)
        self._remember(name)

    def _name(self, loaded: LoadedVariant) -> str:
        """What passing depends on: the answers, the samples, what computes them, and where."""
        ran = loaded.ran
        facts = {
            "answers": loaded.package.answers_digest(loaded.variant.id),
            "golden": [sample.file.sha256 for sample in loaded.package.manifest.golden],
            "engine": [ran.engine, ran.engine_version, ran.provider, ran.precision],
            "images": find_spec("PIL") is not None,
            "machine": self._here,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    @cached_property
    def _here(self) -> str:
        return short_name(fingerprint(self._machine, {}))

    def _known(self, name: str) -> bool:
        return name in self._passed or (
            self._folder is not None and (self._folder / name).is_file()
        )

    def _remember(self, name: str) -> None:
        self._passed.add(name)
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).touch()
            self._forget_oldest(self._folder)
        except OSError as error:
            _LOG.debug("what passed is remembered in this process alone: %s", error)

    @staticmethod
    def _forget_oldest(folder: Path) -> None:
        known = list(folder.iterdir())
        if len(known) > _MOST_REMEMBERED:
            for path in sorted(known, key=lambda each: each.stat().st_mtime)[: len(known) // 2]:
                path.unlink(missing_ok=True)
