"""What control groups, of either version, leave to this process: CPUs, their time, memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from wherever_devices.kernel import numbers, text

_UNLIMITED = 2**60  # version 1 writes "no limit" as the largest multiple of a page


class GroupLimits(NamedTuple):
    """The strictest limits of a process's groups; None for no limit.

    Attributes:
        cpus: the numbers of the CPUs that it may use.
        quota: how many CPUs' time it may take.
        memory_bytes: what it may hold.
    """

    cpus: frozenset[int] | None
    quota: float | None
    memory_bytes: int | None


def group_limits(root: Path) -> GroupLimits:
    """Read the groups of this process.

    Args:
        root: where the `proc` and `sys` file systems are mounted.
    """
    groups = parse_groups(text(root / "proc/self/cgroup"))
    return GroupLimits(_cpus(root, groups), _quota(root, groups), _memory(root, groups))


def parse_groups(cgroup: str) -> dict[str, str]:
    """Controller -> path of this process's control group; "" is the unified (v2) hierarchy."""
    rows = (line.split(":", 2) for line in cgroup.splitlines())
    return {name: path for _, names, path in rows for name in names.split(",")}


def parse_quota(said: str) -> float | None:
    """CPUs that `quota period` (cpu.max, or the two files of v1) grants; None for no limit."""
    quota, _, period = said.strip().partition(" ")
    if not quota.isdigit() or not period.isdigit() or period == "0":
        return None
    return int(quota) / int(period)


def parse_limit(said: str) -> int | None:
    """Bytes that memory.max or memory.limit_in_bytes grants; None for no limit."""
    value = said.strip()
    return int(value) if value.isdigit() and int(value) < _UNLIMITED else None


def _cpus(root: Path, groups: dict[str, str]) -> frozenset[int] | None:
    """The group itself decides: its list is within those of the groups above it."""
    files = [
        *_files(root, groups.get(""), "", "cpuset.cpus.effective"),
        *_files(root, groups.get("cpuset"), "cpuset", "cpuset.effective_cpus"),
        *_files(root, groups.get("cpuset"), "cpuset", "cpuset.cpus"),
    ]
    return next((found for found in map(numbers, map(text, files)) if found), None)


def _quota(root: Path, groups: dict[str, str]) -> float | None:
    folders = _folders(root, groups.get("cpu"), "cpu")
    said = [
        *(text(file) for file in _files(root, groups.get(""), "", "cpu.max")),
        *(f"{text(one / 'cpu.cfs_quota_us')} {text(one / 'cpu.cfs_period_us')}" for one in folders),
    ]
    return min((quota for quota in map(parse_quota, said) if quota is not None), default=None)


def _memory(root: Path, groups: dict[str, str]) -> int | None:
    files = [
        *_files(root, groups.get(""), "", "memory.max"),
        *_files(root, groups.get(""), "", "memory.high"),  # beyond it, a process is slowed down
        *_files(root, groups.get("memory"), "memory", "memory.limit_in_bytes"),
    ]
    limits = (parse_limit(text(file)) for file in files)
    return min((limit for limit in limits if limit is not None), default=None)


def _files(root: Path, group: str | None, controller: str, name: str) -> list[Path]:
    return [folder / name for folder in _folders(root, group, controller)]


def _folders(root: Path, group: str | None, controller: str) -> Iterator[Path]:
    """The control group's folder and those above it: the strictest limit of all holds.

    In a container the mounted root already is the group, and the path below it does not exist.
    """
    if group is not None:
        path = PurePosixPath(group.lstrip("/"))
        for part in (path, *path.parents):
            yield root / "sys/fs/cgroup" / controller / part
