"""Pairing a device with a box: both ends of it.

What is protected: the inputs of calls, and the box's time. Who may attack: anybody on the site's
network, who can send adverts, answer at any address and sit between a device and the box. Who may
not: whoever reads the box's screen or log while a code is good, and whoever runs code as the user
on either machine.

The box shows a code; a person types it into the device. Its first 80 bits are of the SHA-256 of
the box's certificate. The device shakes hands with what answers, compares, and says nothing to a
stranger. To be taken for the box, an attacker would need a key pair whose certificate begins with
the same 80 bits: 2^80 tries for one box, and nothing that was prepared helps against the next. (A
code of 40 bits could be met within days on rented machines; 128 bits would be typed wrong.)

The last 40 bits are a PIN, sent only over a connection that is pinned to that very certificate,
so that nobody else reads it. It is good once, for ten minutes, and for five wrong tries; then the
box shows another. Whoever guesses gets one chance in 2^40 each time, and can at worst keep people
from pairing while the guessing goes on. The box answers with a key that is this device's alone and
can be revoked alone.

From then on the device connects to that certificate and to no other, wherever adverts say that the
box is. A box with another certificate is a stranger, whatever its name: the handshake fails, and
no byte of a call leaves the device.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from wherever_contracts.errors import AttemptError, NotAllowedError, PairingError
from wherever_contracts.wire.framing import WireError
from wherever_contracts.wire.pairing import (
    PairRequest,
    PairResponse,
    decode_pair_request,
    decode_pair_response,
    encode_pair_request,
    encode_pair_response,
)
from wherever_contracts.wire.schema import BOX_SERVICE
from wherever_edge.box.adverts import ID_CHARS, is_name, name_from
from wherever_edge.box.codes import Code, PinDesk, identity_of
from wherever_edge.box.handshake import presented_certificate
from wherever_edge.box.pins import PinnedBox
from wherever_edge.oip import forks
from wherever_edge.oip.allotted import Allotted
from wherever_edge.oip.security import ClientSecurity, fingerprint

if TYPE_CHECKING:
    from wherever_edge.oip.endpoints import Endpoint
    from wherever_edge.oip.keys import KeyChecker, KeyStore

METHOD = "Pair"

_MAX_BYTES = 64 * 1024
# a checker looks at its file twice a second
_KEY_KNOWN_WITHIN_S = 2.0


def keys_directory(home: Path) -> Path:
    """Where a box keeps its certificate and the keys of its devices."""
    return home / "keys" / "box"


class PairingDesk:
    """The box's end: shows codes, and gives a key for a good one. Safe to use from many threads.

    Args:
        name: the box's name.
        certificate: the SHA-256 of its certificate, in hex.
        keys: where the keys of devices are kept.
        checker: what calls are checked with.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        name: str,
        certificate: str,
        keys: KeyStore,
        checker: KeyChecker,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._name = name
        self._identity = identity_of(certificate)
        self._keys = keys
        self._checker = checker
        self._clock = clock
        self._lock = threading.Lock()
        self._pins = PinDesk(secrets.token_bytes, clock())

    @property
    def code(self) -> Code:
        """The code that is good now."""
        with self._lock:
            return Code(self._identity, self._pins.pin(self._clock()))

    def pair(self, data: bytes, _context: Any) -> bytes:
        """Answer a device: its key, if the PIN is good.

        Raises:
            PairingError: it is not.
            WireError: the bytes are no such request.
        """
        asked = decode_pair_request(data)
        with self._lock:
            good = self._pins.take(asked.pin, self._clock())
        if not good:
            raise PairingError("the last eight characters of the code are not good, or not now")
        key = self._keys.add(f"{name_from(asked.device)}-{secrets.token_hex(4)}")
        self._await(key)
        return encode_pair_response(PairResponse(self._name, key))

    def _await(self, key: str) -> None:
        """Wait until calls with a new key pass, so that the device's first one does."""
        until = self._clock() + _KEY_KNOWN_WITHIN_S
        while not self._passes(key) and self._clock() < until:
            sleep(0.05)

    def _passes(self, key: str) -> bool:
        try:
            self._checker.check(f"Bearer {key}")
        except NotAllowedError:
            return False
        return True


def pair(endpoint: Endpoint, code: Code, *, device: str, timeout_s: float = 5.0) -> PinnedBox:
    """The device's end: check that a host is the box that shows `code`, and get a key there.

    Args:
        endpoint: where the box listens.
        code: what the box shows.
        device: what the box is to call this device.
        timeout_s: how long each step may take.

    Raises:
        PairingError: another host answered, or the box did not take the code.
        UnreachableError: nothing that speaks TLS listens there.
    """
    certificate = presented_certificate(endpoint, timeout_s)
    digest = fingerprint(certificate)
    if identity_of(digest) != code.identity:
        raise PairingError(
            f"{endpoint.name} is not the box that shows this code, or the code was typed wrong; "
            "nothing was sent to it"
        )
    answer = _ask(endpoint, certificate, PairRequest(code.pin, device), timeout_s)
    if not is_name(answer.name):
        raise PairingError(f"the box at {endpoint.name} has no usable name: {answer.name!r}")
    return PinnedBox(
        digest[:ID_CHARS], answer.name, certificate.decode(), answer.api_key, endpoint.name
    )


def _ask(
    endpoint: Endpoint, certificate: bytes, request: PairRequest, timeout_s: float
) -> PairResponse:
    """Send the PIN to the host that has this very certificate."""
    forks.note_use()
    from wherever_edge.oip.connection import Connection  # noqa: PLC0415 (grpc, 75 ms)

    way = ClientSecurity(pinned_pem=certificate).way_to(endpoint, proxied=False)
    connection = Connection(endpoint, max_bytes=_MAX_BYTES, way=way, place="nearby")
    try:
        asked = encode_pair_request(request)
        return decode_pair_response(
            connection.exchange(f"/{BOX_SERVICE}/{METHOD}", asked, Allotted.from_now(timeout_s))
        )
    except NotAllowedError as error:
        raise PairingError(
            f"{endpoint.name} is the right box, but did not take the code: it was used, is older "
            "than ten minutes, or its end was typed wrong; the box shows the one that is good now"
        ) from error
    except (AttemptError, WireError) as error:
        raise PairingError(f"{endpoint.name} is the right box, but cannot pair: {error}") from error
    finally:
        connection.close()
