"""`wherever add` and `remove`: a package is there whole and checked, or not at all."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wherever.cli import main
from wherever_contracts.errors import DownloadError, ModelNotFoundError
from wherever_contracts.frames import pack_frame, unpack_frame
from wherever_convert.builder import build_package
from wherever_edge.host import LocalHost
from wherever_edge.packages import catalogue
from wherever_edge.packages.archive import archive_name, write_archive
from wherever_edge.packages.golden import make_golden
from wherever_edge.packages.install import Installer
from wherever_edge.packages.package import Package
from wherever_edge.packages.store import Store

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def quiet_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def wherever(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def command(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return int(caught.value.code or 0), printed.out, printed.err

    return command


@pytest.fixture
def answered(wherever: Command) -> Callable[..., dict[str, Any]]:
    """What a command prints with --json, when it exits with this code."""

    def command(*arguments: object, code: int = 0) -> dict[str, Any]:
        found, out, err = wherever(*arguments, "--json")
        assert (found, err) == (code, ""), out
        answer: dict[str, Any] = json.loads(out)
        return answer

    return command


@pytest.fixture
def package(build_scales: Callable[..., Package], tmp_path: Path) -> Package:
    return build_scales(tmp_path / "made" / "scales", licence="MIT", summary="Largest number.")


@pytest.fixture
def archive(package: Package, tmp_path: Path) -> Path:
    path = tmp_path / archive_name(package)
    write_archive(package, path)
    return path


@pytest.fixture
def models(own_home: Path) -> Path:
    return own_home / "models"


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a server for the files below `tmp_path`."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given, directory=str(tmp_path))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def listed(package: Package, web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A catalogue that has the model `scales`, whose files are on the server; its mirror."""
    directory, mirror = tmp_path / "catalogue", tmp_path / "mirror"
    directory.mkdir()
    shutil.copytree(package.root, mirror)
    files = [file.path for file in package.files()]
    entry = {
        "page": "https://models.example/scales",
        "urls": {path: [f"{web}/gone/{path}", f"{web}/mirror/{path}"] for path in files},
        "manifest": json.loads(package.manifest_bytes()),
    }
    (directory / "scales.json").write_text(json.dumps(entry))
    monkeypatch.setattr(catalogue, "_DIRECTORY", directory)
    return mirror


def standing(models: Path) -> list[str]:
    """What readers see."""
    return sorted(p.name for p in models.iterdir() if not p.name.startswith("."))


def leftovers(models: Path) -> list[str]:
    return sorted(path.name for path in models.glob(".staging-*"))


def known(models: Path, name: str = "scales") -> Package:
    return Store(added=[models], builtin=False).get(name)


def test_a_model_of_the_catalogue_is_fetched_and_listed(
    answered: Callable[..., dict[str, Any]], listed: Path, models: Path
) -> None:
    added = answered("add", "scales")
    assert (added["name"], added["version"], added["trust"]) == ("scales", "1.0.0", "local")
    assert added["from"] == "the catalogue"
    assert added["notes"] == []
    assert [variant["here"] for variant in added["variants"]] == [True, False]
    assert standing(models) == ["scales-1.0.0"]
    assert list((models / ".downloads").iterdir()) == []

    (found,) = [each for each in answered("models")["models"] if each["name"] == "scales"]
    assert found["path"] == str(models / "scales-1.0.0")
    assert found["from"] == "the catalogue"


def test_a_mirror_is_asked_and_no_network(
    wherever: Command, listed: Path, models: Path, tmp_path: Path
) -> None:
    mirror = tmp_path / "usb"
    shutil.move(listed, mirror)
    assert wherever("add", "scales")[0] == 1

    code, out, err = wherever("add", "scales", "--from", mirror)

    assert (code, err) == (0, "")
    assert "added scales 1.0.0" in out
    assert "not here  large (add --all to fetch)" in out
    known(models).verify()


