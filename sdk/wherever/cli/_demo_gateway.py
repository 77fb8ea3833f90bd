"""A real gateway in a process of its own, on loopback, that can be killed, frozen and restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from time import monotonic
from types import TracebackType
from typing import Self

from wherever_contracts.errors import WhereverError

READY_WITHIN_S = 20.0
CAN_FREEZE = hasattr(signal, "SIGSTOP")

# Settings of the user's that are this gateway's business too.
_KEPT = ("WHEREVER_HOME",)


class DemoGateway:
    """A gateway process; use it as a context manager, so that it never outlives the block.

    Attributes:
        address: "127.0.0.1:PORT", the same after a restart.
        pids: of every process that was started, the last one last.
    """

    def __init__(self) -> None:
        self.address = "127.0.0.1:0"
        self.pids: list[int] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: _Listener | None = None

    def start(self) -> None:
        """Start the process; it is ready some time later."""
        port = self.address.rpartition(":")[2]
        arguments = ["gateway", "--json", "--no-http", "--grpc-port", port]
        self._process = subprocess.Popen(  # noqa: S603 (this Python, our arguments)
            [sys.executable, "-m", "wherever.cli._leash", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(),
            # of its own: Ctrl-C is not for it, and the system ends it should the demo be
            # killed while it is frozen
            process_group=0,
        )
        self.pids.append(self._process.pid)
        self._listener = _Listener(self._process)

    def wait_ready(self) -> None:
        """Wait until it serves.

        Raises:
            WhereverError: it ended, or it is not ready in time; the message has its last words.
        """
        listener = self._listener
        if listener is None:
            raise WhereverError("the demo's gateway was not started")
        ends = monotonic() + READY_WITHIN_S
        while not listener.ready.wait(0.05):
            self.check()
            if monotonic() > ends:
                raise WhereverError(
                    f"the demo's gateway was not ready within {READY_WITHIN_S:g} s{listener.words}"
                )
        self.address = listener.address

    def check(self) -> None:
        """Make sure that the process still runs.

        Raises:
            WhereverError: it ended by itself; the message has its last words.
        """
        if self._process is None or self._listener is None:
            return
        code = self._process.poll()
        if code is not None:
            self._listener.join()
            raise WhereverError(
                f"the demo's gateway ended with exit code {code}{self._listener.words}"
            )

    def kill(self) -> None:
        """End it the hard way, as a power cut would, and wait until it is gone."""
        process, self._process = self._process, None
        if process is None or self._listener is None:
            return
        process.kill()
        process.wait()
        self._listener.join()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def freeze(self) -> None:
        """Stop it without ending it: connections stay open and nothing answers.

        Returns when it has stopped: should this process end before that, the system would not
        know that there is somebody to be woken and ended.
        """
        self._signal("SIGSTOP")
        if self._process is not None:
            os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal("SIGCONT")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def _signal(self, name: str) -> None:
        if self._process is not None:
            self._process.send_signal(getattr(signal, name))


class _Listener(threading.Thread):
    """Reads what a gateway prints: the line that says where it serves, and its last words.

    Attributes:
        ready: set once it serves.
        address: where.
        words: its last line, ready to be appended to a message.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self._lines = process.stdout
        self.ready = threading.Event()
        self.address = ""
        self.words = ""
        self.start()

    def run(self) -> None:
        """Read until the process has ended."""
        for line in self._lines or ():
            text = line.decode(errors="replace").strip()
            address = _address(text)
            if address:
                self.address = address
                self.ready.set()
            elif text:
                self.words = f": {text}"


def _address(line: str) -> str:
    """The address that a gateway's first line names; "" when it is another line."""
    try:
        return str(json.loads(line)["grpc"])
    except (ValueError, TypeError, KeyError):
        return ""


def _environment() -> dict[str, str]:
    """Ours without the user's settings, so that every demo is the same."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _KEPT or not name.upper().startswith("WHEREVER_")
    }
