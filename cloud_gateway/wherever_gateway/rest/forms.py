"""Forms of the kind `multipart/form-data` (RFC 7578), read from a whole body. Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

from wherever_contracts.wire.framing import WireError

MAX_PARTS = 64
_MAX_HEAD_BYTES = 8192

_BOUNDARY = re.compile(r"""boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))""", re.IGNORECASE)
_NAME = re.compile(r'[;\s]name=(?:"([^"\r\n]{0,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_FILE = re.compile(r"[;\s]filename\*?=", re.IGNORECASE)


class Part(NamedTuple):
    """One field of a form.

    Attributes:
        name: the field's.
        data: its contents.
        is_file: whether it came as a file.
    """

    name: str
    data: bytes
    is_file: bool


def read_form(content_type: str, body: bytes) -> list[Part]:
    """The parts of a form, in their order.

    Args:
        content_type: the header, which has the boundary between them.
        body: the whole body.

    Raises:
        WireError: there is no boundary, the form does not end with it, or a part has no name.
    """
    said = _BOUNDARY.search(content_type)
    if said is None:
        raise WireError("header content-type: expected a boundary for the form, found none")
    delimiter = b"\r\n--" + (said[1] or said[2]).encode("latin-1")
    # the first delimiter may stand at the very start; what is before it and after the last is void
    pieces = (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)
    if len(pieces) > MAX_PARTS + 1 and not pieces[-1].startswith(b"--"):
        raise WireError(f"the form: expected at most {MAX_PARTS} parts, found more")
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise WireError("the form: expected the boundary after its last part, found none")
    return [_part(number, piece) for number, piece in enumerate(pieces[1:-1])]


def _part(number: int, piece: bytes) -> Part:
    head, blank, data = piece.partition(b"\r\n\r\n")
    if not blank or len(head) > _MAX_HEAD_BYTES:
        raise WireError(f"part {number} of the form: expected headers and a blank line after them")
    disposition = next(
        (
            line.decode("utf-8", "replace")
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-disposition:")
        ),
        "",
    )
    named = _NAME.search(disposition)
    if named is None:
        raise WireError(f"part {number} of the form: expected a name, found none")
    return Part(named[1] or named[2] or "", data, bool(_FILE.search(disposition)))
