"""What a replica was found not to have, for a while. Pure: the time is passed in.

The replicas of a backend need not have the same models and versions: one may be loading, another
be updated first. A model counts as there until a call for it was refused and the replica, asked
for it, said that it is not ready.
"""

from __future__ import annotations

# a model that was not there is looked for again after this
ABSENT_S = 5.0
# a replica that has it is not asked again for as long, whatever it refuses
PRESENT_S = 10.0
_MOST = 1024


class Absences:
    """The models that one replica was asked for. One thread at a time uses it."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, str], tuple[float, bool]] = {}

    def lacks(self, model: str, version: str, now: float) -> bool:
        """Whether it is known not to have the model."""
        until, has = self._until.get((model, version), (now, True))
        return not has and now < until

    def is_due(self, model: str, version: str, now: float) -> bool:
        """Whether it should be asked, now that it refused a call for the model."""
        until, _ = self._until.get((model, version), (now, True))
        return now >= until

    def note(self, model: str, version: str, now: float, *, has: bool) -> None:
        """It said whether it has the model."""
        if len(self._until) >= _MOST:
            self._until.clear()
        self._until[model, version] = now + (PRESENT_S if has else ABSENT_S), has
