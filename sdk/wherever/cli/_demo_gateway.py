"""A real gateway in a process of its own, on loopback, that can be killed, frozen and restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from wherever_contracts.errors import WhereverError

READY_WITHIN_S = 20.0
CAN_FREEZE = hasattr(signal, "SIGSTOP")


class DemoGateway:
    """A gateway process; use it as a context manager, so that it never outlives the block.

    Attributes:
        address: "127.0.0.1:PORT", the same after a restart.
        pids: of every process that was started, the last one last.
    """

    def __init__(self) -> None:
        self.address = "127.0.0.1:0"
        self.pids: list[int] = []
        self._home = tempfile.TemporaryDirectory(prefix="wherever-demo-")
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = threading.Event()
        self._listener: threading.Thread | None = None

    def start(self) -> None:
        """Start the process; it is ready some time later."""
        self._ready = threading.Event()
        with self._log().open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 (this Python, our arguments)
                [sys.executable, "-m", "wherever.cli._leash", *self._arguments()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment(),
                # of its own: Ctrl-C is not for it, and the system ends it should the demo be
                # killed while it is frozen
                process_group=0,
            )
        self.pids.append(self._process.pid)
        self._listener = threading.Thread(
            target=self._listen, args=(self._process, self._ready), daemon=True
        )
        self._listener.start()

    def wait_ready(self) -> None:
        """Wait until it serves.

        Raises:
            WhereverError: it ended, or it is not ready in time; the message has its last words.
        """
        ends = monotonic() + READY_WITHIN_S
        while not self._ready.wait(0.05):
            self.check()
            if monotonic() > ends:
                raise WhereverError(
                    f"the demo's gateway was not ready within {READY_WITHIN_S:g} s{self._words()}"
                )

    def check(self) -> None:
        """Make sure that the process still runs.

        Raises:
            WhereverError: it ended by itself.
        """
        code = None if self._process is None else self._process.poll()
        if code is not None:
            raise WhereverError(f"the demo's gateway ended with exit code {code}{self._words()}")

    def kill(self) -> None:
        """End it the hard way, as a power cut would, and wait until it is gone."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if self._listener is not None:
            self._listener.join()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()

    def freeze(self) -> None:
        """Stop it without ending it: connections stay open and nothing answers."""
        self._signal("SIGSTOP")

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
        self._home.cleanup()

    def _signal(self, name: str) -> None:
        if self._process is not None:
            self._process.send_signal(getattr(signal, name))

    def _arguments(self) -> list[str]:
        port = self.address.rpartition(":")[2]
        return ["gateway", "--json", "--no-http", "--grpc-port", port]

    def _environment(self) -> dict[str, str]:
        """Ours without the user's settings, which are not this gateway's business."""
        kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("WHEREVER_")}
        return {**kept, "WHEREVER_HOME": self._home.name}

    def _log(self) -> Path:
        return Path(self._home.name) / "gateway.log"

    def _words(self) -> str:
        """The last line that it wrote to standard error."""
        lines = self._log().read_text(errors="replace").split("\n") if self._log().exists() else []
        said = [line for line in lines if line.strip()]
        return f": {said[-1]}" if said else ""

    def _listen(self, process: subprocess.Popen[bytes], ready: threading.Event) -> None:
        """Read its standard output: the first line says where it serves."""
        assert process.stdout is not None  # noqa: S101 (it was asked for)
        for line in process.stdout:
            if not ready.is_set():
                self.address = json.loads(line)["grpc"]
                ready.set()
