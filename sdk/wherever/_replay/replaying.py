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
from wherever._replay.comparing import bits, is_close
from wherever._replay.given import Find, handed
from wherever._replay.opening import Opened, open_again
from wherever._replay.outcome import (
    FAILURES,
    NotReplayableError,
    Reason,
    Replayed,
    differing,
    ended,
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

    Raises:
        SettingsError: the device's key cannot be read.
    """

    def __init__(self, client: Client, find: Find, *, ask_hosts: bool = False) -> None:
        self._client = client
        self._find = find
        self._ask_hosts = ask_hosts
        self._key = device_key(client.settings.home)
        self._own = OwnDevice(client.settings, lambda: client.store)
        self._opened: dict[Ran, Opened | Reason] = {}

    def replay(self, record: Record) -> Replayed:
        """Run a call again; whatever happens, it is said how it came out.

        Raises:
            OSError: inputs cannot be read.
        """
        try:
            return self._replayed(record)
        except NotReplayableError as error:
            return ended(record.receipt, "not_run", error.reason)
        except WhereverError as error:
            why = f"{FAILURES['failed']}: {error}"
            return ended(record.receipt, "not_run", Reason("failed", why))

    def close(self) -> None:
        """Close every session."""
        self._own.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _replayed(self, record: Record) -> Replayed:
        opened = self._open(record.receipt.ran)
        inputs = self._inputs(record, opened)
        options = check_options(opened.package.manifest.signature, record.options)
        if opened.loaded is None:
            answer = self._asked(record, opened, inputs, options)
            return self._judged(record, opened, answer)
        here = Again(record, opened.loaded, inputs, options)
        answer = here.alone()
        if self._same(record, answer.outputs):
            return ended(record.receipt, "identical")
        return self._judged(record, opened, answer, here)

    def _open(self, ran: Ran) -> Opened:
        opened = self._opened.get(ran)
        if opened is None:
            try:
                opened = open_again(self._own.open(), self._client.store, ran)
            except NotReplayableError as error:
                opened = error.reason
            self._opened[ran] = opened
        if isinstance(opened, Reason):
            raise NotReplayableError(*opened)
        return opened

    def _inputs(self, record: Record, opened: Opened) -> dict[str, Any]:
        """The inputs; they are those of the call, as far as this device can tell."""
        if not record.answer_digest and record.outputs is None:
            raise NotReplayableError("no_answer_digest", FAILURES["no_answer_digest"])
        inputs, by_digest = self._find(record, opened)
        wanted = record.input_digest
        if not wanted or content_digest(self._key, inputs) == wanted:
            return inputs
        if not by_digest:
            why = f"{FAILURES['other_input']}, or {FAILURES['device_key']}"
            raise NotReplayableError("other_input", why)
        if record.outputs is None:
            raise NotReplayableError("device_key", FAILURES["device_key"])
        return inputs

    def _same(self, record: Record, outputs: Mapping[str, Array]) -> bool:
        if record.outputs is not None and bits(record.outputs) == bits(outputs):
            return True
        return content_digest(self._key, outputs) == record.answer_digest

    def _judged(
        self, record: Record, opened: Opened, answer: Answer, here: Again | None = None
    ) -> Replayed:
        """How a call came out that was not the same when it ran alone here."""
        receipt = record.receipt
        if here is None and self._same(record, answer.outputs):
            return ended(receipt, "identical")
        end = (
            "close"
            if is_close(record, opened.package, opened.variant, answer.outputs)
            else "different"
        )
        reason = differing(receipt, answer.ran)
        if here is not None and receipt.rows > 1:
            reason = self._tried_together(record, here, reason)
        if (
            reason is None
            and here is not None
            and bits(here.alone().outputs) != bits(answer.outputs)
        ):
            reason = Reason("unsteady", FAILURES["unsteady"])
        return ended(receipt, end, reason or Reason("unknown", FAILURES["unknown"]))

    def _tried_together(self, record: Record, here: Again, reason: Reason | None) -> Reason | None:
        """Whether it gives the same bits when it shares a run of as many rows."""
        rows = record.receipt.rows
        if not any(self._same(record, outputs) for outputs in here.together(rows)):
            return reason
        return Reason(
            "shared_run", f"it shared a run of {rows} rows, and in such a run it is identical here"
        )

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
