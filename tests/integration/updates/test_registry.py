"""The registry's side: keys, publishing, exchanging keys; and the commands of both sides."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from wherever.cli import main
from wherever_contracts.errors import DigestError, UpdateError
from wherever_edge.packages.archive import write_archive
from wherever_edge.packages.package import open_directory
from wherever_gateway.registry import repository as repository_module
from wherever_gateway.registry.repository import Repository


@pytest.fixture
def wherever(capsys):
    """Runs a command, and gives its exit code and what it printed as JSON."""

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            main([*map(str, arguments), "--json"])
        return ended.value.code or 0, json.loads(capsys.readouterr().out)

    return run


def files(directory):
    return sorted(p.name for p in directory.rglob("*") if p.is_file())


def test_init_makes_keys_that_their_owner_alone_can_read_and_serves_none(wherever, tmp_path):
    code, said = wherever("repo", "init", tmp_path / "repo")
    assert code == 0
    assert said["keys"] == str(tmp_path / "repo-keys")
    root = tmp_path / "repo" / "metadata" / "1.root.json"
    assert said["root_sha256"] == hashlib.sha256(root.read_bytes()).hexdigest()
    keys = sorted((tmp_path / "repo-keys").glob("*.pem"))
    assert [re.sub(r"-[0-9a-f]{16}\.pem", "", key.name) for key in keys] == [
        "root",
        "snapshot",
        "targets",
        "timestamp",
    ]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE((tmp_path / "repo-keys").stat().st_mode) == 0o700
    assert not [name for name in files(tmp_path / "repo") if name.endswith(".pem")]
    for path in (tmp_path / "repo").rglob("*.json"):
        assert b"PRIVATE" not in path.read_bytes()


def test_a_registry_is_made_once_and_its_keys_lie_elsewhere(wherever, tmp_path):
    assert wherever("repo", "init", tmp_path / "repo")[0] == 0
    code, said = wherever("repo", "init", tmp_path / "repo")
    assert (code, said["error"]["kind"]) == (1, "repository")
    code, said = wherever("repo", "init", tmp_path / "r", "--keys", tmp_path / "r" / "keys")
    assert (code, said["error"]["kind"]) == (1, "keys")
    assert not (tmp_path / "r").exists()


def test_publishing_says_what_it_did(wherever, fleet):
    repo = ("--repo", fleet.root / "repo", "--keys", fleet.root / "keys")
    new = fleet.build("1.1.0")
    code, said = wherever("publish", new.root, *repo, "--channel", "canary")
    assert (code, said["added"], said["before"]) == (0, True, "")
    assert said["digest"] == new.digest
    code, said = wherever("publish", "scales@1.1.0", *repo, "--channel", "stable")
    assert (code, said["added"], said["before"]) == (0, False, "1.0.0")
    code, said = wherever("publish", "scales@4.0.0", *repo, "--channel", "stable")
    assert (code, said["error"]["message"]) == (
        1,
        "scales 4.0.0 was not published (of scales there is: 1.0.0, 1.1.0)",
    )
    assert wherever("publish", "nothing here", *repo, "--channel", "stable")[0] == 1
    assert wherever("publish", new.root, *repo, "--channel", "beta")[0] == 2
    assert fleet.repository.channels(fleet.repository.load()) == {
        "scales": {"stable": "1.1.0", "canary": "1.1.0"}
    }


def test_an_archive_can_be_published(wherever, fleet):
    package = fleet.build("1.1.0")
    archive = fleet.root / "given.wherever"
    write_archive(package, archive)
    code, said = wherever(
        *("publish", archive, "--repo", fleet.root / "repo", "--channel", "stable"),
        *("--keys", fleet.root / "keys"),
    )
    assert (code, said["digest"]) == (0, package.digest)
    assert fleet.update().models[0].version == "1.1.0"


def test_publishing_again_changes_nothing(fleet):
    before = {p: p.read_bytes() for p in (fleet.root / "repo").rglob("*") if p.is_file()}
    again = fleet.repository.publish(fleet.build("1.0.0"), "stable")
    assert (again.added, again.before) == (False, "1.0.0")
    assert before == {p: p.read_bytes() for p in (fleet.root / "repo").rglob("*") if p.is_file()}


def test_a_version_is_never_published_with_other_bytes(fleet):
    package = fleet.build("1.0.0")
    data = json.loads((package.root / "model.json").read_bytes())
    (package.root / "model.json").write_text(json.dumps({**data, "summary": "another"}))
    before = files(fleet.root / "repo")
    with pytest.raises(UpdateError, match="a change needs a new version"):
        fleet.repository.publish(open_directory(package.root), "stable")
    assert files(fleet.root / "repo") == before


def test_a_damaged_package_is_not_published(fleet):
    package = fleet.build("1.1.0")
    graph = package.root / "small.onnx"
    graph.write_bytes(graph.read_bytes()[:-1] + b"?")
    before = files(fleet.root / "repo")
    with pytest.raises(DigestError):
        fleet.repository.publish(package, "stable")
    assert files(fleet.root / "repo") == before


def test_what_a_device_reads_appears_last(fleet, monkeypatch):
    """A publisher that dies between two files leaves the old state, and can go on afterwards."""
    writes = []
    real = repository_module.write_durably

    def counted(path, data):
        writes.append(path.name)
        real(path, data)

    monkeypatch.setattr(repository_module, "write_durably", counted)
    fleet.publish("1.1.0")
    assert [re.sub(r"^[0-9a-f]{64}\.", "", name) for name in writes] == [
        "channels.json",
        "3.targets.json",
        "3.snapshot.json",
        "timestamp.json",
    ]
    for survivors in range(4):
        left = survivors

        def dying(path, data):
            nonlocal left
            if not left:
                raise KeyboardInterrupt
            left -= 1
            real(path, data)

        monkeypatch.setattr(repository_module, "write_durably", dying)
        with pytest.raises(KeyboardInterrupt):
            fleet.publish(f"2.{survivors}.0")
        assert fleet.update().models[0].version == "1.1.0"
    monkeypatch.setattr(repository_module, "write_durably", real)
    fleet.publish("2.0.0")
    assert fleet.update().models[0].version == "2.0.0"


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_a_key_is_exchanged_and_devices_follow(wherever, fleet, role):
    repo = (fleet.root / "repo", "--keys", fleet.root / "keys")
    before = {row["role"]: row["key"] for row in wherever("repo", "keys", *repo)[1]["keys"]}
    code, said = wherever("repo", "keys", *repo, "--rotate", role)
    after = {row["role"]: row["key"] for row in said["keys"]}
    assert code == 0
    assert {each for each in after if after[each] != before[each]} == {role}
    old = fleet.repository.keys.path(role, before[role])
    old.unlink()
    fleet.publish("1.1.0")
    assert fleet.update().models[0].outcome == "updated"
    assert fleet.serves() == "1.1.0"


def test_a_device_that_comes_between_the_steps_of_an_exchange_is_served(fleet, monkeypatch):
    real = Repository._write
    seen = []

    def visited(self, written):
        real(self, written)
        seen.append(fleet.update().models[0].outcome)

    monkeypatch.setattr(Repository, "_write", visited)
    for role in ("timestamp", "snapshot", "targets", "root"):
        fleet.repository.rotate(role)
    assert set(seen) == {"current"}
    assert len(seen) == 7


def test_publishing_needs_no_root_key_and_exchanging_one_does(wherever, fleet):
    (root,) = (fleet.root / "keys").glob("root-*.pem")
    root.rename(fleet.root / "in-the-safe.pem")
    fleet.publish("1.1.0")
    repo = (fleet.root / "repo", "--keys", fleet.root / "keys")
    rows = {row["role"]: row["private"] for row in wherever("repo", "keys", *repo)[1]["keys"]}
    assert (rows["root"], rows["targets"]) == ("not here", "here")
    code, said = wherever("repo", "keys", *repo, "--rotate", "timestamp")
    assert (code, said["error"]["kind"]) == (1, "keys")
    assert "the root key is needed" in said["error"]["message"]
    assert wherever("repo", "refresh", *repo)[0] == 0
    assert fleet.update().models[0].outcome == "updated"


def test_refreshing_renews_what_grows_old_and_names_what_it_cannot(wherever, fleet, monkeypatch):
    class Later(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=300)

    (root,) = (fleet.root / "keys").glob("root-*.pem")
    root.rename(fleet.root / "in-the-safe.pem")
    monkeypatch.setattr(repository_module, "datetime", Later)
    repo = (fleet.root / "repo", "--keys", fleet.root / "keys")
    code, said = wherever("repo", "refresh", *repo)
    assert (code, said["unsigned"]) == (0, ["root"])
    (fleet.root / "in-the-safe.pem").rename(root)
    assert wherever("repo", "refresh", *repo)[1]["unsigned"] == []
    chain = fleet.repository.load()
    year = datetime.now(UTC) + timedelta(days=600)
    assert (chain.expiry("root") > year, chain.expiry("targets") > year) == (True, True)


def test_a_damaged_registry_says_which_file(fleet):
    path = fleet.root / "repo" / "metadata" / "timestamp.json"
    path.write_bytes(b"{")
    with pytest.raises(UpdateError, match=r"timestamp\.json is missing or damaged"):
        fleet.publish("1.1.0")


def test_a_registry_may_be_a_directory_and_what_is_none_is_refused_at_once(fleet, wherever):
    digest = hashlib.sha256(fleet.first_root.read_bytes()).hexdigest()
    given = ("update", "scales", "--home", fleet.root / "other home")
    directory = fleet.root / "repo"
    assert wherever(*given, "--registry", fleet.root / "no", "--root-sha256", digest)[0] == 2
    assert wherever(*given, "--registry", directory, "--root-sha256", digest[:-1])[0] == 2
    code, said = wherever(*given, "--registry", directory, "--root-sha256", digest)
    assert (code, said["models"][0]["version"], said["registry"]) == (
        0,
        "1.0.0",
        directory.as_uri(),
    )


def test_update_tells_people_and_programs(wherever, fleet, capsys):
    fleet.publish("1.1.0")
    code, said = wherever("update", "--home", fleet.home)
    assert (code, said["models"][0]["outcome"], said["models"][0]["before"]) == (
        0,
        "updated",
        "1.0.0",
    )
    with pytest.raises(SystemExit):
        main(["update", "--home", str(fleet.home)])
    assert capsys.readouterr().out == "scales (stable): 1.1.0 is up to date\n"
    code, said = wherever("update", "--home", fleet.home, "--rollback", "scales")
    assert (code, said["version"]) == (0, "1.0.0")
    code, said = wherever("update", "--home", fleet.home, "--status")
    assert (code, said["active"], said["stale"]) == (0, {"scales": "1.0.0"}, False)
    code, said = wherever("update", "nosuch", "--home", fleet.home)
    assert (code, {m["name"]: m["outcome"] for m in said["models"]}) == (
        1,
        {"nosuch": "refused", "scales": "held"},
    )
    fleet.server.close()
    code, said = wherever("update", "--home", fleet.home)
    assert (code, said["error"]["kind"]) == (1, "unreachable")
    assert "scales 1.0.0, verified on" in said["error"]["message"]
    code, said = wherever("update", "--home", fleet.home, "--status")
    assert (code, said["stale"], said["kind"]) == (0, True, "unreachable")


def test_a_new_device_is_set_up_by_one_command(wherever, fleet, tmp_path):
    fleet.publish("2.0.0", "canary")
    fleet.publish("1.0.0", name="weights")
    code, said = wherever(
        *("update", "--all", "--registry", fleet.server.url, "--root", fleet.first_root),
        *("--channel", "canary", "--place", "nearby", "--home", tmp_path / "box"),
    )
    assert code == 0
    assert {m["name"]: (m["version"], m["outcome"]) for m in said["models"]} == {
        "scales": ("2.0.0", "updated"),
        "weights": ("1.0.0", "updated"),
    }
    assert wherever("update", "--home", tmp_path / "box")[1]["models"][0]["outcome"] == "current"


def test_a_home_that_cannot_be_made_is_said(wherever, fleet, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    code, said = wherever("update", "--home", tmp_path / "file")
    assert (code, said["error"]["kind"]) == (1, "disk")


def test_a_device_without_anything_is_told_what_to_give(wherever, tmp_path):
    code, said = wherever("update", "--home", tmp_path)
    assert (code, said["error"]["kind"]) == (1, "no_registry")
    assert wherever("update", "--home", tmp_path, "--channel", "beta")[0] == 2


def test_watching_takes_what_is_published_and_ends_when_told(fleet):
    process = subprocess.Popen(
        [sys.executable, "-m", "wherever", "update", "--watch", "--every-s", "0.1"],
        env={**os.environ, "WHEREVER_HOME": str(fleet.home)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "scales (stable): 1.0.0 is up to date\n"
        fleet.publish("1.1.0")
        assert process.stdout.readline().startswith("scales (stable): 1.0.0 -> 1.1.0, signed")
        fleet.server.bend = lambda *_: b"nonsense"
        while "goes on serving" not in (line := process.stdout.readline()):
            assert line.startswith("scales (stable): 1.1.0 is up to date")
        fleet.server.heal()
        assert process.stdout.readline() == "scales (stable): 1.1.0 is up to date\n"
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        process.stdout.close()
        assert process.wait(timeout=20) == 0
    assert fleet.serves() == "1.1.0"


def test_what_somebody_wrote_into_the_served_directory_is_never_signed(fleet):
    """Who can write to the web server must not get the keys to sign it with the next publish."""
    served = fleet.root / "repo" / "metadata"
    path = served / "2.targets.json"
    good = path.read_bytes()
    forged = json.loads(good)
    (target,) = [t for name, t in forged["signed"]["targets"].items() if "packages" in name]
    forged["signed"]["targets"]["packages/evil/1.0.0/evil-1.0.0.wherever"] = target
    path.write_text(json.dumps(forged))
    with pytest.raises(UpdateError, match="not signed by these keys") as caught:
        fleet.publish("1.1.0")
    assert caught.value.kind == "wrong_key"
    path.write_bytes(good)
    fleet.publish("1.1.0")


def test_an_old_state_in_the_served_directory_is_not_built_upon(fleet):
    path = fleet.root / "repo" / "metadata" / "timestamp.json"
    old = path.read_bytes()
    fleet.publish("1.1.0")
    path.write_bytes(old)
    with pytest.raises(UpdateError, match="somebody put an old one there"):
        fleet.publish("1.2.0")


def test_a_root_of_somebody_else_is_not_followed(fleet, tmp_path):
    other = Repository(tmp_path / "other", tmp_path / "other-keys")
    other.create(expires_days=30)
    other.rotate("root")
    forged = (tmp_path / "other" / "metadata" / "2.root.json").read_bytes()
    (fleet.root / "repo" / "metadata" / "2.root.json").write_bytes(forged)
    with pytest.raises(UpdateError, match="not signed by these keys"):
        fleet.publish("1.1.0")


def test_keys_that_are_elsewhere_are_asked_for(wherever, fleet):
    repo = ("--repo", fleet.root / "repo", "--channel", "stable", "--keys", fleet.root / "typo")
    code, said = wherever("publish", fleet.build("1.1.0").root, *repo)
    assert (code, said["error"]["kind"]) == (1, "keys")
    assert not (fleet.root / "typo").exists()
