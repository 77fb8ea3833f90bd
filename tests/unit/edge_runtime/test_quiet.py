"""One kind of line is left out of standard error; nothing else is lost."""

from __future__ import annotations

import os

import pytest

from wherever_edge.engines.quiet import without_line


def test_only_the_chatter_is_left_out(capfd):
    def call():
        os.write(2, b"INFO: chatter\nwarning: this counts\n")
        return 7

    assert without_line(b"INFO: chatter", call) == 7
    assert capfd.readouterr().err == "warning: this counts\n"
    os.write(2, b"later\n")
    assert capfd.readouterr().err == "later\n"


def test_a_failure_is_passed_on_and_its_words_too(capfd):
    def call():
        os.write(2, b"what went wrong\n")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        without_line(b"INFO", call)
    assert capfd.readouterr().err == "what went wrong\n"


def test_a_process_without_standard_error_is_served_too():
    kept = os.dup(2)
    os.close(2)
    try:
        assert without_line(b"INFO", lambda: 7) == 7
    finally:
        os.dup2(kept, 2)
        os.close(kept)
