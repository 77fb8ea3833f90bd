"""How promises and feedback stand, read from the evidence that this device's processes kept."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from wherever._ledger import Key, Ledger

if TYPE_CHECKING:
    from wherever._escalation.account import Account
    from wherever._escalation.facts import Facts
    from wherever_edge.packages.package import Package


class _Read(NamedTuple):
    """What was read of a variant so far: what it comes to, and how far each file was read."""

    account: Account
    seen: dict[str, int]


class Standing:
    """Reads what is new in the evidence each time, and no more; safe to use from many threads.

    Args:
        ledger: the evidence.
        audit_share: the probability with which answers that are given are audited; 0: none is.
    """

    def __init__(self, ledger: Ledger, audit_share: float) -> None:
        self._ledger = ledger
        self._audit_share = audit_share
        self._lock = threading.Lock()
        self._read: dict[Key, _Read] = {}

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with keeping evidence, in words."""
        return self._ledger.problems

    def facts(self, packages: Sequence[Package]) -> tuple[Facts, ...]:
        """What is known of the variants of these packages that there is evidence of."""
        by_key = {(each.name, each.digest[:12]): each for each in packages}
        with self._lock:
            return tuple(
                facts
                for key in sorted(self._ledger.keys())
                if (package := by_key.get((key.model, key.digest))) is not None
                for facts in self._of(key, package)
            )

    def _of(self, key: Key, package: Package) -> tuple[Facts, ...]:
        read = self._read.get(key)
        if read is None:
            read = self._read[key] = _Read(self._account(key, package), {})
        for event in self._ledger.news(key, read.seen):
            read.account.add(event)
        return read.account.promises()

    def _account(self, key: Key, package: Package) -> Account:
        from wherever._escalation.account import Account  # noqa: PLC0415 (numpy)
        from wherever._escalation.accuracy import reference_accuracy  # noqa: PLC0415 (likewise)

        account = Account(
            key.model, package.version, key.variant, reference_accuracy(package.manifest)
        )
        if self._audit_share:
            account.audits(self._audit_share)
        return account