def test_a_mirror_may_name_files_by_their_digest(
    wherever: Command, listed: Path, package: Package, models: Path, tmp_path: Path
) -> None:
    mirror = tmp_path / "by-digest"
    mirror.mkdir()
    for file in package.files():
        shutil.copy(package.root / file.path, mirror / file.sha256)
    assert wherever("add", "scales", "--all", "--from", mirror)[0] == 0
    assert len(known(models).present()) == 2


def test_a_mirror_without_the_file_says_what_it_looked_for(
    wherever: Command, listed: Path, tmp_path: Path, models: Path
) -> None:
    code, _, err = wherever("add", "scales", "--from", tmp_path)
    assert code == 1
    assert "has no file" in err
    assert "small.onnx" in err
    assert standing(models) == []
    code, _, err = wherever("add", "scales", "--from", tmp_path / "nowhere")
    assert (code, "is no directory" in err) == (1, True)


def test_a_network_that_does_not_answer_is_named_with_a_way_round(
    wherever: Command, models: Path
) -> None:
    code, _, err = wherever("add", "http://127.0.0.1:9/scales.wherever")
    assert code == 1
    assert "--from DIR" in err
    assert standing(models) == []


def test_variants_are_added_to_those_that_are_there(
    answered: Callable[..., dict[str, Any]], listed: Path, models: Path
) -> None:
    answered("add", "scales")
    added = answered("add", "scales", "--all")
    assert [variant["here"] for variant in added["variants"]] == [True, True]
    known(models).verify()
    assert standing(models) == ["scales-1.0.0"]
    again = answered("add", "scales")
    assert [variant["here"] for variant in again["variants"]] == [True, True]


def test_what_is_there_is_not_fetched_again(
    wherever: Command, listed: Path, tmp_path: Path
) -> None:
    assert wherever("add", "scales")[0] == 0
    shutil.rmtree(listed)
    assert wherever("add", "scales")[0] == 0


def test_a_damaged_package_is_repaired(wherever: Command, listed: Path, models: Path) -> None:
    wherever("add", "scales")
    (models / "scales-1.0.0" / "small.onnx").write_bytes(b"damaged")
    assert wherever("add", "scales")[0] == 0
    known(models).verify()


def test_other_bytes_than_the_catalogue_promises_never_stand(
    wherever: Command, listed: Path, models: Path
) -> None:
    (listed / "small.onnx").write_bytes(bytes((listed / "small.onnx").stat().st_size))
    code, _, err = wherever("add", "scales")
    assert code == 1
    assert "sha256: expected" in err
    assert standing(models) == []
    assert leftovers(models) == []


def test_what_has_come_is_kept_when_another_file_cannot_be_had(
    listed: Path, own_home: Path, models: Path
) -> None:
    held = (listed / "large.onnx").read_bytes()
    (listed / "large.onnx").unlink()
    installer = Installer(own_home)
    with pytest.raises(DownloadError):
        installer.install("scales", every_variant=True)
    (listed / "large.onnx").write_bytes(held)
    (listed / "small.onnx").unlink()

    assert len(installer.install("scales", every_variant=True).present()) == 2


def test_progress_counts_every_byte_of_every_file(
    listed: Path, package: Package, own_home: Path
) -> None:
    seen: list[tuple[int, int | None]] = []
    Installer(own_home, progress=lambda *now: seen.append(now)).fetch("scales", every_variant=True)
    total = sum(file.bytes for file in package.files())
    assert {whole for _, whole in seen} == {total}
    assert seen == sorted(seen)
    assert seen[-1] == (total, total)


def test_a_handle_can_be_had_before_anything_was_fetched(listed: Path, own_home: Path) -> None:
    before = catalogue.handle_package("scales", own_home)
    fetched = Installer(own_home).fetch("scales")
    assert before is not None
    assert (before.root, before.digest) == (fetched.root, fetched.digest)
    with pytest.raises(ModelNotFoundError, match="the catalogue has no such model"):
        Installer(own_home).fetch("nothing")


