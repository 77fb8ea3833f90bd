"""The types that users get are complete."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.check


def test_the_types_of_the_public_api_are_complete():
    """`pyright --verifytypes` looks at the environment that is first on PATH."""
    here = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-m", "pyright", "--verifytypes", "wherever", "--ignoreexternal"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": f"{here}:{os.environ['PATH']}"},
    )
    assert "Type completeness score: 100%" in done.stdout, done.stdout[-3000:]
