"""The secret of a device: made once, whoever comes first, and closed to others."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from wherever._device_key import device_key
from wherever_contracts.errors import SettingsError


def test_the_device_has_one_key_that_only_its_user_can_read(tmp_path):
    home = tmp_path / "new" / "home"
    key = device_key(home)
    assert len(key) == 32
    assert device_key(home) == key
    assert [path.name for path in home.iterdir()] == ["device.key"]
    if os.name != "nt":
        assert (home / "device.key").stat().st_mode & 0o777 == 0o600
        (home / "device.key").chmod(0o644)
        assert device_key(home) == key
        assert (home / "device.key").stat().st_mode & 0o777 == 0o600


def test_processes_that_start_together_agree_on_the_key(tmp_path):
    code = (
        "import sys, pathlib; from wherever._device_key import device_key;"
        "sys.stdin.read(1); print(device_key(pathlib.Path(sys.argv[1])).hex())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "home")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for each in running:
        each.stdin.write("x")
        each.stdin.flush()
    keys = {each.communicate()[0] for each in running}
    assert len(keys) == 1
    assert len(keys.pop().strip()) == 64


@pytest.mark.parametrize("content", [b"", b"short", bytes(33)])
def test_a_key_of_another_size_is_refused(tmp_path, content):
    (tmp_path / "device.key").write_bytes(content)
    with pytest.raises(SettingsError, match="remove it"):
        device_key(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="links and pipes need rights on Windows")
def test_a_key_that_is_no_plain_file_is_refused(tmp_path):
    (tmp_path / "elsewhere").write_bytes(bytes(32))
    (tmp_path / "device.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="cannot be had"):
        device_key(tmp_path)
    (tmp_path / "device.key").unlink()
    os.mkfifo(tmp_path / "device.key")
    with pytest.raises(SettingsError, match="remove it"):
        device_key(tmp_path)
