"""Every error that wherever raises on purpose.

    WhereverError
    ├── InputError (also ValueError)      the input does not fit the model's signature
    ├── SettingsError (also ValueError)   a setting is wrong, or settings contradict each other
    ├── ModelNotFoundError (also LookupError)
    ├── MissingExtraError (also ImportError)
    ├── ClosedError                       the client was closed
    ├── ForkedError                       this process was forked after the network was used
    ├── PackageError                      a model package was refused
    │   ├── ManifestError                 model.json is not readable, or a field is wrong
    │   ├── MissingFileError
    │   ├── ExtraFileError
    │   ├── DigestError
    │   ├── UnsafePathError               absolute path, "..", link, device file
    │   ├── ArchiveError                  not an archive of ours, too many files, too large
    │   └── GoldenError                   a golden sample gave another answer on this machine
    ├── EngineError                       the engine could not load or run the variant
    │   ├── EngineCrashError              the engine's process died, or hung and was ended
    │   └── SubstitutedError              something else than planned would have run
    ├── DownloadError                     a file could not be fetched
    ├── UpdateError                       a signed update was refused, or cannot be had now
    ├── PairingError                      a box could not be paired
    ├── OutboxFullError                   the outbox has no room for a call now
    ├── UpgradeError                      the answer that was to come later does not come
    ├── ConversionError                   a model could not be converted, or lost too much by it
    ├── BoundaryError                     a plan would have let a call's data travel too far
    ├── BlockedError                      a call was about to travel too far, and was not sent
    ├── AttemptError                      one place could not answer
    │   ├── UnreachableError
    │   │   └── UntrustedPeerError        the host is not the one that is trusted there
    │   ├── DeadlineError (also TimeoutError)
    │   ├── RefusedError                  the peer understood the call and said no
    │   │   └── NotAllowedError           no API key, or one that is not known there
    │   │       └── ForbiddenError        the key is known, and may not do this
    │   ├── OverloadedError
    │   │   └── QuotaError                the caller used up what it was given for now
    │   ├── RemoteError                   the peer failed while it worked on the call
    │   └── BadAnswerError                the answer does not fit the signature
    └── NoRouteError                      no place could answer; `causes` lists every attempt

`code` is stable across versions; `retryable` says whether the same call may succeed later.
"""

from __future__ import annotations

from collections.abc import Sequence


class WhereverError(Exception):
    """Base of every error that wherever raises on purpose."""

    code = "error"
    retryable = False


class InputError(WhereverError, ValueError):
    """The input does not fit the model's signature.

    Attributes:
        field: name of the input (or option), empty when the call as a whole is wrong.
        expected: what the signature asks for, in words.
        found: what came, in words.
    """

    code = "input"

    def __init__(self, field: str, expected: str, found: str, kind: str = "input") -> None:
        where = f"{kind} {field!r}" if field else f"the {kind}"
        super().__init__(f"{where}: expected {expected}, found {found}")
        self.field = field
        self.expected = expected
        self.found = found
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        return type(self), (self.field, self.expected, self.found, self.kind)


class SettingsError(WhereverError, ValueError):
    """A setting is wrong, or two settings contradict each other."""

    code = "settings"


class ModelNotFoundError(WhereverError, LookupError):
    """No package of that name (or version) is known here."""

    code = "model_not_found"


class MissingExtraError(WhereverError, ImportError):
    """A feature needs a package that is not installed; the message has the command."""

    code = "missing_extra"


class ClosedError(WhereverError):
    """The client was closed."""

    code = "closed"


class ForkedError(WhereverError):
    """This process was forked after the network had been used."""

    code = "forked"


class PackageError(WhereverError):
    """A model package was refused.

    Attributes:
        file: the file concerned, relative to the package.
        field: the field of `model.json` concerned, or "".
        expected: what should have been there.
        found: what was there.
    """

    code = "package"

    def __init__(self, file: str, field: str, expected: str, found: str) -> None:
        where = f"{file}: {field}" if field else file
        super().__init__(f"{where}: expected {expected}, found {found}")
        self.file = file
        self.field = field
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[type, tuple[str, str, str, str]]:
        return type(self), (self.file, self.field, self.expected, self.found)


class ManifestError(PackageError):
    """`model.json` cannot be read, or a field of it is wrong."""

    code = "manifest"


class MissingFileError(PackageError):
    """A file that `model.json` lists is not there."""

    code = "missing_file"


class ExtraFileError(PackageError):
    """A file is there that `model.json` does not list."""

    code = "extra_file"


class DigestError(PackageError):
    """A file's bytes are not those that `model.json` promises."""

    code = "digest"


class UnsafePathError(PackageError):
    """A path could lead out of the package: absolute, "..", a link, a device."""

    code = "unsafe_path"


class ArchiveError(PackageError):
    """An archive is damaged, too large, or holds too many files."""

    code = "archive"


class GoldenError(PackageError):
    """A golden sample of the package gave another answer on this machine."""

    code = "golden"


class EngineError(WhereverError):
    """The engine could not load or run the variant."""

    code = "engine"


