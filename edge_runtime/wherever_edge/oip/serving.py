"""A process that serves: from its models and its start to a graceful end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Protocol, TypeVar

from wherever_contracts.errors import ModelNotFoundError, WhereverError

if TYPE_CHECKING:
    from types import FrameType

    from wherever_edge.host import LoadedVariant, LocalHost

# a process that a signal ended exits with this plus the signal's number
_SIGNALLED = 128
_LOOK_EVERY_S = 0.5


class Serves(Protocol):
    """What a gateway and a box have in common."""

    def start(self) -> None:
        """Load what is served, then listen."""
        ...

    def drain(self) -> bool:
        """Take no more calls and let those that run end; True when all ended in time."""
        ...


S = TypeVar("S", bound=Serves)


def serve_until_told(
    make: Callable[[], S],
    ready: Callable[[S], None],
    *,
    again: Callable[[S], None] | None = None,
    ending: Callable[[], None] | None = None,
) -> bool:
    """Serve until the process is told to end (SIGTERM or Ctrl-C), then drain.

    A second signal ends the process at once.

    Args:
        make: makes what serves.
        ready: called with it once everything is loaded and listens.
        again: called with it after each SIGHUP, once for those that come together; None leaves
            that signal alone.
        ending: called before it is drained.

    Returns:
        True when every call that was running ended in time.

    Raises:
        WhereverError: there is nothing to serve, or a port cannot be listened on.
    """
    ends: list[int] = []
    # a handler may interrupt whoever holds an event's lock, which is not let go then
    heard: SimpleQueue[int] = SimpleQueue()

    def end(number: int, _frame: FrameType | None) -> None:
        if ends:
            os._exit(_SIGNALLED + number)
        ends.append(number)
        heard.put(number)

    if again is not None and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda number, _frame: heard.put(number))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    served = make()
    served.start()
    ready(served)
    while not ends:
        if _hears(heard) and again is not None and not ends:
            again(served)
    if ending is not None:
        ending()
    return served.drain()


def _hears(signals: SimpleQueue[int]) -> bool:
    """Whether there was a signal; those that came together are one."""
    try:
        # a signal that another thread received (as just after SIGCONT) does not wake this one
        signals.get(timeout=_LOOK_EVERY_S)
        while not signals.empty():
            signals.get()
    except Empty:
        return False
    return True


def load_models(host: LocalHost) -> tuple[list[LoadedVariant], list[tuple[str, WhereverError]]]:
    """Load the best variant of every package of a host, but for those that it has unloaded.

    Returns:
        What is served, and what is not with the reason.

    Raises:
        ModelNotFoundError: there is nothing to serve; the message says why.
    """
    models: list[LoadedVariant] = []
    refused: list[tuple[str, WhereverError]] = [
        (str(path), error) for path, error in host.store.refused()
    ]
    packages = host.store.list()
    offered = [package for package in packages if host.offers(package.name)]
    for package in offered:
        try:
            models.append(host.resolve_package(package))
        except WhereverError as error:
            refused.append((f"{package.name} {package.version}", error))
    if not models and len(offered) == len(packages):
        why = "; ".join(f"{what}: {error}" for what, error in refused)
        raise ModelNotFoundError(f"there is no model to serve ({why or 'no package is there'})")
    return models, refused


def joined(address: str, port: int) -> str:
    """`address:port`, with an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
