"""How a host is opened on this machine: its profile, and what its owner wants otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from wherever_contracts.errors import SettingsError
from wherever_devices.here import look_here
from wherever_edge.configured import configured
from wherever_edge.host import LocalHost
from wherever_edge.opening import Isolation

if TYPE_CHECKING:
    from collections.abc import Collection

    from wherever_contracts.places import Place
    from wherever_edge.packages.store import Store


@dataclass(frozen=True, slots=True)
class HostOptions:
    """How a host uses its machine; what is None, the machine's profile says.

    Attributes:
        profile: a name such as "laptop", or a TOML file; by default what fits the machine.
        threads: threads of one run.
        runs: runs at once.
        max_waiting: calls that may wait behind them.
        memory_max_bytes: the most that loaded models may take.
        batching: calls that wait for one variant may share a run.
        isolation: "process" runs engines in processes of their own.
        pinned: models that stay in memory once they were used.
    """

    profile: str | None = None
    threads: int | None = None
    runs: int | None = None
    max_waiting: int | None = None
    memory_max_bytes: int | None = None
    batching: bool = True
    isolation: Isolation = "none"
    pinned: tuple[str, ...] = ()


def open_host(
    store: Store, *, distance: Place, home: Path | None, options: HostOptions | None = None
) -> LocalHost:
    """A host for the models of a store, used as this machine's profile and its owner say.

    Args:
        store: the packages.
        distance: where the host stands as its callers see it.
        home: where profiles and measurements are; None for those that come along, and none.
        options: what its owner wants.

    Raises:
        SettingsError: there is no such profile, or its file is wrong.
    """
    wanted = options or HostOptions()
    here = look_here(wanted.profile, home=home)
    return LocalHost(
        store,
        distance=distance,
        machine=here.machine,
        threads=wanted.threads,
        runs=wanted.runs,
        max_waiting=wanted.max_waiting,
        memory_max_bytes=wanted.memory_max_bytes or here.decision.memory_max_bytes,
        batching=wanted.batching,
        home=home,
        decision=lambda: here.again().decision,
        isolation=wanted.isolation,
        pinned=wanted.pinned,
    )


def host_options(
    *,
    profile: str | None,
    isolation: str | None,
    memory_max_mib: int | None,
    batching: bool,
    pinned: Collection[str] | None = None,
    runs: int | None = None,
    max_waiting: int | None = None,
) -> HostOptions:
    """The options of a command: what was given, or else what a file of settings says.

    Raises:
        SettingsError: `isolation` is not one of its words, or a file of settings cannot be read.
    """
    wanted = isolation or configured("isolation") or "none"
    if wanted not in get_args(Isolation):
        known = ", ".join(get_args(Isolation))
        raise SettingsError(f"isolation is {wanted!r}; it is one of {known}")
    return HostOptions(
        profile=profile or configured("profile"),
        runs=runs,
        max_waiting=max_waiting,
        memory_max_bytes=memory_max_mib and memory_max_mib * 2**20,
        batching=batching,
        isolation=cast("Isolation", wanted),
        pinned=tuple(pinned or ()),
    )