class EngineCrashError(EngineError):
    """The engine's process died, or hung and was ended; another engine may answer."""

    code = "engine_crash"
    retryable = True


class SubstitutedError(EngineError):
    """Something else than what was planned would have run, and the call is strict."""

    code = "substituted"


class DownloadError(WhereverError):
    """A file could not be fetched; what has arrived so far is kept for the next try."""

    code = "download"
    retryable = True


class UpdateError(WhereverError):
    """A signed update was refused, or cannot be had now; what is installed goes on serving.

    Attributes:
        kind: why, as a word for programs: "unreachable", "expired", "rolled_back", ...
    """

    code = "update"

    def __init__(self, message: str, kind: str = "refused") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self), self.kind)


class PairingError(WhereverError):
    """A box could not be paired."""

    code = "pairing"


class OutboxFullError(WhereverError):
    """The outbox, or the disk under it, has no room for a call now."""

    code = "outbox_full"
    retryable = True


class UpgradeError(WhereverError):
    """The answer that was to come later does not come.

    Attributes:
        kind: why, as a word for programs: "refused", "expired", "dropped", "kept" (the call was
            not put into the outbox), "busy" (another process is sending what waits) or "unknown"
            (the outbox knows no such call).
    """

    code = "upgrade"

    def __init__(self, message: str, kind: str = "unknown") -> None:
        super().__init__(message)
        self.kind = kind

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (str(self), self.kind)


class ConversionError(WhereverError):
    """A model could not be converted, or lost more by it than it may."""

    code = "conversion"


class BoundaryError(WhereverError):
    """A plan would have let a call's data travel further than it may; there is no such plan.

    Attributes:
        host: whom the plan would have asked.
        place: its distance.
        boundary: how far the data may travel.
    """

    code = "boundary"

    def __init__(self, host: str, place: str, boundary: str) -> None:
        super().__init__(f"{host} ({place}) lies beyond the boundary {boundary!r} of a plan")
        self.host = host
        self.place = place
        self.boundary = boundary

    def __reduce__(self) -> tuple[type, tuple[str, str, str]]:
        return type(self), (self.host, self.place, self.boundary)


class BlockedError(WhereverError):
    """A call was about to travel further than its boundary allows; no byte of it was sent."""

    code = "blocked"


class AttemptError(WhereverError):
    """One place could not answer.

    Attributes:
        retry_after_s: when the host wants to be asked again, as it said; infinity: never with this
            call; None: it said nothing.
        status: what the host ended the call with, in its protocol's words ("NOT_FOUND", "404");
            "" when there was no answer.
        said: the words that came with the status, the host's or those of what carried the call.
    """

    code = "attempt"
    retryable = True
    retry_after_s: float | None = None
    status: str = ""
    said: str = ""


class UnreachableError(AttemptError):
    """No connection to the host, or it broke during the call."""

    code = "unreachable"


class UntrustedPeerError(UnreachableError):
    """The host did not prove to be the one that is trusted at this address; nothing was sent."""

    code = "untrusted_peer"
    retryable = False


class DeadlineError(AttemptError, TimeoutError):
    """No answer in the time that the call had."""

    code = "deadline"


class RefusedError(AttemptError):
    """The host understood the call and said no (unknown model, not allowed, bad input)."""

    code = "refused"
    retryable = False


class NotAllowedError(RefusedError):
    """The host wants an API key: there is none, it is not known there, or may not do this."""

    code = "not_allowed"


class ForbiddenError(NotAllowedError):
    """The host knows the API key, and it may not do this."""

    code = "forbidden"


class OverloadedError(AttemptError):
    """The host has no room for the call now."""

    code = "overloaded"


class QuotaError(OverloadedError):
    """The caller used up what the host gives it in this time."""

    code = "quota"


class RemoteError(AttemptError):
    """The host failed while it worked on the call."""

    code = "remote"


class BadAnswerError(AttemptError):
    """The host's answer does not fit the model's signature."""

    code = "bad_answer"
    retryable = False


class NoRouteError(WhereverError):
    """No place could answer.

    Attributes:
        causes: one error for each attempt, in the order tried.
        ruled_out: place -> why it was not tried.
    """

    code = "no_route"
    retryable = True

    def __init__(
        self, model: str, causes: Sequence[WhereverError], ruled_out: dict[str, str] | None = None
    ) -> None:
        tried = [f"{type(cause).__name__}: {cause}" for cause in causes]
        skipped = [f"{place} was not tried: {why}" for place, why in (ruled_out or {}).items()]
        what = "; ".join(tried + skipped) or "no place is configured"
        super().__init__(f"no place could answer {model!r} ({what})")
        self.model = model
        self.causes: tuple[WhereverError, ...] = tuple(causes)
        self.ruled_out: dict[str, str] = dict(ruled_out or {})

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (self.model, self.causes, self.ruled_out)


def missing_extra(feature: str, extra: str) -> MissingExtraError:
    """The error for an optional dependency that is not there, with the command that installs it."""
    return MissingExtraError(f"{feature} needs an extra: pip install 'wherever[{extra}]'")
