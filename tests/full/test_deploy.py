"""What lies in `deploy/`, judged by systemd itself, and by a gateway that runs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wherever_edge.oip.keys import KeyStore

pytestmark = pytest.mark.full

DEPLOY = Path(__file__).parents[2] / "deploy"
# of 10; what has no access to anything has 0
MOST_EXPOSED = 2.0


@pytest.fixture
def unit(tmp_path):
    """The unit, with programs that are here in place of those of an installation."""
    (tmp_path / "wherever").write_text("#!/bin/sh\n")
    (tmp_path / "wherever").chmod(0o755)
    text = (DEPLOY / "wherever-gateway.service").read_text()
    file = tmp_path / "wherever-gateway.service"
    file.write_text(text.replace("/opt/wherever/bin/wherever", str(tmp_path / "wherever")))
    return file


def test_systemd_understands_every_line_of_the_unit(debian, unit):
    analyze = debian("systemd-analyze", "systemd")
    done = subprocess.run(
        [analyze, "verify", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, [])


def test_the_unit_is_hardly_exposed(debian, unit):
    analyze = debian("systemd-analyze", "systemd")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (level,) = re.findall(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert float(level) <= MOST_EXPOSED


def test_the_containers_health_check_tells_a_gateway_that_is_ready_from_one_that_is_gone(tmp_path):
    text = (DEPLOY / "Containerfile").read_text().replace("\\\n", " ")
    (said,) = re.findall(r"^HEALTHCHECK .*? CMD (\[.*\])$", text, re.MULTILINE)
    file = tmp_path / "gateway.toml"
    config = (DEPLOY / "container.toml").read_text()
    ports = "\n".join(f"{name}_port = 0" for name in ("grpc", "http", "metrics"))
    file.write_text(config.replace("[listen]", f"[listen]\n{ports}"))
    KeyStore(tmp_path / "keys").add("probe")
    environment = {
        **os.environ,
        "WHEREVER_HOME": str(tmp_path),
        "WHEREVER_GATEWAY_CONFIG": str(file),
    }
    with subprocess.Popen(
        [sys.executable, "-m", "wherever", "gateway", "--json"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as gateway:
        ready = json.loads(gateway.stdout.readline())
        port = ready["http"].rpartition(":")[2]
        code = json.loads(said)[2].replace(":8000/", f":{port}/")
        check = [sys.executable, "-c", code]
        healthy = subprocess.run(check, timeout=30, check=False, capture_output=True)
        gateway.send_signal(signal.SIGTERM)
        assert gateway.wait(timeout=30) == 0
    gone = subprocess.run(check, timeout=30, check=False, capture_output=True)
    assert (healthy.returncode, gone.returncode != 0) == (0, True)
    assert ready["grpc"].startswith("0.0.0.0:")
    assert ready["keys"]
    assert ready["tls"]
