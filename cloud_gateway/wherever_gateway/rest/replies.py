"""Answers of the REST front: JSON, bytes, errors; compressed where that is worth it."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from wherever_contracts.errors import NotAllowedError, OverloadedError
from wherever_contracts.wire.rest_bodies import encode_json
from wherever_edge.counters import COUNTERS, ERRORS_TOLD
from wherever_edge.oip.status import (
    CODE_KEY,
    MAX_WORDS,
    PUSHBACK_KEY,
    code_of,
    pushback_ms,
    words_of,
)
from wherever_gateway.rest.coding import chosen_coding, encoded
from wherever_gateway.rest.status import status_of

_LOG = logging.getLogger(__name__)

JSON = "application/json"
BINARY = "application/octet-stream"


def json_reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """An answer out of plain data."""
    return bytes_reply(encode_json(value), status, headers)


def bytes_reply(
    content: bytes, status: int = 200, headers: dict[str, str] | None = None, kind: str = JSON
) -> Response:
    """An answer out of bytes, by default of JSON."""
    return Response(content, status, headers, media_type=kind)


def readiness(said: dict[str, Any], *, ready: bool) -> Response:
    """Whether something is ready, in the body and in the status."""
    return json_reply({**said, "ready": ready}, 200 if ready else 503)


def compressed(request: Request, reply: Response) -> Response:
    """The same answer, compressed if the client takes that and it is worth it."""
    body = bytes(reply.body)
    accepted = request.headers.get("accept-encoding", "")
    coding = chosen_coding(accepted, len(body), is_text=reply.media_type != BINARY)
    reply.headers["vary"] = "accept-encoding"
    if coding is None:
        return reply
    reply.body = encoded(body, coding)
    reply.headers["content-encoding"] = coding
    reply.headers["content-length"] = str(len(reply.body))
    return reply


def error_reply(
    error: BaseException, retry_after_s: Callable[[OverloadedError], float]
) -> Response:
    """What a request that failed is answered with.

    Args:
        error: why it failed; what is not one of ours is logged and not told.
        retry_after_s: when to come again.
    """
    status = status_of(error)
    if status == 500:
        _LOG.error("a call failed", exc_info=error)
    code = code_of(error)
    COUNTERS.add(ERRORS_TOLD, front="rest", code=code)
    headers = {CODE_KEY: code}
    if isinstance(error, OverloadedError):
        wait_s = retry_after_s(error)
        headers[PUSHBACK_KEY] = str(pushback_ms(wait_s))  # HTTP's own header has no fractions
        if math.isfinite(wait_s):
            headers["retry-after"] = f"{math.ceil(wait_s)}"
    if status == 401 and isinstance(error, NotAllowedError):
        headers["www-authenticate"] = "Bearer"
    return json_reply({"error": words_of(error)}, status, headers)


async def http_error(request: Request, error: HTTPException) -> Response:
    """The answer to a request that HTTP itself has no good answer for."""
    # not `request.url`, which a wrong header Host would break
    words = f"{request.method} {request.scope['path']}: {_detail(error)}"
    return json_reply({"error": words[:MAX_WORDS]}, error.status_code, dict(error.headers or {}))


def _detail(error: HTTPException) -> str:
    """What is wrong, where the phrase of the status alone would not say what would be right."""
    allowed = Headers(error.headers).get("allow")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and allowed:
        return f"this path takes {allowed}"
    if error.detail == HTTPStatus.NOT_FOUND.phrase:
        return "nothing is served at this path; what is stands in /openapi.json"
    return error.detail
