"""What can send bytes to another machine is known by name, and calls leave by the guard alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ("contracts", "device_profiles", "edge_runtime", "sdk")
# what opens connections
NETWORK = {
    *("aiohttp", "ftplib", "grpc", "http.client", "http.server", "httpx", "requests", "smtplib"),
    *("socket", "urllib.request", "urllib3", "websockets", "xmlrpc", "zeroconf"),
}

# module -> what it has the network for. Whoever adds one says why no data of a call goes that way,
# or that the guard is asked.
WAYS = {
    "wherever/cli/_demo_update.py": "the demo's own registry, served on loopback",
    "wherever_edge/box/advertising.py": "a box says its name and port by mDNS",
    "wherever_edge/box/browsing.py": "boxes are looked for by mDNS",
    "wherever_edge/box/commands.py": "this machine's name",
    "wherever_edge/box/handshake.py": "pairing: codes and certificates, before there are calls",
    "wherever_edge/downloads.py": "files of the catalogue come in; their names go out",
    "wherever_edge/isolation/frames.py": "workers of this device, over Unix sockets",
    "wherever_edge/isolation/lane.py": "likewise",
    "wherever_edge/isolation/process.py": "likewise",
    "wherever_edge/isolation/worker.py": "likewise",
    "wherever_edge/oip/call_stream.py": "the stream of calls that `connection.py` made messages of",
    "wherever_edge/oip/calling.py": "a server: who calls",
    "wherever_edge/oip/certificates.py": "this machine's names",
    "wherever_edge/oip/completion.py": "a server: what comes from gRPC's completion queue",
    "wherever_edge/oip/connection.py": "calls over gRPC; asks the guard",
    "wherever_edge/oip/direct.py": "a server: single calls",
    "wherever_edge/oip/direct_stream.py": "a server: one stream, from that queue",
    "wherever_edge/oip/entrance.py": "a server: who may call",
    "wherever_edge/oip/health.py": "a server: its health",
    "wherever_edge/oip/link.py": "the channel of calls over gRPC",
    "wherever_edge/oip/open_stream.py": "a server: one stream",
    "wherever_edge/oip/ports.py": "a server: where it listens",
    "wherever_edge/oip/reflection.py": "a server: what it speaks",
    "wherever_edge/oip/rest_link.py": "calls over REST; `rest.py` asks the guard",
    "wherever_edge/oip/server.py": "a server",
    "wherever_edge/oip/stream_server.py": "a server: streams of calls",
    "wherever_edge/oip/threaded_stream.py": "a server: one stream, by grpcio's own threads",
    "wherever_edge/oip/triton_stream.py": "a server: streams as Triton's clients have them",
    "wherever_edge/updates/fetcher.py": "signed files come in; their names go out",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for source in SOURCES:
        for path in (ROOT / source).rglob("*.py"):
            yield str(path.relative_to(ROOT / source)), ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that is imported, wherever in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def opens_connections(module: str) -> bool:
    return any(module == each or module.startswith(f"{each}.") for each in NETWORK)


def test_what_opens_connections_is_known_by_name():
    found = {
        path
        for path, tree in modules()
        if any(opens_connections(module) for module, _ in imported(tree))
    }
    assert sorted(found) == sorted(WAYS)


def test_only_the_two_that_ask_the_guard_make_messages_of_calls():
    makers = {
        path for path, tree in modules() if "encode_request" in {name for _, name in imported(tree)}
    }
    assert makers == {"wherever_edge/oip/connection.py", "wherever_edge/oip/rest.py"}
    for path, tree in modules():
        if path in makers:
            assert ("wherever_edge.egress", "guard") in set(imported(tree))
