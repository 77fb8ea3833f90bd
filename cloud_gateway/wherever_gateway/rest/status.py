"""The one place where errors become HTTP statuses."""

from __future__ import annotations

from wherever_contracts import errors
from wherever_contracts.wire.framing import WireError
from wherever_gateway.config.faults import ConfigError

STATUS: dict[type[Exception], int] = {
    WireError: 400,
    errors.WhereverError: 500,
    errors.InputError: 400,
    errors.SettingsError: 500,
    ConfigError: 409,
    errors.ModelNotFoundError: 404,
    errors.MissingExtraError: 501,
    errors.ClosedError: 503,
    errors.ForkedError: 500,
    errors.PackageError: 500,
    errors.EngineError: 500,
    errors.DownloadError: 502,
    errors.UpdateError: 500,
    errors.OutboxFullError: 507,
    errors.UpgradeError: 409,
    errors.PairingError: 403,
    errors.ConversionError: 500,
    errors.BoundaryError: 500,
    errors.BlockedError: 500,
    errors.AttemptError: 502,
    errors.UnreachableError: 503,
    errors.DeadlineError: 504,
    errors.RefusedError: 409,
    errors.NotAllowedError: 401,
    errors.ForbiddenError: 403,
    errors.OverloadedError: 429,
    errors.QuotaError: 429,
    errors.RemoteError: 502,
    errors.BadAnswerError: 502,
    errors.NoRouteError: 503,
}


def status_of(error: BaseException) -> int:
    """The status that `error` ends a request with; 500 for foreign errors."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), 500)
