"""A gateway in a process of its own, to be killed, stopped and restarted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Self


class Gateway:
    """`wherever gateway` on loopback; keeps its port when it is started again."""

    def __init__(self, arguments: Sequence[str] = (), *, http: bool = False) -> None:
        self._arguments = (*arguments, *(() if http else ("--no-http",)))
        self.ready: dict[str, Any] = {}
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    def start(self) -> None:
        """Start it, and wait until it says that it is ready."""
        command = [sys.executable, "-m", "wherever", "gateway", "--json"]
        self._process = subprocess.Popen(
            [*command, "--grpc-port", self._port, *self._arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.ready = json.loads(self._process.stdout.readline())
        self.address = self.ready["grpc"]
        self._port = self.address.rpartition(":")[2]

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Let it drain and end, and start it again."""
        self._end(signal.SIGTERM)
        self.start()

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(timeout=20)
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
        self._end(signal.SIGTERM)
