"""A real gateway in a process of its own, on loopback, that can be killed, frozen and restarted."""

from __future__ import annotations

import signal
from pathlib import Path

from wherever.cli._demo_process import DemoServer

CAN_FREEZE = hasattr(signal, "SIGSTOP")


class DemoGateway(DemoServer):
    """A gateway process; use it as a context manager, so that it never outlives the block.

    Args:
        home: where it keeps its state.

    Attributes:
        address: "127.0.0.1:PORT", the same after a restart.
    """

    def __init__(self, home: Path) -> None:
        super().__init__("gateway", home)
        self.address = "127.0.0.1:0"

    def start(self) -> None:
        """Start the process; it is ready some time later."""
        port = self.address.rpartition(":")[2]
        self.launch("gateway", "--no-http", "--grpc-port", port)

    def wait_ready(self) -> None:
        """Wait until it serves.

        Raises:
            WhereverError: it ended, or it is not ready in time; the message has its last words.
        """
        super().wait_ready()
        self.address = str(self.said["grpc"])
