"""Which certificate a host shows, asked without telling it anything."""

from __future__ import annotations

import socket
import ssl

from wherever_contracts.errors import UnreachableError
from wherever_edge.oip.endpoints import Endpoint


def presented_certificate(endpoint: Endpoint, timeout_s: float) -> bytes:
    """Shake hands with a host and hang up.

    The host proves by the handshake that it has the certificate's private key. It is not told the
    name it was reached by, and no byte follows the handshake.

    Args:
        endpoint: where the host listens.
        timeout_s: how long each step may take.

    Returns:
        The certificate it showed, as PEM.

    Raises:
        UnreachableError: there is no host, or it does not speak TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the caller compares the very certificate
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout_s) as plain,
            context.wrap_socket(plain) as secure,
        ):
            der = secure.getpeercert(binary_form=True)
    except (OSError, ValueError) as error:
        raise UnreachableError(
            f"{endpoint.name} shows no certificate ({error}); does a box listen there, and is its "
            "port open to this machine?"
        ) from error
    if not der:
        raise UnreachableError(f"{endpoint.name} shows no certificate")
    return ssl.DER_cert_to_PEM_cert(der).encode()
