"""Answers of one route that were kept: what an attempt would be answered with, if it was before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wherever_contracts.receipts import Answer

if TYPE_CHECKING:
    from wherever._cache import ResultCache
    from wherever._routing.flow import Attempt, Outcome
    from wherever_edge.host import LoadedVariant
    from wherever_edge.packages.store import Package


class KeptAnswers:
    """The result cache, as calls of one route use it.

    An attempt on the device is looked up as the variant that is loaded there, one on a box or
    gateway as the reference. A remote answer is kept only when its host says that the reference
    gave it.

    Args:
        cache: where answers are kept.
        package: the model.
        signature_digest: of its signature.
        device: the variant that this device answers with; None when it does not.
    """

    __slots__ = ("_cache", "_device", "_reference", "_signature_digest")

    def __init__(
        self,
        cache: ResultCache,
        package: Package,
        signature_digest: str,
        device: LoadedVariant | None,
    ) -> None:
        manifest = package.manifest
        self._cache = cache
        self._signature_digest = signature_digest
        self._reference: tuple[str, str] = (
            package.variant_digest(manifest.reference),
            manifest.variant(manifest.reference).precision,
        )
        ran = None if device is None else device.ran
        self._device = (ran.variant_digest, ran.precision) if ran else self._reference

    def find(
        self, attempt: Attempt, inputs: Mapping[str, Any], options: Mapping[str, float]
    ) -> Answer | None:
        """The answer that `attempt` would give, if it was kept."""
        return self._cache.get(self._key(attempt, inputs, options))

    def keep(
        self,
        attempt: Attempt,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
        outcome: Outcome,
    ) -> None:
        """Keep what came of `attempt`, if it is what `find` will mean."""
        if not isinstance(outcome, Answer) or outcome.cached:
            return
        if (outcome.ran.variant_digest, outcome.ran.precision) == self._meant(attempt):
            self._cache.put(self._key(attempt, inputs, options), outcome)

    def _meant(self, attempt: Attempt) -> tuple[str, str]:
        return self._device if attempt.candidate.place == "device" else self._reference

    def _key(
        self, attempt: Attempt, inputs: Mapping[str, Any], options: Mapping[str, float]
    ) -> bytes:
        digest, precision = self._meant(attempt)
        return self._cache.key(digest, precision, inputs, options, self._signature_digest)
