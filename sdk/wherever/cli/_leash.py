"""`python -m wherever.cli._leash gateway ...`: a command that ends when its standard input does.

Whoever starts a process with a pipe as its standard input holds the other end, and the system
closes that end however the holder dies. So the process never outlives the one that started it.
"""

from __future__ import annotations

import os
import sys
import threading


def end_with_standard_input() -> None:
    """Read standard input, and end this process when there is no more of it."""
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=end_with_standard_input, daemon=True).start()
    from wherever.cli import main

    main(sys.argv[1:])
