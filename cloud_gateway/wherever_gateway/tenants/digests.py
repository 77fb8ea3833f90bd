"""What makes a call the same call as one before: its key, and all that its answer comes from. Pure.

Neither an idempotency key nor an input can be read from what is kept of them. A digest of inputs is
an HMAC under the idempotency key itself, so that short inputs cannot be guessed from it without the
key that the caller made up, and that several gateways come to the same one.
"""

from __future__ import annotations

import hmac
import json
from hashlib import sha256
from typing import NamedTuple

from wherever_contracts.errors import InputError
from wherever_contracts.wire.asked import IDEMPOTENCY_KEY, PRIORITY_KEY
from wherever_contracts.wire.rest_bodies import BINARY_OUTPUTS, TIMEOUT
from wherever_contracts.wire.tensors import InferRequest

MAX_KEY_LENGTH = 255

# parameters that do not change what the answer is
_ASIDE = frozenset({IDEMPOTENCY_KEY, PRIORITY_KEY, TIMEOUT, BINARY_OUTPUTS})


class Sameness(NamedTuple):
    """Two calls with the same `id` are meant to be one, and are if `inputs` is the same as well.

    Attributes:
        id: of the tenant, the model and the idempotency key.
        inputs: of all that the answer comes from.
    """

    id: str
    inputs: str


def sameness(tenant: str, request: InferRequest) -> Sameness:
    """What tells whether a call that brings an idempotency key was made before.

    Raises:
        InputError: the key is no text of 1 to 255 characters.
    """
    key = request.parameters[IDEMPOTENCY_KEY]
    if not isinstance(key, str) or not 0 < len(key) <= MAX_KEY_LENGTH:
        expected = f"a text of 1 to {MAX_KEY_LENGTH} characters"
        raise InputError(IDEMPOTENCY_KEY, expected, f"{key!r:.300}", kind="parameter")
    id_ = sha256(_json([tenant, request.model, key])).hexdigest()
    return Sameness(id_, _digest(key, request))


def _digest(key: str, request: InferRequest) -> str:
    parameters = sorted(
        (name, repr(value)) for name, value in request.parameters.items() if name not in _ASIDE
    )
    heads = [
        [tensor.name, tensor.datatype, tensor.shape, tensor.content_type, len(tensor.data)]
        for tensor in request.inputs
    ]
    wanted = [*request.outputs, *map(list, request.classes)]
    told = _json([request.model, request.version, parameters, heads, wanted])
    digest = hmac.new(key.encode("utf-8", "surrogatepass"), told, sha256)
    for tensor in request.inputs:
        digest.update(tensor.data)
    return digest.hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
