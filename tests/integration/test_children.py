"""Scripts in processes of their own that end badly."""

from __future__ import annotations

import sys

import pytest

from wherever_contracts.errors import ConversionError
from wherever_convert.children import run_child


def interpreter(folder, body):
    """A program that is started as a Python is, and does something else."""
    program = folder / "python"
    program.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    program.chmod(0o755)
    return program


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("open(sys.argv[-1], 'w').close()", "exit code 0: it said nothing"),
        ("open(sys.argv[-1], 'w').write('{\"a\"'); sys.exit('full')", "exit code 1: full"),
        ("sys.exit(7)", "exit code 7: it said nothing"),
    ],
)
def test_a_script_that_leaves_no_whole_result_is_an_error_in_words(tmp_path, body, words):
    with pytest.raises(ConversionError, match=f"making it failed with {words}"):
        run_child("weigh", {}, tmp_path, "making it", python=interpreter(tmp_path, body))
