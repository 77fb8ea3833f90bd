"""What a call costs more that the gateway passes on to a server behind it than one sent there.

    python benchmarks/gateway/backends.py

A server of ours with a model that gives back what it gets, and a gateway before two of them; one
client asks the one and the other in turn. Prints a table.
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway_process import Gateway
from harness import Row, interleaved, table
from in_cloud import echo_package

from wherever_contracts.wire.tensors import InferRequest, from_array
from wherever_edge.oip.client import RemoteHost
from wherever_edge.oip.endpoints import Endpoint

# (floats, rounds, calls a round)
SIZES = ((12, 40, 60), (150_528, 30, 10), (1_200_000, 20, 4))
CALLERS, CALLS = 16, 1500


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        home = Path(directory)
        packages = ["--packages", str(echo_package(home / "echo").root)]
        servers = [stack.enter_context(Gateway(packages)) for _ in range(2)]
        config = home / "gateway.toml"
        config.write_text(_config([server.address for server in servers]))
        gateway = stack.enter_context(Gateway(["--config", str(config)]))
        direct, behind = (
            stack.enter_context(_host(address)) for address in (servers[0].address, gateway.address)
        )
        rows = [_alone(direct, behind, *size) for size in SIZES]
        rows.append(_crowd(direct, behind))
    print(table(rows))


def _config(endpoints: list[str]) -> str:
    listed = ", ".join(f'"grpc://{each}?rest=off"' for each in endpoints)
    return f'[backends.far]\nendpoints = [{listed}]\nmodels = ["echo"]\n'


def _host(address: str) -> _Open:
    return _Open(Endpoint.parse(f"grpc://{address}?rest=off"))


class _Open(RemoteHost):
    """A host that is closed with its block."""

    def __enter__(self) -> RemoteHost:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _request(floats: int) -> InferRequest:
    values = from_array("x", np.linspace(0, 1, floats, dtype=np.float32))
    return InferRequest("echo", "", "", {}, (values,), boundary="anywhere")


def _alone(direct: RemoteHost, behind: RemoteHost, floats: int, rounds: int, calls: int) -> Row:
    request = _request(floats)
    pair = interleaved(
        lambda: behind.infer(request, 30.0),
        lambda: direct.infer(request, 30.0),
        rounds=rounds,
        calls=calls,
    )
    n_bytes = 4 * floats
    size = f"{n_bytes} B" if n_bytes < 1000 else f"{n_bytes / 1e6:.1f} MB"
    return Row(
        f"one caller, {size} each way",
        f"{pair.ours_s * 1e3:.2f} ms: {pair.added_s * 1e3:.2f} ms more, {pair.ratio:.2f} x",
        f"sent there itself: {pair.reference_s * 1e3:.2f} ms",
        "",
        None,
    )


def _crowd(direct: RemoteHost, behind: RemoteHost) -> Row:
    """Calls a second of many callers; each of three rounds has both."""
    rates = [(_rate(behind), _rate(direct)) for _ in range(3)]
    ours, reference = (sorted(column)[1] for column in zip(*rates, strict=True))
    return Row(
        f"{CALLERS} callers, 48 B each way",
        f"{ours:,.0f}/s, {ours / reference:.2f} x",
        f"sent to one server itself: {reference:,.0f}/s",
        "",
        None,
    )


def _rate(host: RemoteHost) -> float:
    request = _request(12)

    def ask(_number: int) -> None:
        host.infer(request, 30.0)

    with ThreadPoolExecutor(CALLERS) as pool:
        started = perf_counter()
        for _ in pool.map(ask, range(CALLS)):
            pass
        return CALLS / (perf_counter() - started)


if __name__ == "__main__":
    main()
