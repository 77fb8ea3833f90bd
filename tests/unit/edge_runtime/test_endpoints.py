"""Addresses, and the two tables between errors and statuses."""

from __future__ import annotations

import math
import pickle

import grpc
import pytest

from wherever_contracts import errors
from wherever_contracts.errors import SettingsError, WhereverError
from wherever_contracts.wire.framing import WireError
from wherever_edge.oip.endpoints import Endpoint
from wherever_edge.oip.status import (
    ERRORS,
    STATUS,
    attempt_error,
    code_of,
    pushback_ms,
    pushback_s,
    status_of,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("localhost:8001", Endpoint("localhost", 8001, tls=False)),
        ("LOCALHOST", Endpoint("LOCALHOST", 8001, tls=False)),
        ("127.0.0.1:9000", Endpoint("127.0.0.1", 9000, tls=False)),
        ("127.8.9.1", Endpoint("127.8.9.1", 8001, tls=False)),
        ("[::1]:7", Endpoint("::1", 7, tls=False)),
        ("gw", Endpoint("gw", 8001, tls=True)),
        ("gw.example.com:443", Endpoint("gw.example.com", 443, tls=True)),
        ("10.0.0.5", Endpoint("10.0.0.5", 8001, tls=True)),
        ("[fe80::1]", Endpoint("fe80::1", 8001, tls=True)),
        ("grpc://10.0.0.5:8011", Endpoint("10.0.0.5", 8011, tls=False)),
        ("grpcs://127.0.0.1", Endpoint("127.0.0.1", 8001, tls=True)),
        (" gw:1 ", Endpoint("gw", 1, tls=True)),
        ("grpcs://gw/", Endpoint("gw", 8001, tls=True)),
        ("http://gw", Endpoint("gw", 8000, tls=False, grpc=False)),
        ("https://gw:443/", Endpoint("gw", 443, tls=True, grpc=False)),
        ("https://[::1]", Endpoint("::1", 8000, tls=True, grpc=False)),
        ("gw:8001?rest=8443", Endpoint("gw", 8001, tls=True, rest=8443)),
        ("grpc://gw?rest=off", Endpoint("gw", 8001, tls=False, rest=0)),
    ],
)
def test_an_address_says_host_port_and_encryption(text: str, expected: Endpoint) -> None:
    assert Endpoint.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":8001",
        "ftp://gw:8001",
        "https://gw?rest=1",
        "http://gw/v2",
        "gw?rest=",
        "gw?rest=0",
        "gw?rest=65536",
        "gw?rest=on",
        "gw?tls=off",
        "gw:",
        "gw:port",
        "gw:0",
        "gw:65536",
        "gw:8001/path",
        "user@gw",
        "::1",
        "[gw]:1",
        "[1:2]:1",
        "g w",
        "grpc://",
        "-gw",
        "gw\n.evil",
        "unix:/tmp/x",
    ],
)
def test_a_wrong_address_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(SettingsError, match=r"expected|not an IPv6 address"):
        Endpoint.parse(text)


def test_an_endpoint_prints_as_an_address_that_reads_back() -> None:
    for text in (
        "grpc://gw:1",
        "grpcs://[::1]:8001",
        "http://gw:80",
        "https://[::1]:8000",
        "grpcs://gw:8001?rest=443",
        "grpc://gw:8001?rest=off",
    ):
        assert str(Endpoint.parse(text)) == text
    assert Endpoint.parse("gw").name == "gw:8001"


def test_an_endpoint_knows_where_rest_may_be() -> None:
    ports = {text: Endpoint.parse(text).rest_ports for text in ("gw", "gw:1", "http://gw:80")}
    assert ports == {"gw": (8000, 8001), "gw:1": (1,), "http://gw:80": (80,)}
    assert Endpoint.parse("gw?rest=443").rest_ports == (443,)
    assert Endpoint.parse("gw?rest=off").rest_ports == ()
    assert Endpoint.parse("[::1]").url(8000) == "http://[::1]:8000"
    assert Endpoint.parse("gw").url(443) == "https://gw:443"


def leaves(kind: type[WhereverError]) -> list[type[WhereverError]]:
    children = kind.__subclasses__()
    return [leaf for child in children for leaf in leaves(child)] if children else [kind]


@pytest.mark.parametrize("kind", leaves(WhereverError))
def test_every_error_has_a_status_of_its_own_or_of_its_parent(kind: type[WhereverError]) -> None:
    assert any(parent in STATUS for parent in kind.__mro__ if parent is not WhereverError)
    error = kind.__new__(kind)
    assert status_of(error) in grpc.StatusCode.__members__
    assert code_of(error) == kind.code


def test_foreign_errors_are_internal_and_malformed_messages_the_callers() -> None:
    assert status_of(KeyError("x")) == "INTERNAL"
    assert code_of(KeyError("x")) == "error"
    assert status_of(WireError("x")) == "INVALID_ARGUMENT"
    assert code_of(WireError("x")) == "input"


def test_every_status_but_ok_has_an_error() -> None:
    assert set(ERRORS) == set(grpc.StatusCode.__members__) - {"OK"}


@pytest.mark.parametrize("status", ERRORS)
def test_an_attempts_error_names_host_time_cause_and_advice(status: str) -> None:
    error = attempt_error(
        status,
        host="gw:8001",
        details="a; last error: no\nway",
        code="why",
        elapsed_s=0.25,
        timeout_s=1.5,
    )
    assert type(error) is ERRORS[status]
    said = str(error)
    for words in ("gw:8001", "0.25 s", "1.5 s", status, "why", "no way", ";"):
        assert words in said


@pytest.mark.parametrize(
    ("said", "retry_after_s"),
    [(None, None), ("0", 0.0), ("250", 0.25), (" 15 ", 0.015)]
    + [(said, math.inf) for said in ("-1", "", "soon", "1.5", "9" * 13, "\u0662")],
)
def test_a_pushback_is_read_as_grpc_says(said: str | None, retry_after_s: float | None) -> None:
    error = attempt_error(
        "RESOURCE_EXHAUSTED",
        host="gw",
        details="",
        code="",
        elapsed_s=0.0,
        timeout_s=None,
        pushback=said,
    )
    assert error.retry_after_s == retry_after_s
    assert pickle.loads(pickle.dumps(error)).retry_after_s == retry_after_s


@pytest.mark.parametrize("wait_s", [0.0, 0.25, 3.0, math.inf])
def test_a_pushback_is_said_as_it_is_read(wait_s: float) -> None:
    assert pushback_s(str(pushback_ms(wait_s))) == wait_s


def test_a_message_that_is_too_large_is_refused_not_overload() -> None:
    details = "SERVER: Received message larger than max (70 vs. 64)"
    error = attempt_error(
        "RESOURCE_EXHAUSTED", host="gw", details=details, code="", elapsed_s=0.0, timeout_s=None
    )
    assert type(error) is errors.RefusedError
    assert not error.retryable


@pytest.mark.parametrize(
    "details",
    [
        "Received http2 header with status: 404",
        "Tls handshake failed: SSL_ERROR_SSL: TLSV1_ALERT_NO_APPLICATION_PROTOCOL",
        "Cannot check peer: missing selected ALPN property.",
    ],
)
def test_what_answers_and_is_no_grpc_server_is_unreachable_and_not_untrusted(details: str) -> None:
    error = attempt_error(
        "UNAVAILABLE", host="gw", details=details, code="", elapsed_s=0.0, timeout_s=None
    )
    assert type(error) is errors.UnreachableError
    assert "does not speak gRPC" in str(error)
