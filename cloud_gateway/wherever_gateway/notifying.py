"""Telling systemd how a service stands: the protocol of sd_notify(3), a datagram for each word."""

from __future__ import annotations

import os
import socket
from time import monotonic_ns

_VARIABLE = "NOTIFY_SOCKET"


def tell_ready(status: str = "") -> None:
    """Calls are taken from now on. Nothing happens where nobody wants to know."""
    _tell("READY=1", f"STATUS={status}")


def tell_reloading() -> None:
    """The configuration is being read again; `tell_ready` follows."""
    _tell("RELOADING=1", f"MONOTONIC_USEC={monotonic_ns() // 1000}")


def tell_stopping() -> None:
    """No more calls are taken; those that run end."""
    _tell("STOPPING=1", "STATUS=running calls end")


def _tell(*words: str) -> None:
    where = os.environ.get(_VARIABLE, "")
    if where[:1] not in ("/", "@") or not hasattr(socket, "AF_UNIX"):
        return
    said = "\n".join(word.replace("\n", " ") for word in words)
    # an address that begins with "@" is in Linux's abstract namespace, where that is a zero byte
    address = "\0" + where[1:] if where[0] == "@" else where
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(said.encode(), address)
    except OSError:
        return  # a service manager that does not listen is no reason not to serve
