"""A worker as the application sees it: a process, its lines, and what it said at last."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from wherever_contracts.errors import EngineError, SettingsError
from wherever_edge.forking import loading
from wherever_edge.isolation.lane import Lane
from wherever_edge.isolation.supervision import how_it_ended, told

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array
    from wherever_edge.isolation.supervision import Shapes

_PROGRAM = "wherever_edge.isolation.worker"
_LAST_WORDS = 200
_REAPED_S = 5.0
# A call that another one's hang took along, and what an administrator ends, has done nothing.
_OTHERS_DOING = {"hang", "SIGTERM", "closed", "interrupt"}


class Death(NamedTuple):
    """How a worker ended.

    Attributes:
        how: in one word, as counters use it: "SIGSEGV", "hang", "exit 3".
        words: as half a sentence: "was killed by SIGSEGV".
    """

    how: str
    words: str


CLOSED = Death("closed", "was closed")
BROKEN_OFF = Death("interrupt", "was ended because a call was broken off")


class WorkerGone(Exception):  # noqa: N818 (an event that is caught, never one that is reported)
    """The worker died in the middle of a call.

    Attributes:
        death: how.
        blamed: whether this call's input may have done it.
    """

    def __init__(self, death: Death, *, blamed: bool) -> None:
        super().__init__(death.words)
        self.death = death
        self.blamed = blamed


def refuse_where_impossible() -> None:
    """Raise where this system or this program cannot have workers.

    Raises:
        SettingsError: it says what is missing.
    """
    if not (hasattr(socket, "AF_UNIX") and hasattr(socket, "send_fds")):
        raise SettingsError(
            f"isolation='process' needs Unix sockets that pass descriptors, which {sys.platform} "
            "does not have; use isolation='none'"
        )
    if not sys.executable or getattr(sys, "frozen", False):
        raise SettingsError(
            "isolation='process' starts Python by its path, and this program has none "
            f"(sys.executable is {sys.executable!r}); use isolation='none'"
        )


class Worker:
    """A worker process and the lines to it.

    Attributes:
        control: told what to load; the worker ends when it closes.
        stderr: what the worker prints, a descriptor.
    """

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        stderr: int,
        control: socket.socket,
        lanes: list[socket.socket],
    ) -> None:
        self._process = process
        self._lanes = [Lane(connection) for connection in lanes]
        self._free = list(self._lanes)
        self._changed = threading.Condition()
        self._reaped = threading.Event()
        self._said: deque[str] = deque(maxlen=1)
        self._verdict: Death | None = None
        self._death: Death | None = None
        self._retired = False
        self.control = control
        self.stderr: int = stderr

    @classmethod
    def start(cls, lanes: int) -> Worker:
        """Start a worker; it dies with the thread that calls this, and with the process.

        Raises:
            OSError: the system has no room for another process.
        """
        # not while another thread forks: its child would hold the worker's ends open
        with loading():
            pairs = [socket.socketpair() for _ in range(lanes + 1)]
            stderr, their_stderr = os.pipe()
            try:
                process = _started([their.fileno() for _, their in pairs], their_stderr)
            except OSError:
                os.close(stderr)
                for own, _ in pairs:
                    own.close()
                raise
            finally:
                os.close(their_stderr)
                for _, their in pairs:
                    their.close()
            return cls(process, stderr, pairs[0][0], [own for own, _ in pairs[1:]])

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def run(
        self, feed: Mapping[str, Array], shapes: Shapes, limit_s: float
    ) -> tuple[dict[str, Array], float]:
        """Let the worker run the model; returns the outputs, and the seconds that it took.

        Raises:
            EngineError: the engine failed.
            WorkerGone: the worker died, or was ended because it hung.
        """
        lane = self._take()
        started = perf_counter()
        try:
            return lane.exchange(feed, shapes, limit_s), perf_counter() - started
        except EngineError:
            raise
        except BlockingIOError:
            words = f"did not answer within {limit_s:.1f} s and was ended"
            self.end(Death("hang", words))
            raise WorkerGone(self.death(), blamed=lane.begun) from None
        except (EOFError, OSError):
            death = self.death()
            blamed = lane.begun and death.how not in _OTHERS_DOING
            raise WorkerGone(death, blamed=blamed) from None
        except ValueError as error:
            self.end(Death("nonsense", f"sent nonsense ({error}) and was ended"))
            raise WorkerGone(self.death(), blamed=True) from error
        except BaseException:
            # the call was broken off: its answer would be taken for the next caller's
            self.end(BROKEN_OFF)
            raise
        finally:
            self._give_back(lane)

    def end(self, verdict: Death) -> None:
        """Kill the process; `verdict` says why, unless it is dead already."""
        if self._verdict is None and self._process.returncode is None:
            self._verdict = verdict
        self.kill()

    def kill(self) -> None:
        """Kill the process, if it still runs."""
        self._process.kill()

    def hang_up(self, verdict: Death = CLOSED) -> None:
        """Let the worker end by itself."""
        self._verdict = self._verdict or verdict
        with contextlib.suppress(OSError):
            self.control.shutdown(socket.SHUT_RDWR)

    def heard(self, printed: bytes) -> list[str]:
        """Keep the last line of what the worker printed; returns all of them."""
        lines = [line.strip() for line in printed.decode("utf-8", "replace").splitlines()]
        lines = [line for line in lines if line]
        self._said.extend(lines)
        return lines

    def death(self) -> Death:
        """How it died; waits the moment that the system takes for it."""
        if not self._reaped.wait(_REAPED_S):
            self.end(Death("lost", "closed its lines and was ended"))
            self._reaped.wait(_REAPED_S)
        return self._death or Death("lost", "closed its lines")

    def reap(self) -> Death:
        """Wait for the end of the process, and close what led to it."""
        how = how_it_ended(self._process.wait())
        last_words = self._said[-1][:_LAST_WORDS] if self._said else ""
        self._death = self._verdict or Death(how, told(how, last_words))
        self._reaped.set()
        with self._changed:
            self._retired = True
            unused, self._free = self._free, []
            self._changed.notify_all()
        for lane in unused:
            lane.close()
        self.control.close()
        os.close(self.stderr)
        return self._death

    def disown(self) -> None:
        """Close everything without touching the worker: it belongs to the parent of this fork."""
        self._process.returncode = 0  # or Python would warn that it still runs
        for lane in self._lanes:
            lane.close()
        self.control.close()
        os.close(self.stderr)

    def _take(self) -> Lane:
        with self._changed:
            while not self._free:
                if self._retired:
                    raise WorkerGone(self.death(), blamed=False)
                self._changed.wait()
            # the one used last: its memory is in the caches
            return self._free.pop()

    def _give_back(self, lane: Lane) -> None:
        with self._changed:
            if not self._retired:
                self._free.append(lane)
                self._changed.notify()
                return
        lane.close()


def _started(descriptors: list[int], stderr: int) -> subprocess.Popen[bytes]:
    arguments = [str(os.getpid()), *map(str, descriptors)]
    found = [path or os.getcwd() for path in sys.path]  # noqa: PTH109 (as the interpreter does)
    return subprocess.Popen(  # noqa: S603 (this interpreter, our module)
        [sys.executable, "-P", "-m", _PROGRAM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        pass_fds=descriptors,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(found)},
        # the terminal's Ctrl-C is the application's
        process_group=0,
    )