@pytest.mark.parametrize("form", ["directory", "archive"])
def test_a_package_of_this_disk_is_copied(
    answered: Callable[..., dict[str, Any]],
    package: Package,
    archive: Path,
    models: Path,
    form: str,
) -> None:
    source = package.root if form == "directory" else archive
    added = answered("add", source)
    assert added["path"] == str(models / "scales-1.0.0")
    assert added["from"] == str(source)
    assert added["digest"] == package.digest
    package.verify()
    assert archive.exists()
    known(models).verify()
    assert leftovers(models) == []


def test_an_archive_is_fetched_from_an_address(
    answered: Callable[..., dict[str, Any]], archive: Path, web: str, models: Path
) -> None:
    added = answered("add", f"{web}/{archive.name}")
    assert added["from"] == f"{web}/{archive.name}"
    assert "nothing says who made it" in added["notes"][0]
    known(models).verify()
    assert list((models / ".downloads").iterdir()) == []


def test_an_archive_with_a_known_digest_needs_no_note(
    answered: Callable[..., dict[str, Any]], archive: Path, web: str
) -> None:
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert answered("add", f"{web}/{archive.name}", "--sha256", sha256)["notes"] == []


@pytest.mark.parametrize("form", ["path", "address", "file address"])
def test_an_archive_with_another_digest_is_refused(
    answered: Callable[..., dict[str, Any]], archive: Path, web: str, models: Path, form: str
) -> None:
    source = {"path": archive, "address": f"{web}/{archive.name}", "file address": archive.as_uri()}
    error = answered("add", source[form], "--sha256", "0" * 64, code=1)["error"]
    assert error["code"] == "digest"
    assert standing(models) == []


@pytest.mark.parametrize("sha256", ["../../escaped", "abc", "g" * 64])
def test_a_digest_is_64_digits(wherever: Command, archive: Path, web: str, sha256: str) -> None:
    code, _, err = wherever("add", f"{web}/{archive.name}", "--sha256", sha256)
    assert code == 1
    assert "64 hexadecimal digits" in err


def test_a_digest_is_for_archives_alone(wherever: Command, package: Package) -> None:
    code, _, err = wherever("add", package.root, "--sha256", "0" * 64)
    assert code == 1
    assert "an archive to check with it" in err


@pytest.mark.parametrize("source", ["{disk}/made/scales/small.onnx", "{web}/x.tflite"])
def test_a_bare_model_file_is_told_where_it_belongs(
    wherever: Command, package: Package, tmp_path: Path, web: str, source: str
) -> None:
    code, _, err = wherever("add", source.format(disk=tmp_path, web=web))
    assert code == 1
    assert "wherever.open" in err
    assert "wherever pack" in err


def test_a_name_that_nobody_knows_is_told_what_there_is(wherever: Command) -> None:
    code, _, err = wherever("add", "mobilnet")
    assert code == 1
    assert "did you mean 'mobilenet'?" in err


def test_a_model_that_cannot_run_here_says_what_it_needs(
    answered: Callable[..., dict[str, Any]], build_scales: Callable[..., Package], tmp_path: Path
) -> None:
    made = build_scales(tmp_path / "odd")
    manifest = json.loads(made.manifest_bytes())
    for variant in manifest["variants"]:
        variant["needs"]["engines"] = ["abacus"]
    (made.root / "model.json").write_text(json.dumps(manifest))
    notes = answered("add", made.root)["notes"]
    assert len(notes) == 2
    assert "it cannot run here yet: small" in notes[0]


def test_another_package_of_one_version_is_refused_unless_told(
    wherever: Command,
    build_scales: Callable[..., Package],
    package: Package,
    models: Path,
    tmp_path: Path,
) -> None:
    other = build_scales(tmp_path / "other", summary="Another one.")
    wherever("add", package.root)
    code, _, err = wherever("add", other.root)
    assert code == 1
    assert "--replace" in err
    assert known(models).digest == package.digest

    assert wherever("add", other.root, "--replace")[0] == 0
    assert known(models).digest == other.digest
    assert standing(models) == ["scales-1.0.0"]


