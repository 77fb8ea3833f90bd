"""Run a model wherever it fits: `wherever.predict("digits", x)`.

The names below are the whole public API. Each is imported when it is first used, so that
`import wherever` loads no engine, no network library and no numpy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import (
    ClosedError,
    EngineError,
    ForkedError,
    InputError,
    MissingExtraError,
    ModelNotFoundError,
    NoRouteError,
    OutboxFullError,
    PackageError,
    SettingsError,
    SubstitutedError,
    UpgradeError,
    WhereverError,
)

if TYPE_CHECKING:
    from wherever._chain import chain
    from wherever._client import Client
    from wherever._default import (
        apredict,
        feedback,
        model,
        open,  # noqa: A004
        predict,
        status,
        upgrade,
    )
    from wherever._handle import Model
    from wherever._prediction import Prediction
    from wherever_contracts.receipts import Receipt
    from wherever_contracts.values import Box, Detection, Label

__all__ = [
    "Box",
    "Client",
    "ClosedError",
    "Detection",
    "EngineError",
    "ForkedError",
    "InputError",
    "Label",
    "MissingExtraError",
    "Model",
    "ModelNotFoundError",
    "NoRouteError",
    "OutboxFullError",
    "PackageError",
    "Prediction",
    "Receipt",
    "SettingsError",
    "SubstitutedError",
    "UpgradeError",
    "WhereverError",
    "apredict",
    "chain",
    "feedback",
    "model",
    "open",
    "predict",
    "status",
    "upgrade",
]

_HOMES = {
    "Box": "wherever_contracts.values",
    "Client": "wherever._client",
    "Detection": "wherever_contracts.values",
    "Label": "wherever_contracts.values",
    "Model": "wherever._handle",
    "Prediction": "wherever._prediction",
    "Receipt": "wherever_contracts.receipts",
    "apredict": "wherever._default",
    "chain": "wherever._chain",
    "feedback": "wherever._default",
    "model": "wherever._default",
    "open": "wherever._default",
    "predict": "wherever._default",
    "status": "wherever._default",
    "upgrade": "wherever._default",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'wherever' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
