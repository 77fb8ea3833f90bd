"""What a client keeps of its calls beside answering them: evidence, receipts and feedback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pathlib import Path

    from wherever._assured import Assured
    from wherever._calls import Call
    from wherever._escalating import Escalation
    from wherever._escalation.events import Judged
    from wherever._escalation.purse import Purse
    from wherever._escalation.words import Aim, Budget
    from wherever._feedback import Opinions
    from wherever._ledger import Key, Ledger
    from wherever._prediction import Prediction
    from wherever._records.journal import Journal
    from wherever._settings import Settings
    from wherever._standing import Standing
    from wherever_edge.packages.package import Package
    from wherever_edge.packages.store import Store

# what calls asked for of late; whoever asks for something else each time begins anew
_MOST_AIMS = 64


class Witness:
    """Opens what its calls need, when they first need it. Safe to use from many threads.

    Args:
        settings: the client's.
        behind: runs a function in a thread that no call waits for; False: it cannot.
        store: the packages that are known here.
    """

    def __init__(
        self,
        settings: Settings,
        behind: Callable[..., bool],
        store: Callable[[], Store],
    ) -> None:
        self._settings = settings
        self._behind = behind
        self._store = store
        self._lock = threading.RLock()
        self._ledger: Ledger | None = None
        self._journal: Journal | None = None
        self._opinions: Opinions | None = None
        self._standing: Standing | None = None
        self._assured: dict[tuple[str, Aim], Assured] = {}
        self._purses: dict[tuple[str, Budget], Purse] = {}

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """Stay behind when a prediction goes to another process: there is none in its copy."""
        return _nobody, ()

    def __deepcopy__(self, _: object) -> Self:
        """The same one: a copy of a prediction is of the same call."""
        return self

    def escalation(
        self,
        package: Package,
        thresholds: Mapping[str, float],
        aim: Aim | None,
        here: str | None = None,
    ) -> Escalation | None:
        """What calls of a package with this aim are measured by; None: by the package alone.

        Args:
            package: the model.
            thresholds: what it says itself, by variant.
            aim: what calls ask.
            here: the variant that this device answers with; what is known of it is read now.
        """
        if aim is None or (aim.max_disagreement is None and aim.budget is None):
            return None
        from wherever._escalating import Escalation  # noqa: PLC0415 (few calls have an aim)

        with self._lock:
            purse = None if aim.budget is None else self._purse(package.name, aim.budget)
            assured = None if aim.max_disagreement is None else self._assure(package, aim)
        if assured is not None and here is not None and here != package.manifest.reference:
            assured.prepare(here)
        return Escalation(thresholds, assured, purse)

    def record(self, prediction: Prediction, call: Call) -> None:
        """Write down a call and its receipt."""
        from wherever._records.recording import record_of  # noqa: PLC0415 (few are recorded)

        journal = self.journal()
        inputs = prediction.context.inputs
        record = record_of(prediction, call, journal)
        journal.put(record, inputs if self._settings.record_inputs else None)

    def feedback(self, prediction: Prediction, *, label: Any, accepted: bool | None) -> None:
        """Note the truth about an answer."""
        self.opinions().feedback(prediction, label=label, accepted=accepted)

    def opinions(self) -> Opinions:
        """Who is told the truth about answers."""
        from wherever._feedback import Opinions  # noqa: PLC0415 (few clients are told any)

        with self._lock:
            if self._opinions is None:
                self._opinions = Opinions(self._judged, self._journal_if_any, self._package)
            return self._opinions

    def standing(self) -> Standing | None:
        """How promises and feedback stand; None: nobody ever asked for any here."""
        if self._ledger is None and not _is_folder(self._settings.home / "evidence"):
            return None
        from wherever._standing import Standing  # noqa: PLC0415 (few clients have any)

        with self._lock:
            for assured in self._assured.values():
                assured.tell()
            if self._standing is None:
                self._standing = Standing(self.ledger(), self._settings.audit_share)
            return self._standing

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be kept, in words."""
        with self._lock:
            journal, ledger = self._journal, self._ledger
        trouble = () if journal is None or not journal.problem else (journal.problem,)
        return (*trouble, *(() if ledger is None else ledger.problems))

    def ledger(self) -> Ledger:
        """Where evidence is kept."""
        from wherever._ledger import Ledger  # noqa: PLC0415 (not every client needs it)

        with self._lock:
            if self._ledger is None:
                self._ledger = Ledger(self._settings.home)
            return self._ledger

    def journal(self) -> Journal:
        """Where receipts and feedback are kept."""
        from wherever._records.journal import Journal  # noqa: PLC0415 (likewise)

        with self._lock:
            if self._journal is None:
                self._journal = Journal(
                    self._settings.home, max_bytes=self._settings.record_max_bytes
                )
            return self._journal

    def close(self) -> None:
        """Write what waits."""
        with self._lock:
            promises = list(self._assured.values())
            journal, ledger = self._journal, self._ledger
        for assured in promises:
            assured.tell()
        if ledger is not None:
            ledger.close()
        if journal is not None:
            journal.close()

    def _judged(self, key: Key, judged: Judged) -> None:
        """Keep what is known of an answer now, and tell the promises that it is about."""
        self.ledger().add(key, judged)
        with self._lock:
            promises = [made for (digest, _), made in self._assured.items() if digest == key.digest]
        for assured in promises:
            assured.judged(key.variant, judged)

    def _package(self, name: str) -> Package:
        return self._store().get(name)

    def _journal_if_any(self) -> Journal | None:
        """The recorded calls of this home; None: there are none."""
        if self._journal is None and not _is_folder(self._settings.home / "receipts"):
            return None
        return self.journal()

    def _purse(self, model: str, budget: Budget) -> Purse:
        from wherever._escalation.purse import Prices, Purse  # noqa: PLC0415 (few calls have a budget)

        key = model, budget
        if key not in self._purses:
            for oldest in list(self._purses)[: 1 - _MOST_AIMS]:
                del self._purses[oldest]
            prices = Prices(self._settings.cost_per_call, self._settings.cost_per_gb)
            self._purses[key] = Purse(budget, prices, monotonic, threading.Lock())
        return self._purses[key]

    def _assure(self, package: Package, aim: Aim) -> Assured:
        from wherever._assured import Assured  # noqa: PLC0415 (few calls are promised anything)

        key = package.digest, aim
        if key not in self._assured:
            for oldest in list(self._assured)[: 1 - _MOST_AIMS]:
                self._assured.pop(oldest).tell()
            share = self._settings.audit_share
            self._assured[key] = Assured(package, aim, self.ledger(), share, self._behind)
        return self._assured[key]


def _nobody() -> None:
    """Who is told the truth about an answer of another process."""


def _is_folder(path: Path) -> bool:
    """Whether it is a directory; one that nobody may look into is as good as none."""
    try:
        return path.is_dir()
    except OSError:
        return False
