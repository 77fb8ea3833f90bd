"""The one place where errors become gRPC statuses, and statuses become errors again.

Statuses go by their names (`grpc.StatusCode[name]`), so that nothing here needs grpc.
"""

from __future__ import annotations

import math

from wherever_contracts import errors
from wherever_contracts.errors import AttemptError
from wherever_contracts.wire.framing import WireError

# trailing metadata: the `code` of the error that a call ended with
CODE_KEY = "wherever-code"

# parameter of a response: the server allows a ping this often, in milliseconds
PING_KEY = "wherever_ping_ms"

# parameter of a response: the server takes streams of calls
STREAM_KEY = "wherever_stream"

# gRPC's own name for when to try again: in trailing metadata, and of ours in HTTP's headers too
PUSHBACK_KEY = "grpc-retry-pushback-ms"

# in the details when something answered that is no server of gRPC: by HTTP/2, or not even that
_NOT_GRPC = ("Received http2 header with status", "NO_APPLICATION_PROTOCOL", "ALPN")

STATUS: dict[type[Exception], str] = {
    WireError: "INVALID_ARGUMENT",
    errors.WhereverError: "INTERNAL",
    errors.InputError: "INVALID_ARGUMENT",
    errors.SettingsError: "FAILED_PRECONDITION",
    errors.ModelNotFoundError: "NOT_FOUND",
    errors.MissingExtraError: "UNIMPLEMENTED",
    errors.ClosedError: "UNAVAILABLE",
    errors.ForkedError: "INTERNAL",
    errors.PackageError: "FAILED_PRECONDITION",
    errors.EngineError: "INTERNAL",
    errors.DownloadError: "UNAVAILABLE",
    errors.UpdateError: "INTERNAL",
    errors.OutboxFullError: "RESOURCE_EXHAUSTED",
    errors.UpgradeError: "FAILED_PRECONDITION",
    errors.PairingError: "PERMISSION_DENIED",
    errors.ConversionError: "INTERNAL",
    errors.BoundaryError: "INTERNAL",
    errors.BlockedError: "INTERNAL",
    errors.UnreachableError: "UNAVAILABLE",
    errors.DeadlineError: "DEADLINE_EXCEEDED",
    errors.RefusedError: "FAILED_PRECONDITION",
    errors.NotAllowedError: "UNAUTHENTICATED",
    errors.ForbiddenError: "PERMISSION_DENIED",
    errors.OverloadedError: "RESOURCE_EXHAUSTED",
    errors.QuotaError: "RESOURCE_EXHAUSTED",
    errors.RemoteError: "INTERNAL",
    errors.BadAnswerError: "INTERNAL",
    errors.NoRouteError: "UNAVAILABLE",
}

ERRORS: dict[str, type[AttemptError]] = {
    "CANCELLED": errors.UnreachableError,
    "UNKNOWN": errors.RemoteError,
    "INVALID_ARGUMENT": errors.RefusedError,
    "DEADLINE_EXCEEDED": errors.DeadlineError,
    "NOT_FOUND": errors.RefusedError,
    "ALREADY_EXISTS": errors.RefusedError,
    "PERMISSION_DENIED": errors.ForbiddenError,
    "UNAUTHENTICATED": errors.NotAllowedError,
    "RESOURCE_EXHAUSTED": errors.OverloadedError,
    "FAILED_PRECONDITION": errors.RefusedError,
    "ABORTED": errors.RemoteError,
    "OUT_OF_RANGE": errors.RefusedError,
    "UNIMPLEMENTED": errors.RefusedError,
    "INTERNAL": errors.RemoteError,
    "UNAVAILABLE": errors.UnreachableError,
    "DATA_LOSS": errors.RemoteError,
}

# what gRPC says when TLS came to no agreement -> what that means; the first that fits counts
_UNTRUSTED = {
    "WRONG_VERSION_NUMBER": "what listens there does not speak TLS; start it with TLS, or write "
    "grpc:// where it does not matter who can read along",
    "certificate has expired": "the server needs a new certificate, or a clock is wrong",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not one that is trusted here; if it is the "
    "right server, give its certificate (ca_file), or pair with it again",
    "Hostname Verification Check failed": "its certificate is for other names than this one; use "
    "a name that it carries",
    "Tls handshake failed": "the two sides could not agree on TLS",
    "Ssl handshake failed": "the two sides could not agree on TLS",
}

# of what a client is told
MAX_WORDS = 1000
_UNEXPECTED = "an unexpected error; the server's log says more"

# a pushback of more is no number of milliseconds
_MAX_DIGITS = 12

_ADVICE: dict[type[AttemptError], str] = {
    errors.UnreachableError: "is it running, and is its port open to this machine?",
    errors.DeadlineError: "give the call more time, or let the device answer",
    errors.OverloadedError: "try again a little later, or give the host more workers",
    errors.QuotaError: "wait until then, or ask who runs the host for more",
    errors.RemoteError: "its log says more",
    errors.RefusedError: "the same call will be refused again",
    errors.NotAllowedError: "give the client an API key that the host knows (api_key)",
    errors.ForbiddenError: "ask who runs the host what this API key is for",
}


