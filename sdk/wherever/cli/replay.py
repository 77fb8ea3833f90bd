"""`wherever replay`: run recorded calls again, or ask what another policy would have cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from wherever.cli._options import Gateways, Packages
from wherever_edge.cli import FAILED, JsonFlag, Output, printable, progress, run

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._replay.outcome import Replayed, Tally
    from wherever._replay.receipts import Source
    from wherever._replay.replaying import Replayer

# So many calls that did not give the same bits are named one by one.
_NAMED = 20


@run
def command(
    receipt: Annotated[
        str | None,
        typer.Argument(
            metavar="RECEIPT",
            help="A recorded call's id, a .jsonl file of receipts, or a directory of them.",
            show_default=False,
        ),
    ] = None,
    *,
    inputs: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            metavar="DIR",
            help="Where the inputs are, when the journal did not keep them: any files, which are "
            "known again by their contents; or files named ID.anything.",
        ),
    ] = None,
    ask_hosts: Annotated[
        bool,
        typer.Option(
            "--ask-hosts", help="What this device cannot run, ask of the host that answered."
        ),
    ] = False,
    policy: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            metavar="FILE.toml",
            help="Run nothing: say what the calls of --receipts would have cost under this policy.",
        ),
    ] = None,
    receipts: Annotated[
        Path | None,
        typer.Option(exists=True, metavar="DIR", help="The receipts for --policy."),
    ] = None,
    packages: Packages = None,
    gateway: Gateways = None,
    json: JsonFlag = False,
) -> None:
    """Run recorded calls again on this device, and compare the answers bit by bit.

    Exit code 0: every one gave the same bits, or is known why it did not, and that is no fault
    (another version of the engine, a run that was shared with other calls, ...). Exit code 1:
    one differs for no known reason, or could not be run again.
    """
    output = Output(json=json)
    if policy is not None:
        from wherever._whatif.command import what_if_command  # noqa: PLC0415 (numpy; seldom)

        if receipt is not None or receipts is None:
            raise typer.BadParameter("--policy needs --receipts DIR, and no RECEIPT")
        what_if_command(policy, receipts, output)
        return
    if receipt is None or receipts is not None:
        raise typer.BadParameter("name a RECEIPT; --receipts goes with --policy")
    from wherever._client import Client  # noqa: PLC0415 (numpy and grpc; not for --help)

    with Client(gateway or None, packages=packages or None) as client:
        _replay(client, receipt, inputs, output, ask_hosts=ask_hosts)


def _replay(
    client: Client, receipt: str, inputs: Path | None, output: Output, *, ask_hosts: bool
) -> None:
    from wherever._replay.outcome import Tally  # noqa: PLC0415 (not for --help)
    from wherever._replay.receipts import receipts_of  # noqa: PLC0415

    left_out: list[str] = []
    source = receipts_of(
        receipt, client.settings.home, lambda path, why: left_out.append(f"{path}: {why}")
    )
    tally = Tally()
    apart: list[Replayed] = []
    started = perf_counter()
    with _replayer(client, source, inputs, ask_hosts=ask_hosts) as replayer:
        for replayed in _each(source, replayer):
            tally.add(replayed)
            if not replayed.same:
                apart.append(replayed)
    facts = {"elapsed_s": perf_counter() - started, "left_out": left_out}
    data = {**tally.to_dict(), **facts, "apart": [each.to_dict() for each in apart]}
    output.emit(data, lambda: printable("\n".join(_view(tally, apart, left_out))))
    if tally.unsettled or not tally.calls:
        raise typer.Exit(FAILED)


def _replayer(client: Client, source: Source, inputs: Path | None, *, ask_hosts: bool) -> Replayer:
    from wherever._device_key import device_key  # noqa: PLC0415 (not for --help)
    from wherever._replay.given import FolderInputs, KeptInputs  # noqa: PLC0415
    from wherever._replay.replaying import Replayer  # noqa: PLC0415

    kept = KeptInputs(source.inputs)
    key = device_key(source.home)
    find = kept if inputs is None else FolderInputs(inputs, key, kept)
    return Replayer(client, find, ask_hosts=ask_hosts, key=key)


def _each(source: Source, replayer: Replayer) -> Iterator[Replayed]:
    with progress(source.total, "replaying") as advance:
        for record in source.records:
            yield replayer.replay(record)
            advance()


def _view(tally: Tally, apart: list[Replayed], left_out: list[str]) -> Iterator[str]:
    from wherever._replay.outcome import EXPLANATIONS, FAILURES  # noqa: PLC0415

    words = {**EXPLANATIONS, **FAILURES}
    yield _summary(tally)
    for code, calls in tally.reasons.most_common():
        yield f"  {calls} x {code}: {words[code]}"
    for each in apart[:_NAMED]:
        end = each.end.replace("_", " ")
        yield f"{each.id} ({each.model}, {each.variant}): {end}: {each.why}"
    if len(apart) > _NAMED:
        yield f"and {len(apart) - _NAMED} more (--json names them all)"
    if left_out:
        yield f"{len(left_out)} lines could not be read; the first: {left_out[0]}"


def _summary(tally: Tally) -> str:
    ends = tally.ends
    parts = [
        f"{ends['identical']} identical",
        f"{ends['close']} within the tolerance",
        f"{ends['different']} different",
        f"{ends['not_run']} not run",
    ]
    return f"{tally.calls} receipt{'' if tally.calls == 1 else 's'}: {', '.join(parts)}"
