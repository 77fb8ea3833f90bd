"""Packages on a real disk: opened, read, verified, found."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wherever_contracts.errors import (
    ArchiveError,
    DigestError,
    ExtraFileError,
    ManifestError,
    MissingFileError,
    ModelNotFoundError,
    PackageError,
    SettingsError,
    UnsafePathError,
)
from wherever_contracts.manifest import MAX_MANIFEST_BYTES
from wherever_convert.builder import build_package
from wherever_edge.packages.archive import archive_name, write_archive
from wherever_edge.packages.store import Store, open_package


@pytest.fixture
def package(build_scales, tmp_path):
    return build_scales(tmp_path / "scales")


def edit(root, change):
    """Edit model.json as plain data."""
    path = root / "model.json"
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))


def flip(path):
    """Change one bit of a file, and nothing of its size."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def in_folder(build_scales, root):
    """The package with its graphs in a folder of their own."""
    data = json.loads((build_scales(root).root / "model.json").read_bytes())
    (root / "model.json").unlink()
    (root / "graphs").mkdir()
    for variant in data["variants"]:
        name = variant["files"][0]["path"]
        (root / name).rename(root / "graphs" / name)
        variant["files"] = [{"path": f"graphs/{name}"}]
    return build_package(root, data)


def test_a_package_says_what_it_is(package):
    opened = open_package(package.root)
    assert (opened.name, opened.version, opened.trust) == ("scales", "1.0.0", "local")
    assert opened.digest == hashlib.sha256((package.root / "model.json").read_bytes()).hexdigest()
    assert [variant.id for variant in opened.present()] == ["small", "large"]
    opened.verify()


def test_the_bytes_that_are_read_are_those_that_were_checked(package):
    (small, _) = package.present()
    data = package.read(small.files[0])
    assert hashlib.sha256(data).hexdigest() == small.files[0].sha256


def test_bytes_that_changed_after_opening_are_never_returned(package):
    entry = package.present()[0].files[0]
    flip(package.root / entry.path)
    with pytest.raises(DigestError) as caught:
        package.read(entry)
    assert (caught.value.file, caught.value.field) == (
        "small.onnx",
        "variants.small.files.0.sha256",
    )
    assert caught.value.expected == entry.sha256
    with pytest.raises(DigestError):
        package.verify()
    with pytest.raises(DigestError):
        open_package(package.root).verify()


def test_a_file_that_grows_is_not_read_to_its_end(package):
    entry = package.present()[0].files[0]
    with (package.root / entry.path).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(DigestError) as caught:
        package.read(entry)
    assert caught.value.found == f"{entry.bytes + 1} bytes"


def test_a_truncated_file_is_refused_when_the_package_is_opened(package):
    os.truncate(package.root / "small.onnx", 3)
    with pytest.raises(DigestError, match="found 3 bytes"):
        open_package(package.root)


def test_a_manifest_that_changed_after_opening_does_not_verify(package):
    edit(package.root, lambda data: data.update(summary="another"))
    with pytest.raises(ManifestError, match=package.digest):
        package.verify()


def test_a_file_that_vanishes_is_missing(package):
    entry = package.present()[0].files[0]
    (package.root / entry.path).unlink()
    with pytest.raises(MissingFileError, match=r"small\.onnx"):
        package.read(entry)
    with pytest.raises(MissingFileError):
        package.verify()
    assert [variant.id for variant in open_package(package.root).present()] == ["large"]


def test_a_directory_that_became_a_file_is_refused_in_words(build_scales, tmp_path):
    package = in_folder(build_scales, tmp_path / "nested")
    shutil.rmtree(package.root / "graphs")
    (package.root / "graphs").touch()
    with pytest.raises(PackageError, match="Not a directory"):
        package.read(package.present()[0].files[0])


def test_only_files_that_the_manifest_lists_can_be_read(package):
    entry = package.present()[0].files[0]
    with pytest.raises(ValueError, match="lists no such file"):
        package.read(entry.model_copy(update={"path": "other.onnx"}))


def test_an_extra_file_is_refused_wherever_it_lies(package):
    (package.root / "cache").mkdir()
    with pytest.raises(ExtraFileError, match="cache"):
        open_package(package.root)
    (package.root / "cache").rmdir()
    (package.root / ".DS_Store").touch()
    with pytest.raises(ExtraFileError, match=r"\.DS_Store"):
        package.verify()


