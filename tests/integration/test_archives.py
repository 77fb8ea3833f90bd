"""Archives: equal bytes for equal packages, and nothing that is wrong with one gets to the disk."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import stat
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import (
    ArchiveError,
    DigestError,
    ExtraFileError,
    ManifestError,
    MissingFileError,
    PackageError,
    UnsafePathError,
)
from wherever_convert.builder import build_package
from wherever_edge.packages.archive import archive_name, unpack, write_archive
from wherever_edge.packages.inspection import Limits
from wherever_edge.packages.store import Store, open_package

REGULAR = stat.S_IFREG | 0o644


@pytest.fixture(scope="module")
def package(build_scales, tmp_path_factory):
    return build_scales(tmp_path_factory.mktemp("package") / "scales")


@pytest.fixture(scope="module")
def archive(package, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / archive_name(package)
    write_archive(package, path)
    return path


@pytest.fixture
def into(tmp_path):
    return tmp_path / "unpacked"


@pytest.fixture
def crafted(archive, tmp_path):
    """Writes the archive again, with its entries edited by a function before that."""

    def craft(edit=lambda entries: None, method=zipfile.ZIP_STORED):
        with zipfile.ZipFile(archive) as good:
            entries = {name: good.read(name) for name in good.namelist()}
        edit(entries)
        path = tmp_path / "crafted.wherever"
        with zipfile.ZipFile(path, "w", method) as zipped:
            for name, data in entries.items():
                zipped.writestr(*(data if isinstance(data, tuple) else (name, data)))
        return path

    return craft


def entry(name, mode=REGULAR, **attributes):
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    for attribute, value in attributes.items():
        setattr(info, attribute, value)
    return info


def patched(path, name, at, form, *values):
    """Overwrite a field of an entry in the table at the end, which is what readers believe."""
    data = bytearray(path.read_bytes())
    place = data.index(b"PK\x01\x02")
    while not data.startswith(name.encode(), place + 46):
        place = data.index(b"PK\x01\x02", place + 4)
    struct.pack_into(form, data, place + at, *values)
    path.write_bytes(data)
    return path


FLAGS, METHOD, CRC, PACKED_SIZE, SIZE, HEADER_OFFSET = 8, 10, 16, 20, 24, 42


def refused(path, into, kind=PackageError, limits=None):
    """The error with which `path` is refused, after which nothing of it may be left."""
    with pytest.raises(kind) as caught:
        unpack(path, into, limits)
    assert not into.exists() or list(into.iterdir()) == []
    return caught.value


def test_what_is_unpacked_is_what_was_packed(package, archive, into):
    root = unpack(archive, into)
    again = open_package(root)
    again.verify()
    assert again.digest == package.digest
    assert root.name == f"scales-1.0.0-{package.digest[:16]}"
    assert [path.name for path in into.iterdir()] == [root.name]
    assert archive.name == "scales-1.0.0.wherever"


def test_equal_packages_give_equal_archives(build_scales, archive, tmp_path):
    other = build_scales(tmp_path / "elsewhere" / "scales")
    for path in other.root.iterdir():
        os.utime(path, (0, 0))
    write_archive(other, tmp_path / "other.wherever")
    assert (tmp_path / "other.wherever").read_bytes() == archive.read_bytes()


def test_an_archive_replaces_an_old_one_and_leaves_nothing_beside_it(package, tmp_path):
    path = tmp_path / "a.wherever"
    path.write_bytes(b"old")
    write_archive(package, path)
    assert zipfile.is_zipfile(path)
    assert [each.name for each in tmp_path.iterdir()] == ["a.wherever"]


def test_a_damaged_package_is_not_packed_and_the_old_archive_stays(build_scales, tmp_path):
    package = build_scales(tmp_path / "scales")
    path = tmp_path / "a.wherever"
    path.write_bytes(b"old")
    os.truncate(package.root / "small.onnx", 3)
    with pytest.raises(DigestError):
        write_archive(package, path)
    assert path.read_bytes() == b"old"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.wherever", "scales"]


def test_an_archive_may_lack_a_variant(build_scales, tmp_path, into):
    package = build_scales(tmp_path / "scales")
    (package.root / "large.onnx").unlink()
    write_archive(open_package(package.root), tmp_path / "a.wherever")
    unpacked = open_package(unpack(tmp_path / "a.wherever", into))
    assert [variant.id for variant in unpacked.present()] == ["small"]


def test_files_in_folders_keep_their_places(build_scales, tmp_path, into):
    root = tmp_path / "scales"
    data = json.loads((build_scales(root).root / "model.json").read_bytes())
    (root / "model.json").unlink()
    (root / "labels" / "de").mkdir(parents=True)
    (root / "labels" / "de" / "größe.txt").write_text("links\nrechts\n")
    (root / "labels" / "empty").touch()
    data["files"] = [{"path": "labels/de/größe.txt"}, {"path": "labels/empty"}]
    data["variants"][1]["files"].append({"path": "labels/empty"})
    write_archive(build_package(root, data), tmp_path / "a.wherever")
    unpacked = unpack(tmp_path / "a.wherever", into)
    open_package(unpacked).verify()
    assert (unpacked / "labels" / "de" / "größe.txt").read_text() == "links\nrechts\n"


def test_what_is_already_unpacked_is_not_written_again(archive, into):
    root = unpack(archive, into)
    before = (root / "small.onnx").stat().st_ino
    assert unpack(archive, into) == root
    assert (root / "small.onnx").stat().st_ino == before


def test_a_damaged_unpacked_package_is_replaced(archive, into):
    root = unpack(archive, into)
    (root / "small.onnx").write_bytes(b"")
    assert unpack(archive, into) == root
    open_package(root).verify()
    assert [path.name for path in into.iterdir()] == [root.name]


def test_two_packages_of_one_version_do_not_replace_each_other(
    build_scales, archive, tmp_path, into
):
    other = build_scales(tmp_path / "scales", summary="another")
    write_archive(other, tmp_path / "other.wherever")
    assert unpack(archive, into) != unpack(tmp_path / "other.wherever", into)


def test_many_threads_that_unpack_at_once_get_one_whole_package(archive, into):
    with ThreadPoolExecutor(8) as pool:
        (root,) = set(pool.map(lambda _: unpack(archive, into), range(16)))
    open_package(root).verify()
    assert [path.name for path in into.iterdir()] == [root.name]


def test_a_process_that_was_faster_keeps_its_package_in_place(archive, into, monkeypatch):
    real = shutil.disk_usage

    def usage(path):
        monkeypatch.undo()
        usage.inode = (unpack(archive, into) / "small.onnx").stat().st_ino
        return real(path)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    root = unpack(archive, into)
    assert (root / "small.onnx").stat().st_ino == usage.inode
    assert [path.name for path in into.iterdir()] == [root.name]


def test_compressed_entries_folders_and_zip64_are_read_too(crafted, archive, into, monkeypatch):
    compressed = crafted(method=zipfile.ZIP_DEFLATED)
    assert compressed.stat().st_size < archive.stat().st_size
    assert open_package(unpack(compressed, into)).name == "scales"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    large = crafted()
    assert b"PK\x06\x06" in large.read_bytes()
    assert open_package(unpack(large, into / "zip64")).name == "scales"


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/etc/evil",
        "a/../../evil",
        "a//b",
        "./evil",
        "a\\..\\evil",
        "C:/evil",
        "C:evil",
        "NUL",
        "evil.",
        "evil\x1b[2J",
        "..",
        "/",
        "",
    ],
)
def test_a_name_that_leads_elsewhere_is_refused(crafted, into, tmp_path, name):
    path = crafted(lambda entries: entries.update(evil=(entry(name), b"evil")))
    error = refused(path, into, UnsafePathError)
    assert error.expected == "a plain relative path"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["crafted.wherever"]


def test_a_name_that_hides_behind_a_nul_byte_is_refused(crafted, into):
    path = crafted(lambda entries: entries.update(extra=("small.onnx.txt", b"")))
    data = path.read_bytes().replace(b"small.onnx.txt", b"small.onnx\0txt")
    path.write_bytes(data)
    refused(path, into, UnsafePathError)


@pytest.mark.parametrize(
    ("mode", "found"),
    [
        (stat.S_IFLNK | 0o777, "a link"),
        (stat.S_IFIFO | 0o644, "neither a file nor a directory"),
        (stat.S_IFCHR | 0o644, "neither a file nor a directory"),
        (stat.S_IFBLK | 0o644, "neither a file nor a directory"),
        (stat.S_IFSOCK | 0o644, "neither a file nor a directory"),
        (stat.S_IFDIR | 0o755, "neither a file nor a directory"),
    ],
)
def test_links_and_devices_are_refused_even_with_the_right_content(crafted, into, mode, found):
    def edit(entries):
        entries["small.onnx"] = (entry("small.onnx", mode), entries["small.onnx"])

    error = refused(crafted(edit), into, UnsafePathError)
    assert (error.file, error.found) == ("small.onnx", found)


def test_a_link_to_a_folder_with_files_behind_it_is_refused(crafted, into):
    def edit(entries):
        entries["out"] = (entry("out", stat.S_IFLNK | 0o777), b"/tmp")
        entries["out/evil"] = b"evil"

    refused(crafted(edit), into, UnsafePathError)


def test_a_folder_that_holds_bytes_is_refused(crafted, into):
    path = crafted(lambda entries: entries.update({"x": (entry("folder/", 0), b"")}))
    refused(patched(path, "folder/", SIZE, "<L", 9), into, UnsafePathError)


@pytest.mark.parametrize("name", ["small.onnx", "Small.ONNX", "small.onnx/"])
def test_a_name_that_comes_twice_is_refused(crafted, into, name):
    def edit(entries):
        entries["again"] = (entry(name, 0), b"" if name.endswith("/") else entries["small.onnx"])

    same = name == "small.onnx"
    with pytest.warns(UserWarning, match="Duplicate name") if same else nullcontext():
        path = crafted(edit)
    assert refused(path, into, ArchiveError).expected == "every name once"


@pytest.mark.parametrize(
    ("edit", "kind", "file"),
    [
        (lambda entries: entries.pop("model.json"), MissingFileError, "model.json"),
        (lambda entries: entries.update({"model.json": b"{}"}), ManifestError, "model.json"),
        (lambda entries: entries.update({"model.json": b"?"}), ManifestError, "model.json"),
        (
            lambda entries: entries.update({"model.json": b" " * (4 * 1024**2 + 1)}),
            ArchiveError,
            "model.json",
        ),
        (lambda entries: entries.update(extra=b""), ExtraFileError, "extra"),
        (lambda entries: entries.update({"extra/": b""}), ExtraFileError, "extra"),
        (lambda entries: entries.update({"small.onnx": b"short"}), DigestError, "small.onnx"),
        (
            lambda entries: (entries.pop("small.onnx"), entries.pop("large.onnx")),
            MissingFileError,
            "small.onnx",
        ),
    ],
)
def test_an_archive_that_does_not_fit_its_manifest_is_refused(crafted, into, edit, kind, file):
    assert refused(crafted(edit), into, kind).file == file


def test_other_bytes_of_the_right_length_are_refused(crafted, into):
    def edit(entries):
        entries["small.onnx"] = entries["small.onnx"][::-1]

    error = refused(crafted(edit), into, DigestError)
    assert (error.file, error.field) == ("small.onnx", "variants.small.files.0.sha256")


@pytest.mark.parametrize("flags", [0x1, 0x41, 0x2000])
def test_encrypted_entries_are_refused(crafted, into, flags):
    path = patched(crafted(), "small.onnx", FLAGS, "<H", flags)
    assert refused(path, into, ArchiveError).found == "an encrypted entry"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_other_compression_methods_are_refused(crafted, into, method):
    path = patched(crafted(), "small.onnx", METHOD, "<H", method)
    assert refused(path, into, ArchiveError).expected == "a stored or deflated entry"


def test_a_second_name_in_an_extra_field_is_refused(crafted, into):
    name = b"small.onnx"
    other = b"large.onnx"
    body = struct.pack("<BL", 1, zlib.crc32(name)) + other
    extra = struct.pack("<HH", 0x7075, len(body)) + body

    def edit(entries):
        entries["small.onnx"] = (entry("small.onnx", extra=extra), entries["small.onnx"])

    path = crafted(edit)
    with zipfile.ZipFile(path) as zipped:
        renamed = any(info.filename != info.orig_filename for info in zipped.infolist())
    if renamed:  # Pythons that heed the field
        refused(path, into)
    else:
        assert open_package(unpack(path, into)).name == "scales"


def test_a_hundred_thousand_entries_are_refused_before_they_are_read(tmp_path, into):
    path = tmp_path / "many.wherever"
    with zipfile.ZipFile(path, "w") as zipped:
        for number in range(100_000):
            zipped.writestr(zipfile.ZipInfo(f"{number}"), b"")
    tracemalloc.start()
    try:
        error = refused(path, into, ArchiveError)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "table of entries of at most 4194304 bytes" in error.expected
    assert peak < 1024**2


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(files=2), "at most 2 files"),
        (Limits(total_bytes=100), "at most 100 bytes unpacked"),
        (Limits(directory_bytes=10), "a table of entries of at most 10 bytes"),
    ],
)
def test_limits_are_said_with_what_was_found(archive, into, limits, expected):
    error = refused(archive, into, ArchiveError, limits)
    assert error.file == archive.name
    assert expected in error.expected
    assert error.found.split()[0].isdigit()


def zeros(path, size):
    """An archive whose manifest promises `size` zeros, deflated to a thousandth."""
    digest = hashlib.sha256(bytes(size)).hexdigest()
    tensor = {"name": "x", "dtype": "float32", "shape": [1]}
    manifest = {
        "schema": "1.0",
        "name": "bomb",
        "version": "1.0.0",
        "boundary": "anywhere",
        "reference": "v",
        "signature": {
            "inputs": [{**tensor, "kind": "tensor"}],
            "outputs": [tensor],
            "value": {"kind": "tensors"},
        },
        "variants": [
            {
                "id": "v",
                "format": "onnx",
                "precision": "float32",
                "files": [{"path": "v.onnx", "sha256": digest, "bytes": size}],
                "tensors": {"inputs": [tensor], "outputs": [tensor]},
            }
        ],
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("model.json", json.dumps(manifest))
        zipped.writestr("v.onnx", bytes(size))
    return path


def test_an_honest_bomb_is_refused_by_its_ratio(tmp_path, into):
    path = zeros(tmp_path / "bomb.wherever", 64 * 1024**2)
    error = refused(path, into, ArchiveError)
    assert "bytes unpacked for its size" in error.expected
    assert unpack(zeros(tmp_path / "small.wherever", 1024**2 // 2), into)


def test_a_bomb_that_lies_about_its_size_never_gets_beyond_what_it_said(tmp_path, into):
    path = zeros(tmp_path / "bomb.wherever", 16 * 1024**2)
    with zipfile.ZipFile(path) as zipped:
        manifest = json.loads(zipped.read("model.json"))
        packed = zipped.getinfo("v.onnx").compress_size
        blob = path.read_bytes()[zipped.getinfo("v.onnx").header_offset :][36 : 36 + packed]
    assert zlib.decompressobj(-15).decompress(blob, 10) == bytes(10)
    for said in (1000, packed):
        manifest["variants"][0]["files"][0] = {
            "path": "v.onnx",
            "sha256": hashlib.sha256(bytes(said)).hexdigest(),
            "bytes": said,
        }
        with zipfile.ZipFile(path, "w") as zipped:
            zipped.writestr("model.json", json.dumps(manifest))
            zipped.writestr("v.onnx", blob)
        patched(path, "v.onnx", METHOD, "<H", zipfile.ZIP_DEFLATED)
        patched(path, "v.onnx", SIZE, "<L", said)
        refused(path, into)


def test_an_entry_that_is_shorter_than_it_says_is_refused(crafted, into):
    whole = crafted(method=zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(whole) as zipped:
        packed = zipped.getinfo("small.onnx").compress_size
    refused(patched(whole, "small.onnx", PACKED_SIZE, "<L", packed - 5), into)


def test_entries_that_share_their_bytes_are_refused(crafted, into):
    path = crafted()
    with zipfile.ZipFile(path) as zipped:
        offset = zipped.getinfo("large.onnx").header_offset
    patched(path, "small.onnx", HEADER_OFFSET, "<L", offset)
    refused(path, into, ArchiveError)


def test_an_entry_that_reaches_into_the_table_is_refused(crafted, into):
    path = crafted()
    size = path.stat().st_size
    refused(patched(path, "small.onnx", PACKED_SIZE, "<L", size), into, ArchiveError)


def test_an_archive_inside_an_archive_is_just_a_file_that_nobody_listed(crafted, archive, into):
    path = crafted(lambda entries: entries.update({"inner.wherever": archive.read_bytes()}))
    assert refused(path, into, ExtraFileError).file == "inner.wherever"


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"PK",
        lambda data: b"not a zip at all" * 10,
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data[len(data) // 2 :],
        lambda data: data + b"x",
        lambda data: data[:-2] + b"\x01\x00" + b"c",
        lambda data: data[:-6] + struct.pack("<L", 2**32 - 1) + data[-2:],
        lambda data: data[:-10] + struct.pack("<L", 2**32 - 1) + data[-6:],
        lambda data: data[:-10] + struct.pack("<L", 0) + data[-6:],
        lambda data: b"\0" * 10 + data[10:],
    ],
)
def test_a_damaged_archive_is_refused_in_words(archive, tmp_path, into, damage):
    path = tmp_path / "damaged.wherever"
    path.write_bytes(damage(archive.read_bytes()))
    error = refused(path, into)
    assert error.expected
    assert error.found


@pytest.mark.parametrize("offset", [0, 1, 10**18])
def test_a_zip64_end_that_points_elsewhere_is_refused(crafted, into, monkeypatch, offset):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    path = crafted()
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, len(data) - 22 - 20 + 8, offset)
    path.write_bytes(data)
    assert refused(path, into, ArchiveError).found == "something else"


def test_a_zip64_table_is_bounded_too(crafted, into, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    path = crafted()
    data = bytearray(path.read_bytes())
    struct.pack_into("<Q", data, len(data) - 22 - 20 - 56 + 40, 2**40)
    path.write_bytes(data)
    assert "table of entries" in refused(path, into, ArchiveError).expected


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    changes=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=8)),
        min_size=1,
        max_size=4,
    ),
    cut=st.floats(0, 1),
)
def test_whatever_is_overwritten_an_archive_is_refused_or_gives_the_same_package(
    package, archive, tmp_path_factory, changes, cut
):
    data = bytearray(archive.read_bytes())
    for place, new in changes:
        start = int(place * len(data))
        data[start : start + len(new)] = new
    if cut > 0.9:
        del data[int(cut * len(data)) :]
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "fuzz.wherever").write_bytes(data)
    try:
        root = unpack(folder / "fuzz.wherever", folder / "into")
    except PackageError:
        assert not (folder / "into").exists() or not list((folder / "into").iterdir())
    else:
        open_package(root).verify()
        if open_package(root).digest == package.digest:
            assert (root / "small.onnx").read_bytes() == (package.root / "small.onnx").read_bytes()


def test_an_archive_that_is_not_there_is_said(tmp_path, into):
    assert refused(tmp_path / "none.wherever", into).found == "No such file or directory"


def test_a_place_that_is_a_file_is_said(archive, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ArchiveError, match="to be unpacked into"):
        unpack(archive, tmp_path / "file")


def test_an_archive_that_needs_more_room_than_there_is_writes_nothing(archive, into, monkeypatch):
    class Full:
        free = 100

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Full)
    error = refused(archive, into, ArchiveError)
    assert error.found == "100 bytes free"


def in_process(code, *arguments, **options):
    """Run code in a process of its own, which has wherever's modules imported."""
    imports = """
import os, resource, signal, sys
from pathlib import Path
from wherever_contracts.errors import PackageError
from wherever_edge.packages import archive
from wherever_edge.packages.archive import unpack
"""
    command = [sys.executable, "-c", imports + code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def test_a_write_that_fails_midway_leaves_nothing_and_is_said(archive, into):
    """The kernel refuses the write: the largest file a process may write is set to 100 bytes."""
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
except PackageError as error:
    print(error)
"""
    done = in_process(code, archive, into)
    assert done.stderr == ""
    assert "to be unpacked into" in done.stdout
    assert "File too large" in done.stdout
    assert list(into.iterdir()) == []


@pytest.mark.full
def test_a_disk_that_fills_up_midway_leaves_nothing_and_is_said(archive, tmp_path):
    """A file system with room for the bytes and not for the files, in a namespace of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    code = """
import subprocess
mount = ["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=6", "none", sys.argv[2]]
subprocess.run(mount, check=True)
into = Path(sys.argv[2]) / "into"
try:
    unpack(Path(sys.argv[1]), into)
except PackageError as error:
    print(error, list(into.iterdir()))
"""
    command = ["unshare", "--user", "--map-root-user", "--mount", sys.executable, "-c"]
    imports = (
        "import sys\nfrom pathlib import Path\nfrom wherever_contracts.errors import PackageError\n"
    )
    imports += "from wherever_edge.packages.archive import unpack\n"
    done = subprocess.run(
        [*command, imports + code, archive, place], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("No space left on device []")


KILLED = """
point, count = sys.argv[3], int(sys.argv[4])
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def on(module, name):
    real = getattr(module, name)
    def wrapped(*arguments, **options):
        global count
        count -= 1
        if count < 0:
            die()
        return real(*arguments, **options)
    setattr(module, name, wrapped)
if point == "fsync":
    on(os, "fsync")
else:
    on(Path, "rename")
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
print("done")
"""


@pytest.mark.parametrize(("point", "count"), [*(("fsync", n) for n in range(6)), ("rename", 0)])
def test_a_process_killed_at_any_step_leaves_nothing_or_the_whole(archive, into, point, count):
    done = in_process(KILLED, archive, into, point, count)
    assert done.returncode in {-signal.SIGKILL, 0}
    visible = [path for path in into.iterdir() if not path.name.startswith(".")]
    for path in visible:
        open_package(path).verify()
    assert visible or done.returncode
    open_package(unpack(archive, into)).verify()


@pytest.mark.parametrize("size", [0, 1, 500, 2000, 100_000, 400_000])
def test_a_process_killed_at_a_byte_leaves_nothing(tmp_path, into, size):
    """The kernel kills it when a file of its would become larger than `size`."""
    path = zeros(tmp_path / "zeros.wherever", 500_000)
    code = """
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
size = int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
"""
    assert in_process(code, path, into, size).returncode == -signal.SIGXFSZ
    assert all(left.name.startswith(".unpacking-") for left in into.iterdir())
    assert Store([into], builtin=False).list() == []
    open_package(unpack(path, into)).verify()


def test_the_steps_at_which_it_was_killed_were_all_there_are(archive, into):
    assert in_process(KILLED, archive, into, "fsync", 5).returncode == 0
    assert in_process(KILLED, archive, into / "next", "fsync", 4).returncode != 0


def test_what_a_killed_process_left_is_removed_a_day_later(archive, into):
    old, young = into / ".unpacking-old", into / ".unpacking-young"
    for leftover in (old, young):
        (leftover / "new").mkdir(parents=True)
        (leftover / "new" / "half.onnx").write_bytes(b"half")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    unpack(archive, into)
    assert not old.exists()
    assert young.exists()


def test_unpacking_does_not_hold_the_files_in_memory(tmp_path, into):
    """A 64 MiB file is unpacked by a process that may have 40 MiB more than it starts with."""
    data = os.urandom(1024) * (64 * 1024)
    path = zeros(tmp_path / "large.wherever", 8)
    with zipfile.ZipFile(path) as zipped:
        manifest = json.loads(zipped.read("model.json"))
    manifest["variants"][0]["files"][0].update(
        bytes=len(data), sha256=hashlib.sha256(data).hexdigest()
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipped:
        zipped.writestr("model.json", json.dumps(manifest))
        zipped.writestr("v.onnx", data)
    path.write_bytes(buffer.getvalue())
    code = """
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
unpack(Path(sys.argv[1]), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = in_process(code, path, into)
    assert done.stderr == ""
    assert int(done.stdout) < 20 * 1024
