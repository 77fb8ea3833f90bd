"""Which backend answers for a model, and what the model is called there. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from wherever_contracts.wire.asked import RAW_MARK

_WILD = "*?["


class Named(NamedTuple):
    """Where a model is answered for.

    Attributes:
        backend: the backend's name.
        model: what the model is called there.
    """

    backend: str
    model: str


class Names:
    """The models of all backends.

    A model that is named in full is found before patterns; of two that fit, the first counts.
    `NAME--VARIANT` goes where `NAME` does.

    Args:
        models: backend -> a model's name or a pattern of names -> what it is called there; None
            where it is called the same.
    """

    def __init__(self, models: Mapping[str, Mapping[str, str | None]]) -> None:
        self._exact: dict[str, Named] = {}
        self._patterns: list[tuple[str, str, str | None]] = []
        for backend, names in models.items():
            for name, there in names.items():
                if is_pattern(name):
                    self._patterns.append((name, backend, there))
                else:
                    self._exact.setdefault(name, Named(backend, there or name))

    @property
    def known(self) -> dict[str, Named]:
        """The models that are named in full."""
        return dict(self._exact)

    def find(self, model: str) -> Named | None:
        """Where a model is answered for; None: by no backend."""
        name, mark, variant = model.partition(RAW_MARK)
        found = self._exact.get(name) or self._fitting(name)
        return found and found._replace(model=f"{found.model}{mark}{variant}")

    def _fitting(self, name: str) -> Named | None:
        for pattern, backend, there in self._patterns:
            if fnmatchcase(name, pattern):
                return Named(backend, there or name)
        return None


def is_pattern(name: str) -> bool:
    """Whether it stands for more than one model."""
    return any(mark in name for mark in _WILD)
