"""What a bad network, a bad server or a thief of keys can do: nothing to what serves.

Each story ends the same way: the version before serves, the error says why, and the next good
update succeeds.
"""

from __future__ import annotations

import io
import json
import shutil
import stat
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from tuf.api.metadata import TargetFile

from wherever_contracts.errors import UpdateError
from wherever_contracts.frames import pack_frame, unpack_frame
from wherever_convert.builder import build_package
from wherever_edge.updates.layout import custom_of, package_target, prefixed
from wherever_edge.updates.watching import update_state
from wherever_gateway.registry.keys import ROLES
from wherever_gateway.registry.metadata import seal, seal_root
from wherever_gateway.registry.repository import Repository

ONLINE = ("targets", "snapshot", "timestamp")


@pytest.fixture
def device(fleet):
    """A device with 1.0.0 and a registry with 1.1.0; afterwards it must have come through."""
    fleet.publish("1.1.0")
    yield fleet
    assert fleet.serves() == "1.0.0"
    assert update_state(fleet.home).stale
    fleet.server.heal()
    fleet.publish("1.2.0")
    assert fleet.update().models[0].outcome == "updated"
    assert fleet.serves() == "1.2.0"
    assert not update_state(fleet.home).stale


def replace(part, make):
    """Bends files whose path has a part in it."""
    return lambda path, data: make(data) if part in path else data


