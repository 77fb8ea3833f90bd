"""`wherever pack` and `wherever models`, and what all commands have in common."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wherever.cli import main
from wherever_contracts.errors import NoRouteError, OverloadedError, PackageError
from wherever_edge.cli import Output, error_data, printable, progress, run
from wherever_edge.packages.store import open_package


@pytest.fixture(autouse=True)
def quiet_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture
def wherever(capsys):
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def command(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([os.fspath(argument) for argument in arguments])
        printed = capsys.readouterr()
        return caught.value.code or 0, printed.out, printed.err

    return command


@pytest.fixture
def answered(wherever):
    """What a command prints with --json, when it exits with this code."""

    def command(*arguments, code=0):
        found, out, err = wherever(*arguments, "--json")
        assert (found, err) == (code, "")
        return json.loads(out)

    return command


@pytest.fixture
def package(build_scales, tmp_path):
    return build_scales(tmp_path / "packages" / "scales", summary="Says which number is largest.")


def test_pack_writes_an_archive_and_says_what_is_in_it(wherever, package, tmp_path):
    code, out, err = wherever("pack", package.root)
    assert (code, err) == (0, "")
    archive = tmp_path / "scales-1.0.0.wherever"
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines == {
        "name": "scales",
        "version": "1.0.0",
        "digest": package.digest,
        "file": archive.name,
        "bytes": str(archive.stat().st_size),
    }
    assert open_package(archive, unpack_into=tmp_path / "unpacked").digest == package.digest


def test_pack_writes_where_it_is_told(answered, package, tmp_path):
    (tmp_path / "folder").mkdir()
    assert answered("pack", package.root, "-o", tmp_path / "a.zip")["file"].endswith("a.zip")
    assert (tmp_path / "a.zip").exists()
    answered("pack", package.root, "--output", tmp_path / "folder")
    assert (tmp_path / "folder" / "scales-1.0.0.wherever").exists()


def test_pack_refuses_a_bad_package_with_file_field_expected_and_found(
    wherever, answered, package, tmp_path
):
    os.truncate(package.root / "small.onnx", 5)
    size = package.manifest.variants[0].files[0].bytes
    code, out, err = wherever("pack", package.root)
    assert (code, out) == (1, "")
    expected = f"expected {size} bytes, found 5 bytes"
    assert err == f"error: small.onnx: variants.small.files.0.bytes: {expected}\n"
    assert answered("pack", package.root, code=1)["error"] == {
        "code": "digest",
        "message": f"small.onnx: variants.small.files.0.bytes: {expected}",
        "retryable": False,
        "file": "small.onnx",
        "field": "variants.small.files.0.bytes",
        "expected": f"{size} bytes",
        "found": "5 bytes",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


def test_pack_checks_every_byte(wherever, package, tmp_path):
    data = bytearray((package.root / "large.onnx").read_bytes())
    data[-1] ^= 1
    (package.root / "large.onnx").write_bytes(data)
    code, _, err = wherever("pack", package.root)
    assert code == 1
    assert "large.onnx: variants.large.files.0.sha256: expected" in err
    assert [path.name for path in tmp_path.iterdir()] == ["packages"]


def test_pack_does_not_put_the_archive_into_the_package(wherever, package, monkeypatch):
    monkeypatch.chdir(package.root)
    code, _, err = wherever("pack", ".")
    assert code == 1
    assert "outside of the package" in err
    open_package(package.root).verify()


def test_pack_says_that_it_cannot_write(wherever, answered, package, tmp_path):
    nowhere = tmp_path / "none" / "a.wherever"
    code, _, err = wherever("pack", package.root, "-o", nowhere)
    assert code == 1
    assert err.startswith(f"error: {nowhere.parent}")
    assert err.endswith("No such file or directory\n")
    assert answered("pack", package.root, "-o", nowhere, code=1)["error"]["code"] == "os"


def test_models_lists_packages_and_what_was_refused(wherever, package, build_scales, tmp_path):
    bad = build_scales(tmp_path / "packages" / "bad", version="2.0.0")
    (bad.root / "notes.txt").touch()
    code, out, err = wherever("models", "--packages", package.root.parent)
    assert (code, err) == (0, "")
    lines = [re.split(r"  +", line.strip()) for line in out.splitlines()]
    size = package.manifest.variants[0].files[0].bytes
    assert ["scales 1.0.0", "boundary anywhere", "trust local"] in lines
    assert ["small", "device", f"{size} B"] in lines
    assert f"refused {bad.root}" in out
    assert "notes.txt: expected only what model.json lists, found a file" in out
    assert max(len(line) for line in out.splitlines() if str(bad.root) not in line) <= 80
    assert "trust wheel" in out


def test_models_shows_one_in_words(wherever, build_scales, tmp_path):
    quality = {"dataset": "some numbers", "metric": "accuracy", "value": 0.98765, "n": 1234}
    root = tmp_path / "scales"
    data = json.loads((build_scales(root).root / "model.json").read_bytes())
    data["variants"][0]["quality"] = [quality]
    data["variants"][0]["needs"] = {
        "engines": ["onnxruntime"],
        "memory_bytes": 50_000_000,
        "cpu_features": ["avx2"],
    }
    (root / "large.onnx").unlink()
    option = {"name": "min_score", "default": 0.5, "min": 0, "max": 1, "help": "the least score"}
    build_scales(root, variants=data["variants"])
    (root / "large.onnx").unlink()
    data = json.loads((root / "model.json").read_bytes())
    data["signature"]["options"] = [option]
    (root / "model.json").write_text(json.dumps(data | {"licence": "CC0-1.0"}))
    code, out, _ = wherever("models", "scales@1", "--packages", root)
    assert code == 0
    words = " ".join(out.split())
    for expected in (
        "scales 1.0.0",
        "takes numbers: an array of float32[3]",
        "gives one of 3 labels (left, middle, right)",
        "option min_score=0.5, 0 to 1: the least score",
        "for device; needs onnxruntime, avx2, 50 MB of memory",
        "accuracy 0.9877 on 1,234 of some numbers",
        "variant large, the reference: float32, not here",
        "boundary anywhere: the data may go to gateways",
        "licence CC0-1.0",
        open_package(root).digest,
    ):
        assert expected in words


@pytest.mark.parametrize(
    ("signature", "words"),
    [
        (
            {
                "inputs": [{"name": "photo", "kind": "image"}],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [4]}],
                "value": {"kind": "embedding", "vector": "y"},
            },
            ["photo: an image", "an embedding, float32[4]"],
        ),
        (
            {
                "inputs": [{"name": "question", "kind": "text"}],
                "outputs": [{"name": "y", "dtype": "int64", "shape": [-1]}],
                "value": {"kind": "tensors"},
            },
            ["question: text", "y: int64[any]"],
        ),
        (
            {
                "inputs": [
                    {
                        "name": "digit",
                        "kind": "image",
                        "numbers": {"dtype": "uint8", "shape": [8, 8], "min": 0, "max": 16},
                    }
                ],
                "outputs": [{"name": "y", "dtype": "float32", "shape": [12]}],
                "value": {
                    "kind": "label",
                    "scores": "y",
                    "labels": [f"l{number}" for number in range(12)],
                },
            },
            ["an image, or an array of uint8[8, 8], 0 to 16", "one of 12 labels (l0,", "l9, ...)"],
        ),
        (
            {
                "inputs": [{"name": "photo", "kind": "image"}],
                "outputs": [
                    {"name": "boxes", "dtype": "float32", "shape": [-1, 4]},
                    {"name": "scores", "dtype": "float32", "shape": [-1]},
                    {"name": "classes", "dtype": "int64", "shape": [-1]},
                ],
                "value": {
                    "kind": "detections",
                    "boxes": "boxes",
                    "scores": "scores",
                    "classes": "classes",
                    "labels": ["person"],
                },
            },
            ["photo: an image", "detections, of 1 labels (person)"],
        ),
    ],
)
def test_every_kind_of_signature_has_its_words(wherever, build_scales, tmp_path, signature, words):
    root = tmp_path / "scales"
    data = json.loads((build_scales(root).root / "model.json").read_bytes())
    for variant in data["variants"]:  # steps that are not known lead anywhere
        variant["pipeline"] = {"pre": [{"op": "magic"}], "post": [{"op": "magic"}]}
    (root / "model.json").write_text(json.dumps(data | {"signature": signature}))
    _, out, _ = wherever("models", "scales", "--packages", root)
    for each in words:
        assert each in " ".join(out.split())


def test_models_as_json_has_all_that_the_text_has(answered, package, tmp_path):
    listed = answered("models", "--packages", package.root)
    assert listed["refused"] == []
    scales = next(model for model in listed["models"] if model["name"] == "scales")
    assert scales == answered("models", "scales", "--packages", package.root)
    assert scales["digest"] == package.digest
    assert scales["trust"] == "local"
    assert scales["reference"] == "large"
    assert scales["signature"]["value"]["labels"] == ["left", "middle", "right"]
    small, large = scales["variants"]
    assert (small["id"], small["here"], small["places"]) == ("small", True, ["device"])
    assert small["bytes"] == package.manifest.variants[0].files[0].bytes
    assert large["digest"] == package.variant_digest("large")


def test_models_takes_packages_archives_and_settings(wherever, answered, package, monkeypatch):
    wherever("pack", package.root)
    names = lambda listed: {model["name"] for model in listed["models"]}  # noqa: E731
    assert "scales" in names(answered("models", "--packages", "scales-1.0.0.wherever"))
    assert "scales" not in names(answered("models"))
    monkeypatch.setenv("WHEREVER_PACKAGES", str(package.root))
    assert "scales" in names(answered("models"))


def test_models_verify_finds_what_a_look_does_not(wherever, answered, package):
    data = bytearray((package.root / "large.onnx").read_bytes())
    data[-1] ^= 1
    (package.root / "large.onnx").write_bytes(data)
    assert answered("models", "--packages", package.root)["refused"] == []
    listed = answered("models", "--verify", "--packages", package.root, code=1)
    (refusal,) = listed["refused"]
    assert refusal["path"] == str(package.root)
    assert (refusal["code"], refusal["file"]) == ("digest", "large.onnx")
    assert "scales" not in {model["name"] for model in listed["models"]}
    code, out, _ = wherever("models", "scales", "--verify", "--packages", package.root)
    assert code == 1
    assert out.startswith(f"refused {package.root}\n  large.onnx: variants.large.files.0.sha256:")


def test_models_that_are_right_verify(wherever, package):
    code, out, _ = wherever("models", "--verify", "--packages", package.root)
    assert code == 0
    assert "refused" not in out


def test_a_model_that_is_not_known_is_an_error_in_words(wherever, answered, package):
    code, out, err = wherever("models", "scale", "--packages", package.root)
    assert (code, out) == (1, "")
    assert "did you mean 'scales'?" in err
    assert answered("models", "scale", code=1)["error"]["code"] == "model_not_found"


def test_a_package_cannot_steer_the_terminal_or_the_markup(wherever, build_scales, tmp_path):
    summary = "\x1b[2J\x07[bold]not bold[/bold][/]"
    metric = "[red]\x1b]0;title\x07"
    root = tmp_path / "scales"
    data = json.loads((build_scales(root).root / "model.json").read_bytes())
    quality = {"dataset": "[/x]", "metric": metric, "value": 1, "n": 1}
    data["variants"][0]["quality"] = [quality]
    build_scales(root, summary=summary, variants=data["variants"])
    for arguments in (["scales"], []):
        code, out, err = wherever("models", *arguments, "--packages", root)
        assert (code, err) == (0, "")
        assert "\x1b" not in out
        assert "\x07" not in out
        assert "[red]" in out
    (root / "\x1b[2Jevil").touch()
    _, out, err = wherever("models", "scales", "--packages", root)
    assert "\x1b" not in out + err


def on_a_terminal(code):
    """What a Python program prints to a terminal, its exit code beside it."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    text = b""
    while True:
        try:
            part = os.read(leader, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    os.close(leader)
    return process.wait(timeout=30), text.decode()


def test_progress_is_a_bar_on_a_terminal():
    code, text = on_a_terminal(
        "from wherever_edge.cli import progress\n"
        "with progress(3, 'checking') as advance:\n"
        "    advance(); advance(2)\n"
    )
    assert code == 0
    assert "checking" in text
    assert "100%" in text


def test_progress_of_unknown_length_is_shown_too():
    code, text = on_a_terminal(
        "from wherever_edge.cli import progress\n"
        "with progress(None, 'reading') as advance:\n"
        "    advance()\n"
    )
    assert code == 0
    assert "reading" in text


def test_progress_is_silent_elsewhere(capsys):
    with progress(3, "checking") as advance:
        advance()
        advance(2)
    assert capsys.readouterr() == ("", "")


def test_json_does_not_import_rich(package):
    code = (
        "import sys\n"
        "from wherever_edge.cli import Output\n"
        "Output(json=True).emit({'a': 1}, lambda: 1 / 0)\n"
        "Output().emit({'a': 1}, 'text')\n"
        "assert 'rich' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == '{\n  "a": 1\n}\ntext\n'


def test_an_interrupted_command_ends_with_130_and_no_traceback():
    code = (
        "import os, signal\n"
        "from wherever_edge.cli import run\n"
        "@run\n"
        "def command():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    signal.pause()\n"
        "command()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_reader_that_leaves_in_the_middle_is_no_error():
    code = (
        "from wherever_edge.cli import Output, run\n"
        "@run\n"
        "def command():\n"
        "    for number in range(100_000):\n"
        "        Output().emit({}, str(number))\n"
        "command()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.readline() == b"0\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 1


def test_an_error_as_data_carries_its_causes(capsys):
    error = NoRouteError("digits", [OverloadedError("busy")], {"device": "no engine"})
    Output(json=True).emit({"error": error_data(error)}, "")
    printed = json.loads(capsys.readouterr().out)["error"]
    assert printed["code"] == "no_route"
    assert printed["causes"] == [{"code": "overloaded", "message": "busy", "retryable": True}]
    assert printed["ruled_out"] == {"device": "no engine"}


def test_errors_that_nobody_expected_are_not_hidden():
    @run
    def command():
        raise KeyError("a mistake of ours")

    with pytest.raises(KeyError):
        command()


def test_values_without_a_json_form_are_printed_as_text(capsys, package):
    entry = package.manifest.variants[0].tensors.inputs[0].spec()
    Output(json=True).emit({"path": Path("a"), "spec": entry, "none": {1}}, "")
    printed = json.loads(capsys.readouterr().out)
    assert printed["path"] == "a"
    assert printed["spec"]["name"] == "x"
    assert printed["none"] == "{1}"


def test_what_steers_a_terminal_is_replaced():
    assert printable("größe 数\n") == "größe 数\n"
    assert printable("a\x1b[31m\rb\u202e") == "a\ufffd[31m\ufffdb\ufffd"


def test_an_error_without_words_has_at_least_its_name(capsys):
    @run
    def command():
        raise OSError

    with pytest.raises(SystemExit):
        command()
    assert capsys.readouterr().err == "error: OSError\n"
    assert error_data(PackageError("f", "", "a", "b"))["found"] == "b"
