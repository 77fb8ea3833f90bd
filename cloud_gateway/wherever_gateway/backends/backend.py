"""One backend: servers that answer for the same models, and what they share."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from wherever_contracts.errors import (
    ModelNotFoundError,
    RefusedError,
    WhereverError,
)
from wherever_edge.host_health.forecast import Work
from wherever_edge.host_health.health import USUAL
from wherever_edge.host_health.tokens import RetryTokens
from wherever_edge.oip.elsewhere import Forwarded
from wherever_edge.tending.watch import Watch
from wherever_gateway.backends import travel, verdicts
from wherever_gateway.backends.call import Asked, Call, deadline_of, in_turn
from wherever_gateway.backends.remembered import Remembered
from wherever_gateway.backends.replica import Replica
from wherever_gateway.backends.room import Room
from wherever_gateway.watching.log import Spell

if TYPE_CHECKING:
    from wherever_contracts.places import Place
    from wherever_contracts.wire.metadata import ModelMetadata
    from wherever_contracts.wire.tensors import InferRequest
    from wherever_edge.oip.admission import Grant
    from wherever_gateway.backends.doors import Doors

_LOG = logging.getLogger(__name__)

# what servers say about a model is asked again after this; and whether it is ready
METADATA_FRESH_S = 10.0
READY_FRESH_S = 1.0
# So many calls at least may be asked a second time when a server ends with them on their way: each
# takes two tokens, and they are given while more than half is left. In lasting trouble it is one
# in ten of those that are answered.
_TOKENS = 1024.0
_TOKEN_RATIO = 0.2
# a call waits for a place so many times as long as one usually takes, within these bounds
_WAITS = 4.0
_LEAST_WAIT_S, _LONGEST_WAIT_S = 0.1, 1.0
_LINES_A_SECOND = 2


class Standing(NamedTuple):
    """What a backend consists of.

    Attributes:
        replicas: its servers.
        place: their distance.
        timeout_s: the most that a call without a deadline may take.
    """

    replicas: tuple[Replica, ...]
    place: Place
    timeout_s: float


class Backend:
    """Answers calls for models by its servers. Safe to use from many threads.

    Args:
        name: its name.
        doors: the bound for the calls of all backends.

    Attributes:
        watch: watches over its servers.
        standing: what it consists of now; calls that run go on with what they began with.
    """

    def __init__(self, name: str, doors: Doors) -> None:
        self.name = name
        self._doors = doors
        self._back = threading.Condition()
        self.watch = Watch(RetryTokens(_TOKENS, _TOKEN_RATIO), on_back=self._came_back)
        self.standing = Standing((), "cloud", 0.0)
        self._room = Room()
        self._spell = Spell(_LINES_A_SECOND)
        self._readiness: Remembered[bool] = Remembered(READY_FRESH_S)
        self._descriptions: Remembered[ModelMetadata] = Remembered(METADATA_FRESH_S)

    def infer(self, request: InferRequest, model: str, grant: Grant) -> Forwarded:
        """Have a server answer a call.

        Args:
            request: the caller's.
            model: what the model is called there.
            grant: what it was granted.

        Raises:
            ForbiddenError: the backend lies beyond the call's boundary; nothing was sent.
            InputError: a server refused the inputs.
            ModelNotFoundError: no server has the model.
            OverloadedError: there is no room for it now.
            UnreachableError: no server can be asked; the message lists them.
            DeadlineError: there was no answer in time, or nobody waits for it.
            WhereverError: whatever `wherever_edge.oip.client.RemoteHost.infer` raises.
        """
        standing = self.standing
        travel.refuse_beyond(grant.boundary, standing.place, self.name)
        deadline = deadline_of(grant.urgency, standing.timeout_s)
        asked = Asked(request, model, grant.urgency, grant.boundary, deadline, grant.headers)
        with self._inside(standing, asked):
            tokens = self.watch.tokens
            call = Call(self.name, standing.replicas, tokens, asked, self._wait_for_one, self._log)
            response = travel.inbound(call.answer(), request)
        return Forwarded(response, travel.served(response, self.name))

    def ready(self, model: str, version: str) -> bool:
        """Whether a server says that it answers calls for the model."""
        kept = self._readiness.fresh(model, version, monotonic())
        if kept is not None:
            return kept
        ready = any(self._says_ready(replica, model, version) for replica in self._in_turn(model))
        self._readiness.keep(model, version, ready, monotonic())
        return ready

    def metadata(self, model: str, version: str) -> ModelMetadata:
        """What the servers say about a model; while none can be asked, what they said last.

        Raises:
            ModelNotFoundError: no server has it.
            UnreachableError: no server can be asked, and nothing is known yet.
        """
        kept = self._descriptions.fresh(model, version, monotonic())
        if kept is not None:
            return kept
        tried: list[verdicts.Tried] = []
        for replica in self._in_turn(model):
            try:
                said = replica.host.model_metadata(model, version, 1.0)
            except WhereverError as error:
                tried.append(verdicts.Tried(replica.name, error))
                continue
            self._descriptions.keep(model, version, said, monotonic())
            return said
        return self._last_known(model, version, tried)

    def facts(self) -> dict[str, Any]:
        """How it does, as plain data."""
        standing = self.standing
        return {
            "place": standing.place,
            "calls": self._room.inside,
            "servers": [{"name": each.name, **_told(each)} for each in standing.replicas],
        }

    def _last_known(
        self, model: str, version: str, tried: Sequence[verdicts.Tried]
    ) -> ModelMetadata:
        refused = [each for each in tried if isinstance(each.error, RefusedError)]
        if refused:
            raise _not_there(verdicts.told(self.name, model, refused[0]))
        last = self._descriptions.last(model, version)
        if last is not None:
            return last
        shut = [verdicts.Shut(each.name, each.health.why, each.health) for each in self._shut()]
        self._log(tried, shut, ())
        raise verdicts.nobody(self.name, model, tried, shut, ())

    def _says_ready(self, replica: Replica, model: str, version: str) -> bool:
        try:
            return replica.has(model, version, 1.0)
        except WhereverError:
            return False

    def _in_turn(self, model: str) -> Sequence[Replica]:
        """The servers that are not shut out, in the order to ask them."""
        open_to = [each for each in self.standing.replicas if not each.is_shut]
        return in_turn(open_to, Work(model))

    def _shut(self) -> list[Replica]:
        return [each for each in self.standing.replicas if each.is_shut]

    def _came_back(self) -> None:
        with self._back:
            self._back.notify_all()

    def _log(
        self,
        tried: Sequence[verdicts.Tried],
        shut: Sequence[verdicts.Shut],
        lacking: Sequence[str],
    ) -> None:
        """Tell the operator what callers are not told; a few times a second at most."""
        left_out = self._spell.pass_(monotonic())
        if left_out is not None:
            more = f" ({left_out} more were not written)" if left_out else ""
            words = verdicts.logged(tried, shut, lacking)
            _LOG.warning("the backend %r: %s%s", self.name, words, more)

    def _wait_for_one(self, wait_s: float) -> None:
        with self._back:
            self._back.wait(wait_s)

    @contextmanager
    def _inside(self, standing: Standing, asked: Asked) -> Generator[None]:
        """A place among the calls on their way; it is waited for a moment."""
        self._enter(standing, asked)
        try:
            yield
        finally:
            self._doors.leave(self.name, self._room, asked.urgency)

    def _enter(self, standing: Standing, asked: Asked) -> None:
        most = self._most(standing)
        if self._doors.enter(self.name, self._room, asked.urgency, most):
            return
        usual_s = self._usual_s(standing, asked.model)
        wait_s = min(max(_LEAST_WAIT_S, _WAITS * usual_s), _LONGEST_WAIT_S, asked.left_s / 2)
        if not self._doors.wait(self.name, self._room, asked.urgency, most, wait_s):
            raise verdicts.crowded(self.name, self._room.inside, usual_s)

    def _most(self, standing: Standing) -> int:
        """As many calls as the servers that are not shut out answer well."""
        open_to = [each for each in standing.replicas if not each.is_shut] or standing.replicas
        return sum([each.limit for each in open_to])

    def _usual_s(self, standing: Standing, model: str) -> float:
        work = Work(model)
        return min((each.forecast(work, USUAL).latency_s for each in standing.replicas), default=0)


def _not_there(error: WhereverError) -> WhereverError:
    """A refusal to describe a model means that it is not there."""
    return error if isinstance(error, ModelNotFoundError) else ModelNotFoundError(str(error))


def _told(replica: Replica) -> dict[str, Any]:
    facts = replica.health
    return {
        "state": facts.state,
        "why": facts.why,
        "calls": facts.in_flight,
        "limit": facts.limit,
        "usual_s": facts.usual_s,
    }
