"""The boxes that this device is paired with, kept in `boxes.json` under its home."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from wherever_contracts.errors import PairingError, SettingsError
from wherever_edge.box.adverts import ID_CHARS
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.security import fingerprint
from wherever_edge.private_files import locked, write_private

FILE = "boxes.json"
_SCHEMA = 1


@dataclass(frozen=True, slots=True)
class PinnedBox:
    """A box that this device is paired with. Its `repr` shows no key.

    Attributes:
        id: the first 16 hex digits of the certificate's SHA-256.
        name: what the box called itself when it was paired.
        certificate_pem: the very certificate it has to show.
        api_key: this device's key there.
        address: where it was last reached, "host:port".
    """

    id: str
    name: str
    certificate_pem: str
    api_key: str = field(repr=False)
    address: str

    @property
    def endpoint(self) -> Endpoint:
        """Where it was last reached: always by TLS, and boxes speak no REST."""
        return Endpoint.parse(f"grpcs://{self.address}?rest=off")


class Pins:
    """The paired boxes of one home directory.

    Args:
        home: where state is kept.
        boxes: those that are paired.
    """

    def __init__(self, home: Path, boxes: Sequence[PinnedBox] = ()) -> None:
        self._home = home
        self.boxes = tuple(boxes)

    @classmethod
    def load(cls, home: Path) -> Pins:
        """Read the file; no file means no boxes.

        Raises:
            PairingError: the file is damaged.
            OSError: it cannot be read.
        """
        path = home / FILE
        try:
            return cls(home, _parsed(path.read_bytes()))
        except FileNotFoundError:
            return cls(home)
        except (ValueError, TypeError, KeyError) as error:
            raise PairingError(
                f"{path} is damaged ({error}); delete it and pair the boxes again"
            ) from error

    def add(self, box: PinnedBox) -> None:
        """Keep a box; one that is paired already gets its new key and address.

        Raises:
            PairingError: another box is paired under the same name.
        """

        def added(boxes: tuple[PinnedBox, ...]) -> tuple[PinnedBox, ...]:
            _refuse_taken(boxes, box.name, box.id)
            return (*(known for known in boxes if known.id != box.id), box)

        self._change(added)

    def refuse_taken(self, name: str, box_id: str) -> None:
        """Refuse a name that another box than `box_id` has.

        Raises:
            PairingError: it is taken; the message says how to let go of it.
        """
        _refuse_taken(self.boxes, name, box_id)

    def forget(self, name: str) -> PinnedBox:
        """Drop a box.

        Raises:
            PairingError: none is paired under that name.
        """
        gone = next((box for box in self.boxes if box.name == name), None)
        if gone is None:
            known = ", ".join(box.name for box in self.boxes) or "none"
            raise PairingError(f"no box is paired under the name {name!r} (there are: {known})")
        self._change(lambda boxes: tuple(box for box in boxes if box.id != gone.id))
        return gone

    def moved(self, box_id: str, address: str) -> None:
        """Remember where a box is reached now."""
        self._change(
            lambda boxes: tuple(
                replace(box, address=address) if box.id == box_id else box for box in boxes
            )
        )

    def _change(self, change: Callable[[tuple[PinnedBox, ...]], tuple[PinnedBox, ...]]) -> None:
        """Write the file anew, from what is in it now; other processes wait for their turn."""
        with locked(self._home):
            self.boxes = change(Pins.load(self._home).boxes)
            rows = [asdict(box) for box in self.boxes]
            text = json.dumps({"schema": _SCHEMA, "boxes": rows}, indent=2)
            write_private(self._home / FILE, text.encode())


def _refuse_taken(boxes: Sequence[PinnedBox], name: str, box_id: str) -> None:
    if any(known.name == name and known.id != box_id for known in boxes):
        raise PairingError(
            f"another box is paired under the name {name!r}; if that one is gone, run "
            f"`wherever pair --forget {name}` and pair again"
        )


def _parsed(data: bytes) -> list[PinnedBox]:
    found: dict[str, Any] = json.loads(data)
    if found["schema"] != _SCHEMA:
        raise ValueError(f"schema {found['schema']!r}, expected {_SCHEMA}")
    names = [each.name for each in fields(PinnedBox)]
    return [_checked(PinnedBox(**{name: box[name] for name in names})) for box in found["boxes"]]


def _checked(box: PinnedBox) -> PinnedBox:
    try:
        certificate = fingerprint(box.certificate_pem.encode())
        _ = box.endpoint
    except (SettingsError, AttributeError) as error:
        raise ValueError(f"box {box.name!r}: {error}") from error
    if not certificate.startswith(box.id) or len(box.id) != ID_CHARS:
        raise ValueError(f"box {box.name!r}: its id is not that of its certificate")
    return box
