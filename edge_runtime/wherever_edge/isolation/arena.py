"""Memory that two processes share and that is gone when both are."""

from __future__ import annotations

import mmap
import os
import tempfile

PAGE = mmap.PAGESIZE
LEAST_BYTES = 64 * 1024
# The first byte says whether the worker is at work on a call; tensors come behind it.
STATE = 0
IDLE, AT_WORK = 0, 1
HEAD_BYTES = 64
# of one call's tensors, inputs and outputs together
MOST_BYTES = 1 << 30


def rounded(needed: int) -> int:
    """How large an arena is made for `needed` bytes: the next power of two, and some pages."""
    return max(LEAST_BYTES, 1 << (needed - 1).bit_length())


def anonymous_file(size: int) -> int:
    """A descriptor of `size` bytes of memory that have no name in any file system.

    Where the system has no such memory it is a temporary file that was unlinked at once.

    Raises:
        OSError: there is no room.
    """
    descriptor = _nameless()
    try:
        os.ftruncate(descriptor, size)
        _settle(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def nothing() -> mmap.mmap:
    """Memory that no tensor fits in, and nobody shares."""
    return mmap.mmap(-1, 1)


def mapped(descriptor: int, size: int) -> mmap.mmap:
    """The memory behind a descriptor; the descriptor is closed."""
    try:
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _nameless() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("wherever", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    descriptor, path = tempfile.mkstemp(prefix="wherever-")
    os.unlink(path)  # noqa: PTH108 (a descriptor's file, a moment old)
    return descriptor


def _settle(descriptor: int, size: int) -> None:
    if hasattr(os, "memfd_create"):
        import fcntl  # noqa: PLC0415 (not there where the above is not)

        # no worker may cut off what the application has mapped: touching it would end the latter
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    elif hasattr(os, "posix_fallocate"):
        # a full disk is told here, and does not end the process at a later write
        os.posix_fallocate(descriptor, 0, size)
