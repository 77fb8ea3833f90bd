"""What stands behind a handle: the package in use and its plans, made anew when things change."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from wherever._edition import Edition
from wherever._route import DEVICE, Route
from wherever._routing.plan import check_words
from wherever_contracts.errors import EngineError, WhereverError
from wherever_contracts.places import PLACES

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._escalation.words import Aim
    from wherever_contracts.manifest import Signature
    from wherever_contracts.places import Boundary, Mode, Place
    from wherever_edge.packages.store import Package

_log = logging.getLogger(__name__)

# How often a model in use looks at least whether its calls should be planned anew, when that keeps
# failing.
LOOK_AT_LEAST_EVERY_S = 600.0
# Options that calls of a model have been given of late; whoever gives others all the time has each
# planned for.
_MOST_ROUTES = 64


class Planned:
    """A model of a client's: its package, and a plan for each choice of options."""

    def __init__(self, client: Client, name: str, package: Package) -> None:
        self._client = client
        self._name = name
        self._edition = Edition(package, client.standing)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._edition.package.name

    @property
    def version(self) -> str:
        """The version of the package in use."""
        return self._edition.package.version

    @property
    def digest(self) -> str:
        """The digest of the package in use."""
        return self._edition.package.digest

    @property
    def edition(self) -> Edition:
        """The package in use, with what its calls share."""
        return self._edition

    @property
    def client(self) -> Client:
        """Whose handle it is."""
        return self._client

    @property
    def signature(self) -> Signature:
        """What the model takes and gives; printing it shows the schema."""
        return self._edition.package.manifest.signature

    def forget(self) -> None:
        """Drop every route, so that the next call plans and loads anew."""
        self._edition.routes = {}

    def renew(self, package: Package) -> None:
        """Go over to another package of this model.

        What the calls so far have used is planned and loaded for it first, so that no call waits
        or fails; calls that run end with the package that they began with.

        Raises:
            WhereverError: it cannot be used; the handle goes on with the one that it has.
        """
        old, new = self._edition, Edition(package, self._client.standing)
        for key in list(old.routes):
            self._route(new, *key)
        for key, route in new.routes.items():
            before = old.routes.get(key)
            if route.device is None and before is not None and before.device is not None:
                raise EngineError(route.plan.ruled_out.get(DEVICE, "it does not load here"))
        self._edition = new

    def _look_again(self, edition: Edition, now: float) -> None:
        """See beside the calls whether they should be planned anew; seldom, and no call waits."""
        edition.look_at = now + edition.pause_s
        self._client.beside(self._plan_anew, edition)

    def _plan_anew(self, edition: Edition) -> None:
        """Go over to other plans where the machine is to be used otherwise, or a load had failed.

        What fails to load again is tried less and less often.
        """
        failed = any(route.device_failed for route in list(edition.routes.values()))
        stands = self._client.look_again() == edition.standing
        if (stands and not failed) or edition is not self._edition:
            return
        try:
            self.renew(edition.package)
        except WhereverError as error:
            _log.warning("%s goes on by the plans that it has: %s", self.name, error)
        if failed and stands:
            self._edition.pause_s = min(2 * edition.pause_s, LOOK_AT_LEAST_EVERY_S)

    def _route(
        self,
        edition: Edition,
        mode: Mode | None,
        boundary: Boundary | None,
        places: Collection[Place] | None,
        aim: Aim | None,
    ) -> Route:
        if places is not None:
            named: Any = (places,) if isinstance(places, str) else tuple(places)
            check_words(places=named)
            # each choice of places has one key, however it was written
            places = tuple(place for place in PLACES if place in named)
        key = (mode, boundary, places, aim)
        route = edition.routes.get(key)
        if route is None:
            route = self._client.make_route(self._name, edition.package, *key)
            for oldest in list(edition.routes)[: 1 - _MOST_ROUTES]:
                edition.routes.pop(oldest, None)
            edition.routes[key] = route
        return route