def test_two_versions_stand_side_by_side_and_one_is_named_to_remove(
    wherever: Command,
    answered: Callable[..., dict[str, Any]],
    build_scales: Callable[..., Package],
    package: Package,
    models: Path,
    tmp_path: Path,
) -> None:
    newer = build_scales(tmp_path / "newer", version="1.1.0")
    for each in (package, newer):
        assert wherever("add", each.root)[0] == 0
    code, _, err = wherever("remove", "scales")
    assert code == 1
    assert "scales@1.1.0" in err
    assert answered("remove", "scales@1.0")["removed"] == [str(models / "scales-1.0.0")]
    assert standing(models) == ["scales-1.1.0"]
    assert wherever("remove", "scales")[0] == 0
    assert standing(models) == []
    assert leftovers(models) == []


def test_names_and_versions_that_share_a_directory_do_not_take_each_others_place(
    wherever: Command, build_scales: Callable[..., Package], models: Path, tmp_path: Path
) -> None:
    made = build_scales(tmp_path / "made-one", name="scales-1.0.0", version="2.0.0")
    odd = build_scales(tmp_path / "made-two", version="1.0.0-2.0.0")
    assert wherever("add", made.root)[0] == 0
    assert wherever("add", odd.root, "--replace")[0] == 1
    assert wherever("remove", "scales")[0] == 1
    known(models, "scales-1.0.0").verify()


def test_a_package_that_answers_otherwise_here_is_not_added(
    wherever: Command, build_scales: Callable[..., Package], models: Path, tmp_path: Path
) -> None:
    made = build_scales(tmp_path / "made-one")
    for name, numbers, code in (("good", [1, 2, 3], 0), ("bad", [3, 2, 1], 1)):
        sample = golden(made, np.array([1, 2, 3], "f4"), np.array(numbers, "f4"))
        (made.root / "golden.bin").write_bytes(sample)
        manifest = json.loads(made.manifest_bytes())
        proven = build_package(
            made.root, {**manifest, "name": name, "golden": [{"file": {"path": "golden.bin"}}]}
        )
        assert wherever("add", proven.root)[0] == code
        (made.root / "golden.bin").unlink()
        made = build_package(made.root, manifest)
    assert standing(models) == ["good-1.0.0"]


def golden(package: Package, asked: np.ndarray, answered: np.ndarray) -> bytes:
    """A sample that says of one input what is true of another."""
    host = LocalHost(Store([package.root], builtin=False), distance="device")
    loaded = host.resolve("scales", variant="small")
    arrays, meta = unpack_frame(make_golden([loaded], answered))
    truth, _ = unpack_frame(make_golden([loaded], asked))
    inputs = {name: array for name, array in truth.items() if name.startswith("inputs/")}
    return pack_frame({**arrays, **inputs}, meta)


def test_every_version_goes_when_told(
    wherever: Command, build_scales: Callable[..., Package], models: Path, tmp_path: Path
) -> None:
    for version in ("1.0.0", "1.1.0"):
        wherever("add", build_scales(tmp_path / version, version=version).root)
    assert wherever("remove", "scales", "--all")[0] == 0
    assert standing(models) == []


def test_a_damaged_package_can_be_removed(
    wherever: Command, package: Package, models: Path
) -> None:
    wherever("add", package.root)
    (models / "scales-1.0.0" / "model.json").write_text("damaged")
    assert wherever("remove", "scales")[0] == 0
    assert standing(models) == []


