"""Running calls again on this device, and comparing the answers bit by bit."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Self

from wherever._device_key import device_key
from wherever._own_device import OwnDevice
from wherever._records.inputs import content_digest
from wherever._replay.again import Again
from wherever._replay.asking import ask_again
from wherever._replay.comparing import bits, is_near
from wherever._replay.given import Find, handed
from wherever._replay.opening import Opened, open_again
from wherever._replay.outcome import (
    EXPLANATIONS,
    FAILURES,
    NotReplayableError,
    Reason,
    Replayed,
    apart,
    differing,
    identical,
    not_run,
)
from wherever_contracts.errors import WhereverError
from wherever_edge.inputs import check_options

if TYPE_CHECKING:
    from wherever._client import Client
    from wherever._records.record import Record
    from wherever_contracts.receipts import Answer, Ran
    from wherever_contracts.tensors import Array


def replay_record(record: Record, inputs: Mapping[str, Any] | None, client: Client) -> Replayed:
    """Run one call again on this device.

    Args:
        record: what was written down of it.
        inputs: its inputs by name; None: they are not known.
        client: gives packages and settings.
    """
    with Replayer(client, handed(inputs)) as replayer:
        return replayer.replay(record)


class Replayer(AbstractContextManager["Replayer"]):
    """Runs calls again, one at a time; what it loads stays loaded until it is closed.

    Args:
        client: gives packages, settings and hosts.
        find: finds the inputs of a call.
        ask_hosts: where this device cannot run a variant, ask the host that did.
        key: that of the device which made the records; None: this device's.

    Raises:
        SettingsError: the device's key cannot be read.
    """

    def __init__(
        self, client: Client, find: Find, *, ask_hosts: bool = False, key: bytes | None = None
    ) -> None:
        self._client = client
        self._find = find
        self._ask_hosts = ask_hosts
        self._key = device_key(client.settings.home) if key is None else key
        self._own = OwnDevice(client.settings, lambda: client.store)
        self._opened: dict[Ran, Opened | Reason] = {}

    def replay(self, record: Record) -> Replayed:
        """Run a call again; whatever happens, it is said how it came out."""
        try:
            return self._replayed(record)
        except NotReplayableError as error:
            return not_run(record.receipt, error.reason)
        except (WhereverError, OSError) as error:
            why = f"{FAILURES['failed']}: {error}"
            return not_run(record.receipt, Reason("failed", why))

    def close(self) -> None:
        """Close every session."""
        self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _replayed(self, record: Record) -> Replayed:
        opened = self._open(record.receipt.ran)
        inputs, knows_digests = self._inputs(record, opened)
        options = check_options(opened.package.manifest.signature, record.options)
        loaded = opened.loaded
        here = None if loaded is None else Again(record, loaded, inputs, options)
        answer = here.alone() if here else self._asked(record, opened, inputs, options)
        if self._same(record, answer.outputs):
            return identical(record.receipt)
        near = is_near(record, opened.package, opened.variant, answer)
        if knows_digests:
            reason = self._why_apart(record, here, answer)
        elif near is None:
            raise NotReplayableError("no_key", FAILURES["no_key"])
        else:
            reason = Reason("device_key", EXPLANATIONS["device_key"])
        return apart(record.receipt, reason, near=near)

    def _open(self, ran: Ran) -> Opened:
        opened = self._opened.get(ran)
        if opened is None:
            try:
                opened = open_again(self._own.open(), self._client.store, ran)
            except NotReplayableError as error:
                opened = error.reason
            self._opened[ran] = opened
        if isinstance(opened, Reason):
            raise NotReplayableError(opened.code, opened.why)
        return opened

    def _inputs(self, record: Record, opened: Opened) -> tuple[dict[str, Any], bool]:
        """The inputs, those of the call as far as can be told; and whether digests say anything."""
        if not record.answer_digest and record.outputs is None:
            raise NotReplayableError("no_answer_digest", FAILURES["no_answer_digest"])
        inputs, by_digest = self._find(record, opened)
        wanted = record.input_digest
        if not wanted or content_digest(self._key, inputs) == wanted:
            return inputs, True
        if not by_digest:
            why = f"{FAILURES['other_input']}, or {FAILURES['no_key']}"
            raise NotReplayableError("other_input", why)
        return inputs, record.outputs is not None

    def _same(self, record: Record, outputs: Mapping[str, Array]) -> bool:
        if record.outputs is not None and bits(record.outputs) == bits(outputs):
            return True
        return content_digest(self._key, outputs) == record.answer_digest

    def _why_apart(self, record: Record, here: Again | None, answer: Answer) -> Reason:
        """Why a call gave other bits, here or on the host that was asked again."""
        reason = self._company(record, here) or differing(record.receipt, answer.ran)
        if reason is not None:
            return reason
        steady = here is None or bits(here.alone().outputs) == bits(answer.outputs)
        code = "unknown" if steady else "unsteady"
        return Reason(code, FAILURES[code])

    def _company(self, record: Record, here: Again | None) -> Reason | None:
        """That it gives the same bits when it shares a run of as many rows; None: it does not."""
        rows = record.receipt.rows
        together = here.together(rows) if here is not None and rows > 1 else ()
        if not any(self._same(record, outputs) for outputs in together):
            return None
        why = f"it shared a run of {rows} rows, and in such a run it is identical here"
        return Reason("shared_run", why, shown=True)

    def _asked(
        self,
        record: Record,
        opened: Opened,
        inputs: Mapping[str, Any],
        options: Mapping[str, float],
    ) -> Answer:
        """The answer of the host that gave it before, where this device cannot give it."""
        if record.receipt.place == "device" or not self._ask_hosts:
            why = f"variant {opened.variant.id!r} does not run on this device: {opened.unfit}"
            advice = "" if record.receipt.place == "device" else " (--ask-hosts asks its host)"
            raise NotReplayableError("not_here", f"{why}{advice}")
        return ask_again(self._client, record.receipt, opened, inputs, options)
