"""One package behind a handle, with everything that its calls share."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from wherever_contracts.errors import InputError
from wherever_edge.inputs import InputChecker, check_options

if TYPE_CHECKING:
    from wherever._escalation.words import Aim
    from wherever._route import Route
    from wherever_contracts.places import Boundary, Mode, Place
    from wherever_edge.packages.store import Package

RouteKey: TypeAlias = "tuple[Mode | None, Boundary | None, Collection[Place] | None, Aim | None]"

ARGUMENTS = (
    *("mode", "deadline_s", "boundary", "places", "max_disagreement", "confidence"),
    *("min_confidence", "budget", "cache", "strict", "record", "priority", "later"),
)
"""What a call takes by name beside the model's options."""

# How often a model in use looks whether its calls should be planned anew.
LOOK_EVERY_S = 30.0


class Edition:
    """One package behind a handle, with everything that calls of it share.

    A call takes the edition once, so that a newer package that comes meanwhile does not mix with
    the one that the call began with.
    """

    __slots__ = ("check", "defaults", "look_at", "package", "pause_s", "routes", "standing")

    def __init__(self, package: Package, standing: int = 0) -> None:
        self.package: Package = package
        self.check: Callable[[Any], dict[str, Any]] = InputChecker(package.manifest.signature).check
        self.defaults: dict[str, float] = check_options(package.manifest.signature, {})
        self.routes: dict[RouteKey, Route] = {}
        self.standing: int = standing
        self.pause_s: float = LOOK_EVERY_S
        self.look_at: float = perf_counter() + self.pause_s

    def options(self, given: dict[str, float]) -> dict[str, float]:
        """The options of a call, those that it did not name by default.

        Raises:
            InputError: an option is unknown, not a number, or out of its range.
        """
        if not given:
            return self.defaults
        try:
            return check_options(self.package.manifest.signature, given)
        except InputError as error:
            from difflib import get_close_matches  # noqa: PLC0415 (few calls are wrong)

            near = get_close_matches(error.field, [*ARGUMENTS, *self.defaults], n=1)
            if not near or error.field == near[0]:
                raise
            found = f"{error.found}; did you mean {near[0]!r}?"
            raise InputError(error.field, error.expected, found, error.kind) from None
