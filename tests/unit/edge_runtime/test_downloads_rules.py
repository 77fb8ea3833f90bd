"""What decides about a download, as pure rules."""

from __future__ import annotations

import pytest

from wherever_contracts.errors import DigestError, DownloadError
from wherever_edge import transfer
from wherever_edge.transfer import Kept, Pace, Part, Patience, Wanted

URL = "https://models.example/a/m.onnx"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x/y",
        "data:,x",
        "m.onnx",
        "http:///x",
        "https://",
        "file://server/share/m",
        "http://[x",
    ],
)
def test_an_address_that_cannot_be_fetched_is_refused_for_good(url: str) -> None:
    with pytest.raises(DownloadError) as refused:
        transfer.check_address(url)
    assert not refused.value.retryable


@pytest.mark.parametrize(
    ("url", "location", "there"),
    [
        (URL, "b.onnx", "https://models.example/a/b.onnx"),
        (URL, "https://other.example/x", "https://other.example/x"),
        ("http://h/x", "https://h/x", "https://h/x"),
        ("http://h/x", "/y", "http://h/y"),
    ],
)
def test_a_redirect_may_keep_or_raise_the_security(url: str, location: str, there: str) -> None:
    assert transfer.redirected(url, location) == there


@pytest.mark.parametrize("location", [None, "", "http://models.example/x", "file:///x", "ftp://x/"])
def test_a_redirect_may_not_lower_the_security(location: str | None) -> None:
    with pytest.raises(DownloadError):
        transfer.redirected(URL, location)


def test_an_origin_is_scheme_host_and_port() -> None:
    assert transfer.same_origin("https://h/a", "https://h:443/b")
    assert not transfer.same_origin("http://h/a", "https://h/a")
    assert not transfer.same_origin("https://h/a", "https://h.evil/a")


@pytest.mark.parametrize(
    ("kept", "sha256", "fits"),
    [
        (Kept(URL, '"v"', None), None, True),
        (Kept(URL, "", None), None, False),
        (Kept("https://mirror/x", "", "ab"), "ab", True),
        (Kept("https://mirror/x", '"v"', None), None, False),
        (Kept(URL, "", "ab"), "cd", False),
    ],
)
def test_bytes_are_kept_when_version_or_digest_vouch_for_them(
    kept: Kept, sha256: str | None, fits: bool
) -> None:
    assert kept.fits(URL, sha256) is fits


def test_a_validator_is_shown_only_to_the_server_that_gave_it() -> None:
    assert Kept(URL, '"v"', "ab").request(URL, 7) == {"Range": "bytes=7-", "If-Range": '"v"'}
    assert Kept("https://mirror/x", '"v"', "ab").request(URL, 7) == {"Range": "bytes=7-"}


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": '"v"', "last-modified": "yesterday"}, '"v"'),
        ({"etag": 'W/"v"', "last-modified": "yesterday"}, ""),
        ({"last-modified": "yesterday", "date": "today"}, "yesterday"),
        ({"last-modified": "today", "date": "today"}, ""),
        ({}, ""),
    ],
)
def test_only_what_identifies_the_very_bytes_is_a_validator(
    headers: dict[str, str], validator: str
) -> None:
    assert transfer.validator_of(headers) == validator


@pytest.mark.parametrize(
    ("status", "headers", "asked", "part"),
    [
        (200, {"content-length": "9"}, 5, Part(0, 9)),
        (200, {}, 0, Part(0, None)),
        (200, {"content-length": "-9"}, 0, Part(0, None)),
        (206, {"content-range": "bytes 5-8/9"}, 5, Part(5, 9)),
        (206, {"content-range": "bytes 5-8/*"}, 5, Part(5, None)),
    ],
)
def test_a_response_says_which_bytes_it_carries(
    status: int, headers: dict[str, str], asked: int, part: Part
) -> None:
    assert transfer.part_of(URL, status, headers, asked) == part


@pytest.mark.parametrize("found", ["bytes 4-8/9", "bytes */9", "items 5-8/9", ""])
def test_another_range_than_was_asked_for_is_refused(found: str) -> None:
    with pytest.raises(DownloadError, match="asked for bytes from 5 on"):
        transfer.part_of(URL, 206, {"content-range": found}, 5)


def test_a_part_is_refused_when_none_was_asked_for() -> None:
    with pytest.raises(DownloadError):
        transfer.part_of(URL, 206, {"content-range": "bytes 0-8/9"}, 0)


def test_a_length_is_compared_before_and_while_reading() -> None:
    known = Wanted(None, 100, 1000)
    known.check_total("m", None)
    known.check_total("m", 100)
    with pytest.raises(DigestError):
        known.check_total("m", 99)
    known.check_so_far("m", 100)
    with pytest.raises(DigestError):
        known.check_so_far("m", 101)
    with pytest.raises(DownloadError, match="1000 bytes that are allowed"):
        Wanted(None, None, 1000).check_total("m", 1001)


def test_a_slow_server_is_left_when_the_window_has_passed() -> None:
    pace = Pace(Patience(window_s=10, min_bytes_per_s=100), now=0.0, deadline=None)
    pace.check("m", 1, 9.9)
    with pytest.raises(DownloadError, match=r"sent 2 bytes in 10\.0 s"):
        pace.check("m", 1, 10.0)


def test_each_window_counts_for_itself() -> None:
    pace = Pace(Patience(window_s=10, min_bytes_per_s=100), now=0.0, deadline=None)
    pace.check("m", 1_000_000, 10.0)
    with pytest.raises(DownloadError):
        pace.check("m", 10, 20.0)


def test_a_deadline_ends_a_fast_transfer_too() -> None:
    pace = Pace(Patience(total_s=5), now=0.0, deadline=5.0)
    pace.check("m", 1_000_000, 4.9)
    with pytest.raises(DownloadError, match="not done within 5 s"):
        pace.check("m", 1_000_000, 5.0)


def test_an_address_is_shown_without_secrets() -> None:
    assert transfer.shown("https://me:pw@h:1/p?sig=x#y") == "https://h:1/p"


@pytest.mark.parametrize("status", [200, 206])
def test_a_part_or_all_of_a_file_is_good_news(status: int) -> None:
    transfer.check_status(URL, status)


@pytest.mark.parametrize(
    ("status", "words", "retryable"),
    [(503, "Service Unavailable", True), (404, "Not Found", False), (599, "no known", False)],
)
def test_a_status_says_whether_to_come_back(status: int, words: str, retryable: bool) -> None:
    with pytest.raises(DownloadError, match=words) as refused:
        transfer.check_status(URL, status)
    assert refused.value.retryable is retryable


@pytest.mark.parametrize(
    ("status", "moved"), [(301, True), (308, True), (304, False), (200, False)]
)
def test_a_redirect_is_told_by_its_status(status: int, moved: bool) -> None:
    assert transfer.is_redirect(status) is moved


def test_packed_bytes_are_refused() -> None:
    with pytest.raises(DownloadError, match="gzip"):
        transfer.part_of(URL, 200, {"content-encoding": "gzip"}, 0)


@pytest.mark.parametrize("url", [URL, "http://h/x", "file:///a/b", "file://localhost/a"])
def test_web_and_file_addresses_can_be_fetched(url: str) -> None:
    assert transfer.check_address(url) == url.partition(":")[0]