def test_a_link_is_refused_even_to_the_right_bytes(package, tmp_path):
    file = package.root / "small.onnx"
    entry = package.present()[0].files[0]
    outside = file.rename(tmp_path / "outside.onnx")
    file.symlink_to(outside)
    with pytest.raises(UnsafePathError, match="a link"):
        open_package(package.root)
    with pytest.raises(UnsafePathError, match="a link"):
        package.read(entry)


def test_a_directory_that_became_a_link_is_refused(build_scales, tmp_path):
    root = tmp_path / "nested"
    package = in_folder(build_scales, root)
    entry = package.present()[0].files[0]
    assert package.read(entry)
    (root / "graphs").rename(tmp_path / "elsewhere")
    (root / "graphs").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError):
        package.read(entry)
    with pytest.raises(UnsafePathError):
        open_package(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting_for_a_writer(package):
    entry = package.present()[0].files[0]
    (package.root / "small.onnx").unlink()
    os.mkfifo(package.root / "small.onnx")
    with pytest.raises(UnsafePathError, match="neither a file nor"):
        open_package(package.root)
    with pytest.raises(UnsafePathError, match="neither a file nor"):
        package.read(entry)
    with pytest.raises(MissingFileError):
        open_package(package.root / "small.onnx")


def test_the_package_directory_itself_may_be_reached_by_a_link(package, tmp_path):
    (tmp_path / "link").symlink_to(package.root)
    assert open_package(tmp_path / "link").root == package.root.resolve()


def test_a_manifest_that_is_too_large_is_not_read(package):
    with (package.root / "model.json").open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(ManifestError, match=f"found {MAX_MANIFEST_BYTES + 1} bytes"):
        open_package(package.root)


@pytest.mark.parametrize(
    ("path", "kind"), [("nowhere", MissingFileError), ("empty", MissingFileError)]
)
def test_what_is_no_package_is_refused(tmp_path, path, kind):
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind):
        open_package(tmp_path / path)


def test_a_file_in_place_of_a_directory_is_refused(package, tmp_path):
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "graphs").touch()
    data = json.loads((package.root / "model.json").read_bytes())
    for variant in data["variants"]:
        variant["files"][0]["path"] = f"graphs/{variant['id']}.onnx"
    (tmp_path / "nested" / "model.json").write_text(json.dumps(data))
    with pytest.raises(ExtraFileError, match="graphs"):
        open_package(tmp_path / "nested")
    (package.root / "model.json").rename(package.root / "gone")
    (package.root / "model.json").mkdir()
    with pytest.raises(UnsafePathError, match=r"model\.json"):
        open_package(package.root)


def test_a_directory_that_may_not_be_read_is_refused_in_words(package, monkeypatch):
    """Root may read everything, so the system's refusal is put in its mouth."""

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PackageError, match="expected something that can be read, found Permission"):
        open_package(package.root)
    monkeypatch.setattr(Path, "iterdir", refuse)
    store = Store([package.root.parent], builtin=False)
    ((path, error),) = store.refused()
    assert path == package.root.parent
    assert error.found == "Permission denied"


def test_a_directory_in_place_of_a_file_is_refused(package):
    entry = package.present()[0].files[0]
    (package.root / "small.onnx").unlink()
    (package.root / "small.onnx").mkdir()
    with pytest.raises(PackageError):
        package.read(entry)
    with pytest.raises(ExtraFileError):
        open_package(package.root)


def test_a_variants_digest_covers_what_decides_its_answers_and_nothing_else(build_scales, tmp_path):
    one = build_scales(tmp_path / "one")
    data = json.loads((one.root / "model.json").read_bytes())
    small, large = data["variants"]
    large["quality"] = [{"dataset": "d", "metric": "accuracy", "value": 0.5, "n": 3}]
    large["places"] = ["nearby"]
    small["pipeline"]["post"] = small["pipeline"]["post"][:1]
    other = build_scales(tmp_path / "other", version="2.0.0", variants=[small, large])
    assert one.variant_digest("large") == other.variant_digest("large")
    assert one.variant_digest("small") != other.variant_digest("small")
    assert one.variant_digest("small") != one.variant_digest("large")
    with pytest.raises(KeyError):
        one.variant_digest("medium")


