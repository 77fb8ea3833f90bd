"""`wherever serve`, `wherever serve devices`, `wherever discover` and `wherever pair`."""

from __future__ import annotations

import json as json_format
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wherever_contracts.errors import PairingError, SettingsError
from wherever_edge.cli import (
    FAILED,
    BatchingOption,
    HomeOption,
    InterfaceOption,
    IsolationOption,
    JsonFlag,
    MemoryOption,
    Output,
    PinOption,
    ProfileOption,
    error_data,
    printable,
    run,
)
from wherever_edge.configured import configured, home_or_configured

if TYPE_CHECKING:
    from wherever_edge.box.codes import Code
    from wherever_edge.box.finding import Found
    from wherever_edge.box.pins import PinnedBox, Pins
    from wherever_edge.box.server import Box

NOT_FOUND = (
    "no box was found; check that `wherever serve --host 0.0.0.0` runs on a machine of this "
    "network, that the network passes multicast between its machines (guest Wi-Fi often does "
    "not), and that no firewall keeps UDP port 5353 closed on either side"
)

TimeoutOption = Annotated[
    float, typer.Option("--timeout-s", min=0.1, help="How long to listen for boxes.")
]


@run
def serve(
    *,
    packages: Annotated[
        list[Path] | None,
        typer.Option("--packages", help="A directory of packages, a package, or an archive."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; 0.0.0.0: all of them.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The gRPC port; 0: any free one.")
    ] = 8011,
    name: Annotated[
        str, typer.Option("--name", help="What to call this box; by default the machine's name.")
    ] = "",
    interface: InterfaceOption = None,
    advertise: Annotated[
        bool, typer.Option("--advertise/--no-advertise", help="Tell the network by mDNS.")
    ] = True,
    profile: ProfileOption = None,
    isolation: IsolationOption = None,
    memory_max_mib: MemoryOption = None,
    pin: PinOption = None,
    batching: BatchingOption = True,
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """Serve this machine's models to the paired devices of this site, until told to end."""
    from wherever_edge.box.adverts import name_from  # noqa: PLC0415 (with what follows: 160 ms)
    from wherever_edge.box.server import BoxOptions  # noqa: PLC0415
    from wherever_edge.box.server import run as run_box  # noqa: PLC0415
    from wherever_edge.hosting import host_options  # noqa: PLC0415

    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    options = BoxOptions(
        home=home_or_configured(home),
        name=_checked(name) or name_from(socket.gethostname()),
        packages=tuple(packages or ()),
        address=host,
        port=port,
        interface=_interface(interface),
        advertise=advertise,
        host=host_options(
            profile=profile,
            isolation=isolation,
            memory_max_mib=memory_max_mib,
            batching=batching,
            pinned=pin,
        ),
    )
    done = run_box(
        options,
        lambda box: _say_ready(box, as_json=json),
        lambda code: _say_code(code, as_json=json),
    )
    if not done:
        _warn(f"some calls did not end within {options.grace_s:g} s and were given up")
        sys.stdout.flush()
        os._exit(FAILED)  # their threads cannot be ended in any other way


@run
def devices(
    *,
    revoke: Annotated[
        str, typer.Option("--revoke", help="Take a device's key back, by its name or id.")
    ] = "",
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """List the devices that were paired with this machine's box."""
    from wherever_edge.box.pairing import keys_directory  # noqa: PLC0415 (protobuf: 30 ms)
    from wherever_edge.oip.keys import KeyStore  # noqa: PLC0415

    store = KeyStore(keys_directory(home_or_configured(home)))
    output = Output(json=json)
    if revoke:
        gone = store.revoke(revoke)
        output.emit({"revoked": gone._asdict()}, f"the key of {gone.name} counts no more")
        return
    keys = store.list()
    rows = [(key.name, key.id, key.revoked and f"revoked {key.revoked}") for key in keys]
    none = "no device was paired with this machine's box"
    output.emit(
        {"devices": [key._asdict() for key in keys]}, printable(_aligned(rows)) if rows else none
    )


@run
def discover(
    *,
    timeout_s: TimeoutOption = 2.0,
    interface: InterfaceOption = None,
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """List the boxes of this network; nothing is sent to them."""
    from wherever_edge.box.finding import find, judge  # noqa: PLC0415 (zeroconf, 77 ms)
    from wherever_edge.box.pins import Pins  # noqa: PLC0415

    pins = Pins.load(home_or_configured(home))
    sightings = find(
        timeout_s, interface=_interface(interface), paired=[box.id for box in pins.boxes]
    )
    found = [judge(sighting.advert, pins.boxes) for sighting in sightings]
    Output(json=json).emit({"boxes": [each.to_dict() for each in found]}, lambda: _listed(found))


@run
def pair(
    box: Annotated[
        str, typer.Argument(help="A box, by the name that `wherever discover` lists or host:port.")
    ] = "",
    *,
    code: Annotated[
        str, typer.Option("--code", help="The code that the box shows; asked for when not given.")
    ] = "",
    listed: Annotated[bool, typer.Option("--list", help="List the paired boxes.")] = False,
    forget: Annotated[str, typer.Option("--forget", help="Drop a paired box, by name.")] = "",
    timeout_s: TimeoutOption = 5.0,
    interface: InterfaceOption = None,
    home: HomeOption = None,
    json: JsonFlag = False,
) -> None:
    """Pair this device with a box, so that calls may be answered there."""
    from wherever_edge.box.pins import Pins  # noqa: PLC0415 (with what follows: 100 ms)

    output = Output(json=json)
    pins = Pins.load(home_or_configured(home))
    if listed:
        rows = [_public(each) for each in pins.boxes]
        output.emit({"boxes": rows}, _paired_text(pins.boxes))
    elif forget:
        gone = pins.forget(forget)
        output.emit({"forgotten": _public(gone)}, f"{gone.name} is forgotten")
    elif not box:
        raise SettingsError("name a box to pair with; `wherever discover` lists them")
    else:
        paired = _pair(pins, box, code or _asked_for(), timeout_s, _interface(interface))
        output.emit({"paired": _public(paired)}, f"paired with {paired.name} at {paired.address}")


def _pair(pins: Pins, box: str, code_text: str, timeout_s: float, interface: str) -> PinnedBox:
    from wherever_edge.box.adverts import name_from  # noqa: PLC0415
    from wherever_edge.box.codes import box_id, read_code  # noqa: PLC0415
    from wherever_edge.box.finding import locate  # noqa: PLC0415
    from wherever_edge.box.pairing import pair as pair_with  # noqa: PLC0415

    code = read_code(code_text)
    pins.refuse_taken(box, box_id(code))
    device = name_from(socket.gethostname())
    endpoint = locate(box, code, timeout_s=timeout_s, interface=interface)
    paired = pair_with(endpoint, code, device=device, timeout_s=timeout_s)
    pins.add(paired)
    return paired


def _asked_for() -> str:
    if not sys.stdin.isatty():
        raise PairingError("give the code that the box shows: wherever pair BOX --code CODE")
    answer: str = typer.prompt("The code that the box shows")
    return answer


def _checked(name: str) -> str:
    from wherever_edge.box.adverts import is_name  # noqa: PLC0415

    if name and not is_name(name):
        raise SettingsError(
            f"{name!r} is no name for a box; expected up to 40 letters, digits, '-' and '_'"
        )
    return name


def _say_ready(box: Box, *, as_json: bool) -> None:
    """Say that calls are taken from now on: one line on standard output, warnings beside it."""
    from wherever_edge.oip.endpoints import is_loopback  # noqa: PLC0415

    for what, error in box.refused:
        _warn(f"not served: {what}: {error}")
    if box.options.advertise and box.advertising:
        _warn(f"the network is not told of this box: {box.advertising}")
    if is_loopback(box.options.address):
        _warn("only this machine reaches this box; --host 0.0.0.0 serves the whole site")
    print(_ready_json(box) if as_json else _ready_text(box), flush=True)  # noqa: T201


def _ready_text(box: Box) -> str:
    models = ", ".join(f"{m.ran.model} {m.ran.version}" for m in box.models)
    name = box.options.name
    return printable(
        f"{name} serves {models} on grpcs://{box.grpc}; Ctrl-C ends it\n"
        f"to pair a device, run there:  wherever pair {name} --code {box.code}"
    )


def _ready_json(box: Box) -> str:
    said: dict[str, Any] = {
        "name": box.options.name,
        "id": box.id,
        "grpc": box.grpc,
        "addresses": list(box.reach.addresses),
        "fingerprint": box.fingerprint,
        "code": str(box.code),
        "models": [
            {"name": m.ran.model, "version": m.ran.version, "variant": m.ran.variant}
            for m in box.models
        ],
        "refused": [{"what": what, **error_data(error)} for what, error in box.refused],
        "advertised": not box.advertising,
        "pid": os.getpid(),
    }
    return json_format.dumps(said, default=str)


def _say_code(code: Code, *, as_json: bool) -> None:
    """Say which code is good from now on."""
    text = json_format.dumps({"code": str(code)}) if as_json else f"the code is now {code}"
    print(text, flush=True)  # noqa: T201


def _listed(found: list[Found]) -> str:
    if not found:
        return NOT_FOUND
    rows = [
        (each.name, each.address, f"load {each.load:.0%}", each.state, each.models_text)
        for each in found
    ]
    unpaired = next((each.name for each in found if each.state == "not paired"), "")
    hint = f"\n\nto pair with one:  wherever pair {unpaired} --code CODE" if unpaired else ""
    return printable(_aligned(rows) + hint)


def _paired_text(boxes: tuple[PinnedBox, ...]) -> str:
    if not boxes:
        return "no box is paired; `wherever discover` lists those of this network"
    return printable(_aligned([(box.name, box.address, box.id) for box in boxes]))


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
    return "\n".join(lines)


def _public(box: PinnedBox) -> dict[str, str]:
    """A paired box without its key."""
    return {"name": box.name, "id": box.id, "address": box.address}


def _interface(given: str | None) -> str:
    return given or configured("interface") or ""


def _warn(text: str) -> None:
    print(f"warning: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201