def test_what_was_not_added_is_not_removed(
    wherever: Command, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHEREVER_PACKAGES", str(package.root))
    for model, words in (
        ("digits", "came inside wherever itself"),
        ("scales", "yours to delete"),
        ("nothing", "was not added here"),
        ("../../etc", "was not added here"),
    ):
        code, _, err = wherever("remove", model)
        assert code == 1
        assert words in err
    package.verify()


def test_a_narrow_terminal_still_shows_the_whole_name(
    wherever: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert "person-present" in wherever("catalog")[1]


def test_the_catalogue_says_what_is_here(
    answered: Callable[..., dict[str, Any]], wherever: Command, listed: Path
) -> None:
    (before,) = answered("catalog")["models"]
    assert (before["name"], before["here"], before["licence"]) == ("scales", False, "MIT")
    wherever("add", "scales")
    assert answered("catalog", "scales")["here"]
    _, out, _ = wherever("catalog")
    assert "Largest number." in out
    _, out, _ = wherever("catalog", "scales")
    assert "on this machine" in out
    assert before["files"][0]["sha256"] in out
    code, _, err = wherever("catalog", "nothing")
    assert code == 1
    assert "it has: scales" in err


def crafted(archive: Path, edit: Callable[[dict[str, Any]], None], method: int = 0) -> Path:
    """The archive again, with its entries edited by a function before that."""
    with zipfile.ZipFile(archive) as good:
        entries: dict[str, Any] = {name: good.read(name) for name in good.namelist()}
    edit(entries)
    path = archive.with_name("crafted.wherever")
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, data in entries.items():
            zipped.writestr(*(data if isinstance(data, tuple) else (name, data)))
    return path


def link(name: str, to: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, to


def manifest_with(entries: dict[str, Any], path: str) -> None:
    """List a file under another path, with bytes that fit."""
    manifest = json.loads(entries["model.json"])
    data = b"#!/bin/sh\ntouch executed\n"
    manifest["files"] = [
        {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    ]
    entries["model.json"] = json.dumps(manifest).encode()
    entries[path] = data


ATTACKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "traversal": lambda entries: manifest_with(entries, "../../escaped"),
    "absolute": lambda entries: manifest_with(entries, "/tmp/escaped"),
    "unlisted traversal": lambda entries: entries.update({"../escaped": b"x"}),
    "link": lambda entries: entries.update({"small.onnx": link("small.onnx", b"/etc/passwd")}),
    "unlisted script": lambda entries: entries.update({"setup.py": b"open('executed', 'w')"}),
    "wrong digest": lambda entries: entries.update(
        {"small.onnx": bytes(len(entries["small.onnx"]))}
    ),
    "huge manifest": lambda entries: entries.update({"model.json": b" " * 5_000_000}),
    "deep manifest": lambda entries: entries.update({"model.json": b"[" * 100_000}),
    "no manifest": lambda entries: entries.pop("model.json"),
    "bomb": lambda entries: entries.update({"small.onnx": bytes(50_000_000)}),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_archive_that_is_up_to_something_is_refused_and_leaves_nothing(
    answered: Callable[..., dict[str, Any]],
    archive: Path,
    web: str,
    models: Path,
    tmp_path: Path,
    attack: str,
) -> None:
    bad = crafted(archive, ATTACKS[attack], zipfile.ZIP_DEFLATED)
    before = everything(tmp_path)
    for source in (bad, f"{web}/{bad.name}"):
        answered("add", source, code=1)
        assert standing(models) == []
        assert leftovers(models) == []
    assert everything(tmp_path) == before
    assert not Path("/tmp/escaped").exists()
    assert [path.name for path in (models / ".downloads").glob("*")] == []


def everything(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize("data", [b"", b"not a zip", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused_in_words(
    wherever: Command, tmp_path: Path, data: bytes
) -> None:
    bad = tmp_path / "bad.wherever"
    bad.write_bytes(data)
    code, _, err = wherever("add", bad)
    assert code == 1
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_a_directory_with_a_link_is_refused(
    wherever: Command, package: Package, models: Path
) -> None:
    (package.root / "small.onnx").unlink()
    (package.root / "small.onnx").symlink_to("/etc/passwd")
    code, _, err = wherever("add", package.root)
    assert code == 1
    assert "a link" in err
    assert not models.exists() or standing(models) == []


def test_installers_at_once_take_turns(package: Package, archive: Path, own_home: Path) -> None:
    sources = [str(package.root), str(archive)] * 4
    with ThreadPoolExecutor(8) as pool:
        added = list(pool.map(lambda source: Installer(own_home).install(source), sources))
    assert {each.digest for each in added} == {package.digest}
    known(own_home / "models").verify()
    assert leftovers(own_home / "models") == []


def test_what_a_killed_installer_left_is_finished_or_undone(
    wherever: Command,
    build_scales: Callable[..., Package],
    package: Package,
    models: Path,
    tmp_path: Path,
) -> None:
    newer = build_scales(tmp_path / "newer", version="1.1.0")
    wherever("add", package.root)
    shutil.copytree(newer.root, models / "scales-1.0.0~new")
    shutil.copytree(newer.root, models / "scales-1.1.0~new")
    (models / ".staging-killed" / "package").mkdir(parents=True)
    for name, age_s in (("recent.partial", 0), ("stale.partial", 8 * 24 * 3600)):
        (models / ".downloads").mkdir(exist_ok=True)
        (models / ".downloads" / name).touch()
        os.utime(models / ".downloads" / name, (time.time() - age_s,) * 2)

    assert wherever("add", package.root)[0] == 0

    assert standing(models) == ["scales-1.0.0", "scales-1.1.0"]
    assert leftovers(models) == []
    assert [path.name for path in (models / ".downloads").iterdir()] == ["recent.partial"]
    assert known(models).version == "1.1.0"


def test_a_file_that_had_come_before_the_kill_is_not_fetched_again(
    listed: Path, package: Package, own_home: Path, models: Path
) -> None:
    file = package.manifest.variant("small").files[0]
    (models / ".downloads").mkdir(parents=True)
    shutil.move(listed / file.path, models / ".downloads" / f"{file.sha256}-{file.path}")
    Installer(own_home).fetch("scales").verify()


def test_a_bad_file_of_one_address_is_had_from_the_next(
    package: Package, listed: Path, own_home: Path, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "small.onnx").write_bytes(b"something else")
    Installer(own_home).fetch("scales").verify()


KILLED = """
import json, os, signal, sys
from pathlib import Path
from wherever_contracts.errors import ModelNotFoundError
from wherever_edge.packages.archive import unpack
from wherever_edge.packages.golden import make_golden
from wherever_edge.packages.install import Installer
from wherever_edge.packages.store import Store

home, old, new, first = Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4] == "first"
models = home / "models"

def found():
    try:
        package = Store(added=[models], builtin=False).get("scales")
    except ModelNotFoundError:
        return "nothing"
    package.verify()
    return package.manifest.summary

def install_until(point):
    steps = 0
    def count(event, arguments):
        nonlocal steps
        if event in ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"):
            if str(home) in str(arguments[0]):
                steps += 1
                if steps == point:
                    os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    Installer(home).install(new, replace=True)
    os._exit(0)

seen, point = [], 0
while True:
    if not first:
        Installer(home).install(old, replace=True)
    point += 1
    child = os.fork()
    if child == 0:
        install_until(point)
    _, status = os.waitpid(child, 0)
    seen.append(found())
    if status == 0:
        break
    assert os.WTERMSIG(status) == signal.SIGKILL, status
    if first and seen[-1] == "new":
        Installer(home).remove("scales", Store(builtin=False))
Installer(home).install(new, replace=True)
print(json.dumps({"seen": seen, "left": sorted(p.name for p in models.iterdir())}))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork and no SIGKILL")
@pytest.mark.parametrize(("order", "states"), [("first", {"nothing"}), ("then", {"old"})])
@pytest.mark.parametrize("form", ["directory", "archive"])
def test_an_installer_killed_at_any_step_leaves_the_old_one_or_the_new_one(
    build_scales: Callable[..., Package],
    tmp_path: Path,
    own_home: Path,
    order: str,
    states: set[str],
    form: str,
) -> None:
    sources = []
    for summary in ("old", "new"):
        made = build_scales(tmp_path / summary, summary=summary)
        sources.append(made.root)
        if form == "archive":
            sources[-1] = tmp_path / f"{summary}.wherever"
            write_archive(made, sources[-1])
    command = [sys.executable, "-c", KILLED, str(own_home), *map(str, sources), order]
    report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    seen = report["seen"]
    assert len(seen) > 10
    assert set(seen[:-1]) <= {*states, "new"}
    assert states <= set(seen)
    assert seen[-1] == "new"
    assert report["left"] == [".lock", ".origins", "scales-1.0.0"]
