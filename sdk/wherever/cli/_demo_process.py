"""Processes of the demo: our own commands, on loopback, none of which outlives it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

from wherever_contracts.errors import WhereverError

READY_WITHIN_S = 20.0
DONE_WITHIN_S = 30.0

_LAST_LINES = 50


class Reply(NamedTuple):
    """What a command printed.

    Attributes:
        ok: whether its exit code was 0.
        data: the JSON object.
    """

    ok: bool
    data: dict[str, Any]

    @property
    def error(self) -> dict[str, Any]:
        """Code and message of what went wrong; empty when nothing did."""
        return cast("dict[str, Any]", self.data.get("error", {}))


def attempt(home: Path, *arguments: object) -> Reply:
    """Run one of our commands to its end.

    Args:
        home: where it keeps its state; also where it runs.
        arguments: what follows `wherever`, without --json.

    Raises:
        WhereverError: it took too long, or printed no JSON.
    """
    words = [str(argument) for argument in arguments]
    try:
        done = subprocess.run(  # noqa: S603 (this Python, our arguments)
            [sys.executable, "-m", "wherever", *words, "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DONE_WITHIN_S,
            check=False,
            env=environment(home),
            cwd=home,
        )
        return Reply(done.returncode == 0, json.loads(done.stdout))
    except subprocess.TimeoutExpired:
        raise WhereverError(f"`wherever {words[0]}` took more than {DONE_WITHIN_S:g} s") from None
    except ValueError as error:
        raise WhereverError(f"`wherever {words[0]}` printed no JSON: {error}") from error


def ask(home: Path, *arguments: object) -> dict[str, Any]:
    """Run one of our commands to its end, and take it for granted that it succeeds.

    Raises:
        WhereverError: it failed; the message has its words.
    """
    reply = attempt(home, *arguments)
    if not reply.ok:
        said = reply.error.get("message") or json.dumps(reply.data)
        raise WhereverError(f"`wherever {arguments[0]}` failed: {said}")
    return reply.data


def environment(home: Path) -> dict[str, str]:
    """Ours without the user's settings and proxies, so that every demo is the same."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith("WHEREVER_") and name.upper() != "NO_PROXY"
    }
    here = str(home)
    return {
        **kept,
        "WHEREVER_HOME": here,
        "XDG_CONFIG_HOME": here,
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


@contextmanager
def apart(root: Path) -> Generator[None]:
    """Keep this process, too, from the user's settings: environment and files."""
    before = dict(os.environ)
    try:
        _replace_environment(environment(root))
        with chdir(root):
            yield
    finally:
        _replace_environment(before)


def _replace_environment(values: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(values)


@contextmanager
def quiet(name: str) -> Generator[None]:
    """Keep a logger's warnings about what is done on purpose from the terminal."""
    logger, handler = logging.getLogger(name), logging.NullHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class DemoServer:
    """A command that serves; use it as a context manager, so that it never outlives the block.

    Args:
        what: what to call it in messages.
        home: where it keeps its state; made when it starts.

    Attributes:
        said: the JSON object that it printed when it was ready.
        pids: of every process that was started, the last one last.
    """

    def __init__(self, what: str, home: Path) -> None:
        self.said: dict[str, Any] = {}
        self.pids: list[int] = []
        self._what = what
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: _Listener | None = None

    def launch(self, *arguments: str) -> None:
        """Start one of our commands that serves; it is ready some time later."""
        self.start_module("wherever.cli._leash", *arguments, "--json", tells="grpc")

    def start_module(self, module: str, *arguments: str, tells: str) -> None:
        """Start a process that ends when its standard input does.

        Args:
            module: one of ours, as it is imported.
            arguments: what follows its name.
            tells: what the JSON object has in it that says that it is ready.
        """
        self._home.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(  # noqa: S603 (this Python, our arguments)
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(self._home),
            cwd=self._home,
            # of its own: Ctrl-C is not for it, and the system ends it should the demo be
            # killed while it is frozen
            process_group=0,
        )
        self.pids.append(self._process.pid)
        self._listener = _Listener(self._process, tells)

    def wait_ready(self) -> None:
        """Wait until it serves.

        Raises:
            WhereverError: it ended, or it is not ready in time; the message has its last words.
        """
        listener = self._listener
        if listener is None:
            raise WhereverError(f"the demo's {self._what} was not started")
        ends = monotonic() + READY_WITHIN_S
        while not listener.ready.wait(0.05):
            self.check()
            if monotonic() > ends:
                late = f"was not ready within {READY_WITHIN_S:g} s"
                raise WhereverError(f"the demo's {self._what} {late}{listener.words}")
        self.said = listener.said

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
                f"the demo's {self._what} ended with exit code {code}{self._listener.words}"
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
    """Reads what a server prints: the line that says where it serves, and its last words.

    Attributes:
        ready: set once it serves.
        said: what that line says.
        words: its last words, ready to be appended to a message.
    """

    def __init__(self, process: subprocess.Popen[bytes], tells: str) -> None:
        super().__init__(daemon=True)
        self._tells = tells
        self._lines = process.stdout
        self.ready = threading.Event()
        self.said: dict[str, Any] = {}
        self._said_last: deque[str] = deque(maxlen=_LAST_LINES)
        self.start()

    @property
    def words(self) -> str:
        said = last_words(list(self._said_last))
        return f": {said}" if said else ""

    def run(self) -> None:
        """Read until the process has ended."""
        for line in self._lines or ():
            text = line.decode(errors="replace").strip()
            said = _ready(text, self._tells)
            if said:
                self.said = said
                self.ready.set()
            elif text:
                self._said_last.append(text)


def last_words(lines: Sequence[str]) -> str:
    """What a command said at last: the message of an error in JSON, or else its last line."""
    text = "\n".join(lines)
    try:
        return str(json.loads(text[text.index("{\n") :])["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return lines[-1] if lines else ""


def _ready(line: str, tells: str) -> dict[str, Any]:
    """What a server says when it is ready; nothing when it is another line."""
    try:
        said: Any = json.loads(line)
    except ValueError:
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) and tells in said else {}