def status_of(error: BaseException) -> str:
    """The name of the status that `error` ends a call with; INTERNAL for foreign errors."""
    for kind in type(error).__mro__:
        status = STATUS.get(kind)
        if status is not None:
            return status
    return "INTERNAL"


def code_of(error: BaseException) -> str:
    """The stable code that travels with `error`."""
    if isinstance(error, WireError):
        return errors.InputError.code
    return error.code if isinstance(error, errors.WhereverError) else errors.WhereverError.code


def words_of(error: BaseException) -> str:
    """What a client is told of `error`; a foreign one is for the log alone."""
    known = isinstance(error, errors.WhereverError | WireError)
    return (str(error) if known else _UNEXPECTED)[:MAX_WORDS]


def pushback_ms(wait_s: float) -> int:
    """What is said with `PUSHBACK_KEY`; -1 where it is of no use to come again."""
    return round(wait_s * 1000) if math.isfinite(wait_s) else -1


def pushback_s(said: str | None) -> float | None:
    """What a server says with `PUSHBACK_KEY`: seconds, infinity, or None when it says nothing.

    A number below 0, and what is no whole number, mean that the call is not to come again (gRFC
    A6, "Pushback").
    """
    if said is None:
        return None
    digits = said.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAX_DIGITS):
        return math.inf
    return int(digits) / 1000


def attempt_error(
    status: str,
    *,
    host: str,
    details: str,
    code: str,
    elapsed_s: float,
    timeout_s: float | None,
    pushback: str | None = None,
) -> AttemptError:
    """What a call that ended with `status` means to the caller.

    Args:
        status: the status' name.
        host: what to call the host in the message.
        details: the text that came with the status.
        code: our error code from the trailing metadata, or "".
        elapsed_s: how long the call took.
        timeout_s: how long it was given, None for no limit.
        pushback: `PUSHBACK_KEY` of the trailing metadata, if it is there.
    """
    kind, advice = _meaning(status, details, code)
    label = f"{status}, {code}" if code else status
    error = worded(
        kind,
        f"{label}: {_essence(details)}",
        advice,
        host,
        elapsed_s=elapsed_s,
        timeout_s=timeout_s,
    )
    error.retry_after_s = pushback_s(pushback)
    error.status = status
    error.said = details[:MAX_WORDS]
    return error


def worded(
    kind: type[AttemptError],
    cause: str,
    advice: str,
    host: str,
    *,
    elapsed_s: float,
    timeout_s: float | None,
) -> AttemptError:
    """An error of an attempt, in the words that all of them have.

    Args:
        kind: the error.
        cause: what the protocol says about it.
        advice: what to do about it, "" for what fits the kind.
        host: what to call the host.
        elapsed_s: how long the call took.
        timeout_s: how long it was given, None for no limit.
    """
    limit = "" if timeout_s is None else f" of {timeout_s:.3g} s"
    advice = advice or _ADVICE.get(kind, "")
    return kind(f"{host} {_VERBS[kind]} after {elapsed_s:.3g} s{limit} ({cause}); {advice}")


def _meaning(status: str, details: str, code: str) -> tuple[type[AttemptError], str]:
    """The kind of error, and what to do about it."""
    kind = ERRORS.get(status, errors.RemoteError)
    if status == "RESOURCE_EXHAUSTED" and "larger than max" in details:
        kind = errors.RefusedError
    if kind is errors.OverloadedError and code == errors.QuotaError.code:
        kind = errors.QuotaError
    if any(mark in details for mark in _NOT_GRPC):
        return errors.UnreachableError, "it does not speak gRPC there; is it another port?"
    if kind is errors.UnreachableError and "Socket closed" in details:
        return kind, "has it just stopped, or does it want TLS (grpcs://)?"
    advice = next((words for mark, words in _UNTRUSTED.items() if mark in details), "")
    if advice and kind is errors.UnreachableError:
        return errors.UntrustedPeerError, advice
    return kind, _ADVICE[kind]


_VERBS: dict[type[AttemptError], str] = {
    errors.UnreachableError: "could not be reached",
    errors.UntrustedPeerError: "did not prove to be the one that is trusted, and was sent nothing,",
    errors.DeadlineError: "did not answer",
    errors.OverloadedError: "had no room for the call",
    errors.QuotaError: "had no quota left for the call",
    errors.RemoteError: "failed at the call",
    errors.RefusedError: "refused the call",
    errors.NotAllowedError: "did not allow the call",
    errors.ForbiddenError: "did not allow the call",
}


def _essence(details: str) -> str:
    """The last cause in gRPC's chain of them, without line breaks."""
    return " ".join(details.rpartition("last error: ")[2].split())[:300] or "no details"