def test_the_builder_fills_in_digests_and_sizes_and_can_be_run_again(package):
    data = json.loads((package.root / "model.json").read_bytes())
    for variant in data["variants"]:
        variant["files"] = [{"path": variant["files"][0]["path"]}]
    del data["schema"]
    given = json.dumps(data)
    once = build_package(package.root, data)
    assert once.manifest.variants == package.manifest.variants
    before = (package.root / "model.json").read_bytes()
    assert build_package(package.root, data).digest == once.digest
    assert (package.root / "model.json").read_bytes() == before
    assert json.dumps(data) == given


@pytest.mark.parametrize(
    ("change", "kind", "field"),
    [
        (lambda data: data.update(boundary="moon"), ManifestError, "boundary"),
        (lambda data: data.update(variants="many"), ManifestError, "variants"),
        (lambda data: data.update(variants=["small"]), ManifestError, "variants.0"),
        (lambda data: data.update(summary=float("nan")), ManifestError, ""),
        (lambda data: data.update(summary={1, 2}), ManifestError, ""),
        (lambda data: data.update(files=[{"path": 3}]), ManifestError, "files.0.path"),
        (
            lambda data: data.update(files=[{"path": "/etc/passwd"}]),
            UnsafePathError,
            "files.0.path",
        ),
        (lambda data: data.update(files=[{"path": "../up"}]), UnsafePathError, "files.0.path"),
        (lambda data: data.update(files=[{"path": "none.txt"}]), MissingFileError, "files.0"),
        (
            lambda data: data["variants"][0]["files"][0].update(sha256="0" * 64),
            DigestError,
            "variants.small.files.0.sha256",
        ),
        (
            lambda data: data["variants"][0]["files"][0].update(bytes=1),
            DigestError,
            "variants.small.files.0.bytes",
        ),
        (lambda data: data["variants"].pop(), ManifestError, "the manifest"),
    ],
)
def test_the_builder_refuses_what_is_wrong_and_leaves_model_json_alone(
    package, change, kind, field
):
    before = (package.root / "model.json").read_bytes()
    data = json.loads(before)
    change(data)
    with pytest.raises(kind) as caught:
        build_package(package.root, data)
    assert caught.value.field == field
    assert (package.root / "model.json").read_bytes() == before
    open_package(package.root).verify()


def test_the_builder_refuses_a_file_that_nobody_listed(package):
    data = json.loads((package.root / "model.json").read_bytes())
    (package.root / "notes.txt").touch()
    with pytest.raises(ExtraFileError, match=r"notes\.txt"):
        build_package(package.root, data)


def versions(build_scales, root, *wanted, **changes):
    for version in wanted:
        build_scales(root / version, version=version, **changes)
    return root


def test_a_store_finds_a_package_by_name_and_version(build_scales, tmp_path):
    root = versions(build_scales, tmp_path, "1.9.0", "1.10.0", "2.0.0-rc.1")
    store = Store([root], builtin=False)
    assert [p.version for p in store.list()] == ["1.9.0", "1.10.0", "2.0.0-rc.1"]
    assert store.get("scales").version == "1.10.0"
    assert store.get("scales@1").version == "1.10.0"
    assert store.get("scales@1.9").version == "1.9.0"
    assert store.get("scales@1.9.0").version == "1.9.0"
    assert store.get("scales@2").version == "2.0.0-rc.1"
    with pytest.raises(ModelNotFoundError, match=r"1\.9\.0, 1\.10\.0, 2\.0\.0-rc\.1"):
        store.get("scales@3")


def test_a_model_that_is_not_known_is_answered_with_those_that_are(package):
    store = Store([package.root], builtin=False)
    with pytest.raises(ModelNotFoundError, match=r"known: scales\); did you mean 'scales'\?"):
        store.get("scale")
    with pytest.raises(ModelNotFoundError, match="known: none"):
        Store(builtin=False).get("scales")


