"""What every route of the REST front needs: who may ask, the body, a thread, errors as answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from wherever_contracts.errors import (
    ClosedError,
    ForbiddenError,
    ModelNotFoundError,
    OverloadedError,
)
from wherever_edge.oip.calling import tenant_of
from wherever_edge.queueing.shares import Places
from wherever_gateway.rest.caller import HttpCaller
from wherever_gateway.rest.entrance import Need, RestEntrance
from wherever_gateway.rest.intake import Intake
from wherever_gateway.rest.replies import compressed, error_reply

if TYPE_CHECKING:
    from wherever_edge.oip.keys import KeyInfo
    from wherever_edge.oip.service import InferenceService

Handle: TypeAlias = Callable[[Request], Awaitable[Response]]

# threads for metadata and readiness, when every other one waits for its turn
_SPARE_THREADS = 8


class Reception:
    """Receives requests, and has threads answer them.

    Args:
        service: answers the calls; its queue bounds those of every front together.
        entrance: decides who may make a request.
        intake: receives bodies.
    """

    def __init__(self, service: InferenceService, entrance: RestEntrance, intake: Intake) -> None:
        self.service = service
        self._entrance = entrance
        self._intake = intake
        self._threads = service.queue.places + _SPARE_THREADS
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="wherever-rest")
        self._working: dict[Future[Any], str] = {}

    def close(self) -> bool:
        """Begin no more work; True when none was left."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not self._working

    def route(self, path: str, handle: Handle, *, method: str = "GET", need: Need = "use") -> Route:
        """A route whose errors become answers; HTTP's own are left to the application."""

        async def guarded(request: Request) -> Response:
            try:
                self._entrance.check(request, need)
                return await handle(request)
            except HTTPException:
                raise
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except asyncio.CancelledError:
                return self._failed(ClosedError("the server stopped before the call had ended"))
            except ModelNotFoundError as error:
                return self._failed(self._not_found(request, error))
            except Exception as error:  # noqa: BLE001 (the boundary: no error ends the server)
                return self._failed(error)

        return Route(path, guarded, methods=[method])

    async def reply(self, request: Request, work: Callable[[], Response]) -> Response:
        """What `work` answers in a thread.

        Raises:
            OverloadedError: every thread is taken, and the tenant holds its share of them.
        """
        key = self.key(request)
        tenant = tenant_of(key)
        if len(self._working) >= self._threads and not self._is_owed_a_thread(tenant):
            raise OverloadedError(f"{self._threads} requests are at work or waiting already")
        future = self._pool.submit(lambda: compressed(request, work()))
        self._working[future] = tenant
        future.add_done_callback(lambda done: self._working.pop(done, None))
        return await asyncio.wrap_future(future)

    def _is_owed_a_thread(self, tenant: str) -> bool:
        """Whether a tenant holds less than its share, so that it waits for the next free one."""
        places = Places()
        for each in list(self._working.values()):
            places.take(each)
        return places.spare_one(tenant, self._threads)

    async def reply_to_body(
        self, request: Request, work: Callable[[bytes, HttpCaller], Response]
    ) -> Response:
        """What `work` answers, in a thread, to the body of a request."""
        async with self._intake.body(request) as body:
            caller = HttpCaller(request, self.key(request), len(body.received))
            return await self.reply(request, lambda: work(body.contents(), caller))

    def check(self, request: Request, need: Need = "use") -> None:
        """Let a request pass or not; see `RestEntrance.check`."""
        self._entrance.check(request, need)

    def key(self, request: Request) -> KeyInfo | None:
        """The key that a request brings, if it counts here."""
        return self._entrance.known(request)

    def stranger(self, request: Request) -> bool:
        """Whether a request lacks the key that those who use models need here."""
        return self._entrance.lacks_key(request)

    def sees(self, request: Request, model: str) -> bool:
        """Whether who asks may see a model."""
        return self.service.sees(self.key(request), model)

    def named(self, request: Request) -> tuple[str, str]:
        """The model and version of the path; "" for no version.

        Raises:
            ForbiddenError: who asks may not see the model. That is decided by its name alone, so
                that the answer does not tell whether there is one.
        """
        model: str = request.path_params["model"]
        if not self.sees(request, model):
            raise ForbiddenError(f"this API key may not use the model {model[:80]!r}")
        return model, request.path_params.get("version", "")

    def _not_found(self, request: Request, error: ModelNotFoundError) -> ModelNotFoundError:
        """The same error, or one without the names of models that others use."""
        model: str = request.path_params.get("model", "")
        return self.service.discreet(error, model, self.key(request))

    def _failed(self, error: BaseException) -> Response:
        return error_reply(error, self.service.retry_after_s)
