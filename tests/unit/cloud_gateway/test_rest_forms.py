"""Forms: what clients send, and anything malformed."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.wire.framing import WireError
from wherever_gateway.rest.forms import MAX_PARTS, read_form

FORM = 'multipart/form-data; boundary="edge"'


def sent(**arguments: object) -> tuple[str, bytes]:
    request = httpx.Request("POST", "http://x", **arguments)
    return request.headers["content-type"], request.read()


def part(head: str, data: str = "data") -> bytes:
    return f"--edge\r\n{head}\r\n\r\n{data}\r\n--edge--\r\n".encode()


@given(st.binary(max_size=400), st.text("abc_", min_size=1, max_size=5))
def test_files_come_through_byte_by_byte(data, name):
    (found,) = read_form(*sent(files={name: ("file", data, "image/png")}))
    assert found == (name, data, True)


def test_fields_and_files_stand_in_their_order():
    form = sent(data={"min_score": "0.5", "id": "x"}, files={"image": ("a.jpg", b"\r\n--x")})
    assert [(each.name, each.data, each.is_file) for each in read_form(*form)] == [
        ("min_score", b"0.5", False),
        ("id", b"x", False),
        ("image", b"\r\n--x", True),
    ]


def test_names_without_quotes_and_what_surrounds_the_parts_are_understood():
    body = b"before\r\n--edge  \r\ncontent-disposition: form-data; name=a\r\n\r\n1\r\n--edge--after"
    assert read_form("multipart/form-data;boundary=edge", body) == [("a", b"1", False)]


@pytest.mark.parametrize(
    ("content_type", "body", "words"),
    [
        ("multipart/form-data", part("x: y"), "a boundary for the form, found none"),
        (FORM, b"", "the boundary after its last part, found none"),
        (FORM, b"--edge\r\n", "the boundary after its last part, found none"),
        (FORM, part('content-disposition: form-data; name="a"')[:-6], "boundary after its last"),
        (FORM, part("content-type: text/plain"), "part 0 of the form: expected a name"),
        (FORM, part("content-disposition: form-data; filename=name"), "expected a name"),
        (FORM, b"--edge\r\nno blank line--edge\r\n--edge--", "a blank line after them"),
        (FORM, part(f"x: {'y' * 9000}"), "a blank line after them"),
        (FORM, part("x: y") * (MAX_PARTS + 1), f"at most {MAX_PARTS} parts"),
    ],
)
def test_what_is_no_form_is_refused_with_what_was_expected(content_type, body, words):
    with pytest.raises(WireError, match=words):
        read_form(content_type, body)


@given(st.text(max_size=40), st.binary(max_size=200))
def test_anything_is_either_read_or_refused(tail, body):
    try:
        read_form(f"multipart/form-data; {tail}", body)
        read_form(FORM, b"--edge" + body + b"--edge--")
    except WireError as error:
        assert "expected" in str(error)