def flipped(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def sign(fleet, now, targets=()):
    """Sign the registry's next state at another time, or with other targets."""
    chain = fleet.repository.load()
    for name, data in seal(chain, signers(fleet, chain), now, targets).items():
        (fleet.root / "repo" / "metadata" / name).write_bytes(data)


def signers(fleet, chain):
    keys = fleet.repository.keys
    return {role: [keys.signer(role, key) for key in chain.key_ids(role)] for role in ROLES}


def sign_archive(fleet, data, digest):
    """Sign these bytes as the archive of 1.1.0."""
    path = package_target("scales", "1.1.0")
    target = TargetFile.from_data(path, data, ["sha256"])
    target.unrecognized_fields["custom"] = custom_of("scales", "1.1.0", digest)
    place = fleet.root / "repo" / "targets" / prefixed(path, target.hashes["sha256"])
    place.write_bytes(data)
    sign(fleet, datetime.now(UTC), [target])


@pytest.mark.parametrize("file", ["timestamp", "snapshot", "targets.json", "channels", ".wherever"])
def test_a_flipped_bit(device, file):
    device.server.bend = replace(file, flipped)
    assert device.refusal() in {"tampered", "wrong_key"}


def test_a_flipped_bit_in_a_new_root(device):
    device.repository.rotate("timestamp")
    device.server.bend = replace("2.root.json", flipped)
    assert device.refusal() in {"tampered", "wrong_key"}


def test_a_truncated_file_that_says_it_is_whole(device):
    device.server.bend = replace(".wherever", lambda data: data[:-1])
    assert device.refusal() == "tampered"


def test_an_expired_registry(device):
    sign(device, datetime.now(UTC) - timedelta(days=31))
    with pytest.raises(UpdateError, match=r"`wherever repo refresh`.*goes on serving") as caught:
        device.update()
    assert caught.value.kind == "expired"
    assert device.refusal() == "expired"


def test_a_registry_that_is_refreshed_in_time_is_believed(fleet):
    sign(fleet, datetime.now(UTC) - timedelta(days=31))
    assert fleet.refusal() == "expired"
    assert fleet.repository.refresh() == []
    assert fleet.update().models[0].outcome == "current"


def test_an_older_timestamp_than_the_one_that_was_seen(device):
    path = device.root / "repo" / "metadata" / "timestamp.json"
    before = path.read_bytes()
    sign(device, datetime.now(UTC))
    device.server.bend = replace(".wherever", flipped)
    assert device.refusal() == "tampered"
    device.server.bend = replace("timestamp", lambda _: before)
    assert device.refusal() == "rolled_back"


def test_an_older_snapshot_signed_with_a_stolen_timestamp_key(device):
    chain = device.repository.load()
    chain.timestamp.signed.snapshot_meta.version = 1
    chain.timestamp.signed.snapshot_meta.length = chain.timestamp.signed.snapshot_meta.hashes = None
    chain.timestamp.signed.version += 1
    for signer in signers(device, chain)["timestamp"]:
        chain.timestamp.sign(signer)
    forged = chain.timestamp.to_bytes()
    device.server.bend = replace("timestamp", lambda _: forged)
    assert device.refusal() == "rolled_back"


def test_a_stolen_timestamp_key_that_runs_ahead_is_overcome_by_exchanging_it(device):
    chain = device.repository.load()
    chain.timestamp.signed.version += 1000
    for signer in signers(device, chain)["timestamp"]:
        chain.timestamp.sign(signer)
    forged = chain.timestamp.to_bytes()
    device.server.bend = lambda path, data: (
        forged if "timestamp" in path else flipped(data) if ".wherever" in path else data
    )
    assert device.refusal() == "tampered"
    device.server.heal()
    device.publish("1.1.1")
    assert device.refusal() == "rolled_back"
    device.repository.rotate("timestamp")


def test_old_targets_under_a_new_name(device):
    old = (device.root / "repo" / "metadata" / "1.targets.json").read_bytes()
    device.server.bend = replace("targets.json", lambda _: old)
    assert device.refusal() == "tampered"


def test_a_registry_of_somebody_else(device, tmp_path):
    other = Repository(tmp_path / "other", tmp_path / "other-keys")
    other.create(expires_days=30)
    other.publish(device.build("6.6.6"), "stable")
    device.server.directory = tmp_path / "other"
    assert device.refusal() == "wrong_key"
    device.server.directory = tmp_path / "repo"


def test_a_root_that_its_forger_signed_alone(device, tmp_path):
    other = Repository(tmp_path / "other", tmp_path / "other-keys")
    other.create(expires_days=30)
    chain = other.load()
    keys = {r: [other.keys.signer(r, k) for k in chain.key_ids(r)] for r in ROLES}
    (forged,) = seal_root(chain, keys, datetime.now(UTC)).values()
    path = device.root / "repo" / "metadata" / "2.root.json"
    path.write_bytes(forged)
    assert device.refusal() == "wrong_key"
    path.unlink()


def test_another_signed_archive_in_its_place(device):
    ((_, old),) = [
        (p, p.read_bytes())
        for p in (device.root / "repo" / "targets" / "packages" / "scales" / "1.0.0").iterdir()
    ]
    device.server.bend = replace("scales-1.1.0.wherever", lambda _: old)
    assert device.refusal() == "tampered"


@pytest.mark.parametrize(
    ("file", "kind"),
    [("timestamp", "oversize"), ("snapshot", "oversize"), (".wherever", "tampered")],
)
def test_a_file_without_end(device, file, kind):
    device.server.endless = file
    assert device.refusal() == kind


@pytest.mark.parametrize("file", ["2.root", "channels"])
def test_a_file_without_end_where_little_is_expected(device, file):
    if file == "2.root":
        (device.root / "repo" / "metadata" / "2.root.json").write_bytes(b"{}")
    device.server.endless = file
    assert device.refusal() in {"oversize", "tampered"}
    (device.root / "repo" / "metadata" / "2.root.json").unlink(missing_ok=True)


@pytest.mark.parametrize(("stall", "kind"), [(0, "slow"), (100, "slow")])
def test_a_server_that_stalls(device, stall, kind):
    device.server.stall = stall
    assert device.refusal() == kind


def test_a_server_that_stalls_in_the_middle_of_an_archive(device):
    big = device.server.bend
    device.server.bend = lambda path, data: stall_at(device, path, data)
    assert device.refusal() == "download"
    device.server.bend = big


def stall_at(device, path, data):
    device.server.stall = 500 if ".wherever" in path else None
    return data


def test_a_server_that_lost_the_archive(device):
    shutil.rmtree(device.root / "repo" / "targets" / "packages" / "scales" / "1.1.0")
    assert device.refusal() == "download"


def test_a_huge_header(device):
    device.server.header = "x" * 500_000
    assert device.refusal() == "unreachable"


def test_a_page_instead_of_a_file(device):
    device.server.bend = lambda *_: b"<html>Sign in to the Wi-Fi</html>"
    assert device.refusal() == "tampered"


def test_a_signed_package_that_answers_otherwise_here(device):
    """Quantized on another kind of machine, say: right to the last byte, and still wrong."""
    good = device.build("1.1.1")
    path = good.root / good.manifest.golden[0].file.path
    arrays, meta = unpack_frame(path.read_bytes())
    arrays = {name: np.flip(a) if name.startswith("outputs") else a for name, a in arrays.items()}
    path.write_bytes(pack_frame(arrays, meta))
    data = json.loads((good.root / "model.json").read_bytes())
    data["golden"][0]["file"] = {"path": data["golden"][0]["file"]["path"]}
    device.repository.publish(build_package(good.root, data), "stable")
    agent = device.agent()
    assert agent.update().refused[0].kind == "golden"
    assert "1.1.1 was refused" in update_state(device.home).problem
    device.server.asked.clear()
    assert agent.update(thorough=False).refused[0].kind == "golden"
    assert not any("packages" in path for path in device.server.asked)
    assert agent.update().refused[0].kind == "golden"
    assert any("packages" in path for path in device.server.asked)


def test_a_signed_package_that_no_engine_here_reads(device, build_scales):
    plain = build_scales(device.root / "broken", version="1.1.1")
    for variant in plain.manifest.variants:
        (plain.root / variant.files[0].path).write_bytes(b"no graph")
    data = json.loads((plain.root / "model.json").read_bytes())
    for variant in data["variants"]:
        variant["files"] = [{"path": variant["files"][0]["path"]}]
    device.repository.publish(build_package(plain.root, data), "stable")
    assert device.refusal() == "engine"


def test_a_signed_archive_with_another_digest_than_was_signed(device):
    (place,) = (device.root / "repo" / "targets" / "packages" / "scales" / "1.1.0").iterdir()
    sign_archive(device, place.read_bytes(), "0" * 64)
    assert device.refusal() == "tampered"


def zipped(*entries):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for info, data in entries:
            file.writestr(info, data)
    return made.getvalue()


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "entries",
    [
        [("../../../escaped", b"x")],
        [("/tmp/escaped", b"x")],
        [(link("small.onnx"), b"/etc/passwd")],
        [("small.onnx", bytes(30_000_000))],
        [("setup.py", b"raise SystemExit(1)")],
    ],
    ids=["traversal", "absolute", "link", "bomb", "code"],
)
def test_a_signed_archive_that_is_an_attack(device, entries):
    before = {p for p in device.root.rglob("*") if "signed" not in p.parts}
    manifest = (device.root / "scales-1.1.0" / "model.json").read_bytes()
    sign_archive(device, zipped(("model.json", manifest), *entries), "0" * 64)
    assert device.refusal() in {"unsafe_path", "archive", "extra_file", "digest", "tampered"}
    after = {p for p in device.root.rglob("*") if "signed" not in p.parts}
    assert {p.name for p in after - before if "repo" not in p.parts} <= {"home"}
    assert not any(p.is_symlink() for p in (device.home / "signed" / "packages").rglob("*"))


def test_no_room_left(device, monkeypatch):
    usage = shutil.disk_usage(device.home)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    assert device.refusal() == "disk"
    monkeypatch.undo()


def test_a_directory_that_cannot_be_made(device):
    staging = device.home / "signed" / "staging"
    staging.write_bytes(b"a file where a directory should be")
    assert device.refusal() == "disk"
    staging.unlink()