def test_a_refused_package_hides_no_other_and_is_told(build_scales, tmp_path):
    root = versions(build_scales, tmp_path / "packages", "1.0.0", "1.1.0")
    (root / "1.1.0" / "extra").touch()
    (root / "notes").mkdir()
    (root / ".hidden").mkdir()
    (root / ".hidden" / "model.json").touch()
    (root / "README").touch()
    store = Store([root], builtin=False)
    assert [p.version for p in store.list()] == ["1.0.0"]
    ((path, error),) = store.refused()
    assert path == root / "1.1.0"
    assert isinstance(error, ExtraFileError)
    with pytest.raises(ModelNotFoundError, match=r"refused: .*1\.1\.0"):
        store.get("other")


def test_a_directory_that_is_not_there_is_told(tmp_path):
    store = Store([tmp_path / "gone"], builtin=False)
    assert store.list() == []
    ((path, error),) = store.refused()
    assert path == tmp_path / "gone"
    assert isinstance(error, MissingFileError)


def test_the_first_of_two_different_packages_with_one_version_wins(build_scales, tmp_path):
    one = build_scales(tmp_path / "one" / "scales")
    build_scales(tmp_path / "two" / "scales", summary="another")
    build_scales(tmp_path / "three" / "scales")
    directories = [tmp_path / name for name in ("one", "two", "three")]
    store = Store(directories, builtin=False)
    assert store.get("scales").root == one.root.resolve()
    ((path, error),) = store.refused()
    assert path == tmp_path / "two" / "scales"
    assert str(one.root) in error.expected


def test_what_is_built_in_comes_with_the_wheel_and_last(package):
    builtin = Store().list()
    assert builtin
    assert {p.trust for p in builtin} == {"wheel"}
    names = {(p.name, p.trust) for p in Store([package.root]).list()}
    assert ("scales", "local") in names
    assert names >= {(p.name, "wheel") for p in builtin}
    for each in builtin:
        each.verify()


def test_a_package_of_ones_own_takes_the_place_of_a_built_in_one_quietly(build_scales, tmp_path):
    builtin = Store().list()[0]
    own = build_scales(tmp_path / "own", name=builtin.name, version=builtin.version)
    store = Store([own.root])
    assert store.get(builtin.name).digest == own.digest
    assert store.refused() == []


def test_a_store_sees_a_new_package_after_rescan(build_scales, tmp_path):
    root = versions(build_scales, tmp_path, "1.0.0")
    store = Store([root], builtin=False)
    assert store.get("scales").version == "1.0.0"
    versions(build_scales, tmp_path, "1.1.0")
    assert store.get("scales").version == "1.0.0"
    store.rescan()
    assert store.get("scales").version == "1.1.0"


def test_threads_that_ask_a_new_store_all_get_the_package(package):
    store = Store([package.root], builtin=False)
    together = threading.Barrier(8)

    def ask(_):
        together.wait()
        return store.get("scales")

    with ThreadPoolExecutor(8) as pool:
        assert len({id(found) for found in pool.map(ask, range(8))}) == 1


def test_archives_are_found_and_unpacked(package, tmp_path):
    packages = tmp_path / "packages"
    packages.mkdir()
    write_archive(package, packages / archive_name(package))
    (packages / "bad.wherever").write_bytes(b"not a zip")
    store = Store([packages], builtin=False, unpack_into=tmp_path / "unpacked")
    found = store.get("scales")
    assert found.digest == package.digest
    assert found.root.is_relative_to(tmp_path / "unpacked")
    ((path, error),) = store.refused()
    assert path.name == "bad.wherever"
    assert isinstance(error, ArchiveError)


def test_an_archive_may_be_named_itself_and_needs_a_place(package, tmp_path):
    archive = tmp_path / "a.wherever"
    write_archive(package, archive)
    shutil.rmtree(package.root)
    assert Store([archive], builtin=False, unpack_into=tmp_path / "u").get("scales")
    ((_, error),) = Store([archive], builtin=False).refused()
    assert "unpack_into" in error.found
    assert Path(archive).exists()


def test_a_home_that_nobody_may_look_into_is_refused_with_what_can_be_done(tmp_path):
    store = Store(signed=tmp_path / ("s" * 300))  # longer than any name may be
    with pytest.raises(SettingsError, match=r"WHEREVER_HOME names another directory"):
        store.get("digits")
