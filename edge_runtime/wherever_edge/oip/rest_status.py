"""What a call over REST that was not answered means to the caller."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

from wherever_contracts import errors
from wherever_contracts.errors import AttemptError
from wherever_edge.oip.status import MAX_WORDS, pushback_s, worded

_KINDS: dict[int, type[AttemptError]] = {
    401: errors.NotAllowedError,
    403: errors.ForbiddenError,
    407: errors.UnreachableError,
    408: errors.DeadlineError,
    429: errors.OverloadedError,
    501: errors.RefusedError,
    503: errors.UnreachableError,
    504: errors.DeadlineError,
}

_PROXY_ADVICE = "the proxy on the way wants a name and a password: http://name:password@host:port"
_PLAIN_ADVICE = "it does not speak TLS there; is it another port, or http://?"
_TRUST_ADVICE = (
    "its certificate is not one that is trusted here; if it is the right server, give its "
    "certificate (ca_file), or pair with it again"
)


def status_error(
    status: int,
    *,
    host: str,
    details: str,
    code: str = "",
    retry_after: str = "",
    pushback: str | None = None,
    elapsed_s: float,
    timeout_s: float | None,
) -> AttemptError:
    """What an answer with an HTTP status other than 200 means.

    Args:
        status: the status.
        host: what to call the host in the message.
        details: the text that came with the status.
        code: our error code from the headers; "" when something else than our server answered.
        retry_after: the header of that name, or "".
        pushback: what servers of ours say beside it, to the millisecond.
        elapsed_s: how long the call took.
        timeout_s: how long it was given, None for no limit.
    """
    label = f"HTTP {status}, {code}" if code else f"HTTP {status}"
    advice = f"try again after {retry_after} s" if retry_after.isdigit() else ""
    error = worded(
        _kind(status, code),
        f"{label}: {details or 'no details'}",
        _PROXY_ADVICE if status == 407 else advice,
        host,
        elapsed_s=elapsed_s,
        timeout_s=timeout_s,
    )
    error.retry_after_s = _retry_after_s(retry_after) if pushback is None else pushback_s(pushback)
    error.status = str(status)
    error.said = details[:MAX_WORDS]
    return error


def failure_error(
    error: Exception, *, host: str, timed_out: bool, elapsed_s: float, timeout_s: float | None
) -> AttemptError:
    """What it means that there was no answer at all.

    Args:
        error: what ended the call.
        host: what to call the host in the message.
        timed_out: whether it ended because its time was over.
        elapsed_s: how long the call took.
        timeout_s: how long it was given, None for no limit.
    """
    kind: type[AttemptError] = errors.DeadlineError if timed_out else errors.UnreachableError
    advice = ""
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in _causes(error)):
        kind, advice = errors.UntrustedPeerError, _TRUST_ADVICE
    elif "WRONG_VERSION_NUMBER" in str(error):
        advice = _PLAIN_ADVICE
    words = " ".join(str(error).split())[:300] or ("nothing came" if timed_out else "no details")
    cause = f"{type(error).__name__}: {words}"
    return worded(kind, cause, advice, host, elapsed_s=elapsed_s, timeout_s=timeout_s)


def _retry_after_s(said: str) -> float | None:
    """The header in seconds; its other form, a date, would need both clocks to agree."""
    return float(said) if said.isascii() and said.isdigit() else None


def _kind(status: int, code: str) -> type[AttemptError]:
    if status == 429 and code == errors.QuotaError.code:
        return errors.QuotaError
    if status in _KINDS:
        return _KINDS[status]
    if status >= 500:
        # without our code it is a proxy that speaks, about a server that it does not reach
        from_proxy = status == 502 and not code
        return errors.UnreachableError if from_proxy else errors.RemoteError
    return errors.RefusedError if status >= 400 else errors.UnreachableError


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
