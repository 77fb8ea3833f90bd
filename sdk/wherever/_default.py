"""The module-level functions, and the client behind them."""

from __future__ import annotations

import atexit
import os
import threading
from typing import TYPE_CHECKING, Any

from wherever._client import Client
from wherever_edge.forking import loading

if TYPE_CHECKING:
    from wherever._handle import Model
    from wherever._prediction import Prediction
    from wherever._status import Status

_lock = threading.Lock()
_client: Client | None = None


def default_client() -> Client:
    """The client of the module-level functions, made from the settings on first use."""
    global _client  # noqa: PLW0603 (one default client for the process)
    if _client is None:
        with loading(), _lock:
            if _client is None:
                _client = Client()
                atexit.register(_client.close)
    return _client


def predict(model: str, value: Any, /, **arguments: Any) -> Prediction:
    """Answer for one input.

    Args:
        model: the model's name, for example "digits", or with a version "digits@1.0".
        value: the input: for images a path, encoded bytes, a PIL image or an RGB array; text; an
            array; several inputs as a dict by name.
        arguments: mode, deadline_s, boundary, places, and the model's own options; see
            `Model.__call__`.

    Raises:
        ModelNotFoundError: no such model is known here.
        InputError: the input does not fit the model's signature.
        NoRouteError: no place could answer; `causes` says why for each.
    """
    return default_client().predict(model, value, **arguments)


async def apredict(model: str, value: Any, /, **arguments: Any) -> Prediction:
    """The same as `predict`, as a coroutine."""
    return await default_client().apredict(model, value, **arguments)


def model(name: str) -> Model:
    """The handle of a model: resolve it once, call it often.

    Raises:
        ModelNotFoundError: no such model is known here.
    """
    return default_client().model(name)


def open(path: str | os.PathLike[str], **arguments: Any) -> Model:  # noqa: A001 (the public name)
    """The handle of a bare model file, such as "model.onnx"; see `Client.open`.

    Args:
        path: a `.onnx` or `.tflite` file, or the `.xml` of OpenVINO's IR with its `.bin` beside it.
        arguments: task ("classify", "detect", "embed" or "tensors"), labels, name, boundary, and
            how images are prepared.

    Raises:
        InputError: the file, the labels or the task do not fit; the message says what would.
        EngineError: no engine here can read the file.
    """
    return default_client().open(path, **arguments)


def upgrade(id: str, timeout_s: float | None = None) -> Prediction | None:  # noqa: A002 (as p.id)
    """The later answer to a call of this process or an earlier one; see `Client.upgrade`.

    Args:
        id: the prediction's `id`.
        timeout_s: how long to wait for it, in seconds; None: not at all.

    Raises:
        UpgradeError: it will not come, or no such call is known.
    """
    return default_client().upgrade(id, timeout_s)


def feedback(id: str, *, label: Any = None, accepted: bool | None = None) -> None:  # noqa: A002 (as p.id)
    """Say how right the answer to a recorded call is; see `Client.feedback`.

    Args:
        id: the prediction's `id`, of this process or an earlier one.
        label: the right answer.
        accepted: whether the answer is right.

    Raises:
        InputError: no such call was recorded, or that cannot be said of its answer.
    """
    default_client().feedback(id, label=label, accepted=accepted)


def status() -> Status:
    """Models, places and their health, as known without asking anyone. Never raises offline."""
    return default_client().status()
