"""Gateways and boxes use their machine as a profile and their options say."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wherever_contracts.errors import SettingsError
from wherever_edge.hosting import HostOptions, host_options, open_host
from wherever_edge.packages.store import Store

SERVERS = {
    "gateway": ["gateway", "--no-http", "--grpc-port", "0"],
    "serve": ["serve", "--port", "0", "--no-advertise"],
}


def test_a_host_follows_its_profile_and_what_its_owner_wants_wins(tmp_path):
    by_profile = open_host(
        Store(), distance="nearby", home=tmp_path, options=HostOptions(profile="tiny")
    )
    assert (by_profile.threads, by_profile.queue.runs, by_profile.queue.max_waiting) == (1, 1, 8)
    wanted = HostOptions(profile="tiny", runs=3, max_waiting=5)
    by_owner = open_host(Store(), distance="nearby", home=tmp_path, options=wanted)
    assert (by_owner.queue.runs, by_owner.queue.max_waiting) == (3, 5)


def test_a_model_that_is_named_as_pinned_stays_once_it_was_used(tmp_path):
    host = open_host(
        Store(), distance="device", home=tmp_path, options=HostOptions(pinned=("digits",))
    )
    host.resolve("digits")
    assert [loaded.pinned for loaded in host.loaded()] == [True]


def test_options_that_are_not_given_come_from_the_file_of_settings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wherever.toml").write_text('profile = "laptop"\nisolation = "process"\n')
    nothing = {"profile": None, "isolation": None, "memory_max_mib": None, "batching": True}
    found = host_options(**nothing)
    assert (found.profile, found.isolation, found.memory_max_bytes) == ("laptop", "process", None)
    given = host_options(**nothing | {"profile": "tiny", "isolation": "none", "memory_max_mib": 64})
    assert (given.profile, given.isolation) == ("tiny", "none")
    assert given.memory_max_bytes == 64 * 2**20
    with pytest.raises(SettingsError, match="none, process"):
        host_options(**nothing | {"isolation": "container"})


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_runs_its_engines_in_processes_of_their_own_when_it_is_told_to(kind, tmp_path):
    arguments = [*SERVERS[kind], "--isolation", "process", "--profile", "tiny", "--json"]
    with subprocess.Popen(
        [sys.executable, "-m", "wherever", *arguments, "--home", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert json.loads(server.stdout.readline())["models"]
            workers = children_of(server.pid)
            assert workers
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def children_of(pid):
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=True)
    return found.stdout.split()
