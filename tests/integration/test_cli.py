"""The commands, for real: exit codes, words and JSON, and processes where these matter."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from wherever.cli import main
from wherever_edge.builtin import digits_test_split

COMMANDS = (
    "add",
    "catalog",
    "convert",
    "demo",
    "discover",
    "doctor",
    "gateway",
    "models",
    "pack",
    "pair",
    "predict",
    "publish",
    "remove",
    "repo",
    "serve",
    "status",
    "update",
)
FAMILY = "repo"  # has sub-commands alone
SUB_COMMANDS = (
    "gateway keys",
    "gateway usage",
    "pack add",
    "repo init",
    "repo keys",
    "repo refresh",
)
FOUR = "0 0 0 6 14 0 0 0 0 0 4 15 4 0 0 0 0 1 13 9 4 7 0 0 0 7 13 1 13 10 6 0 \
0 14 14 8 16 16 10 0 0 7 15 16 16 7 1 0 0 0 0 6 16 0 0 0 0 0 0 10 13 0 0 0"


@pytest.fixture(autouse=True)
def empty_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


class Done(NamedTuple):
    """What came of a command that ran in this process, said as `subprocess.run` does."""

    returncode: int
    stdout: bytes
    stderr: bytes


def wherever(*arguments):
    """A command, without the half second that a process takes to import what it needs."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
        main(list(map(os.fspath, arguments)))
    out.flush()
    err.flush()
    return Done(caught.value.code or 0, out.buffer.getvalue(), err.buffer.getvalue())


def process(*arguments, **options):
    """The same as a process, for what depends on one."""
    command = [sys.executable, "-m", "wherever", *map(os.fspath, arguments)]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


def said(done):
    """All that was printed, as one line: help and errors are wrapped to the terminal's width."""
    text = (done.stdout + done.stderr).decode(errors="surrogateescape")
    return " ".join(text.replace("│", " ").split())


def answered(*arguments, code=0, run=wherever, **options):
    done = run(*arguments, "--json", **options)
    assert done.returncode == code, said(done)
    return json.loads(done.stdout)


def test_help_lists_every_command_with_a_line_about_it():
    done = process("--help")
    assert done.returncode == 0
    lines = done.stdout.decode().splitlines()
    for name in COMMANDS:
        # what wraps begins further to the right
        (line,) = [line for line in lines if line.startswith(f"│ {name} ")]
        assert line.strip("│ .").removeprefix(name).strip()
    assert "cannot be loaded" not in said(done)


@pytest.mark.parametrize("name", sorted({*COMMANDS, *SUB_COMMANDS} - {FAMILY}))
def test_every_command_explains_itself_and_has_json(name):
    done = wherever(*name.split(), "--help")
    assert done.returncode == 0
    assert f"wherever {name} " in said(done)
    assert "--json" in said(done)


def test_a_command_names_its_sub_commands():
    for name in SUB_COMMANDS:
        family, _, member = name.partition(" ")
        assert member in said(wherever(family, "--help"))
    assert "init" in said(wherever(FAMILY))
    assert wherever(FAMILY, "inti").returncode == 2


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert said(process("--version")) == f"wherever {version('wherever')}"


def test_no_command_and_a_wrong_command_are_wrong_usage():
    assert wherever().returncode == 2
    done = process("predikt", "digits", "x")
    assert done.returncode == 2
    assert "There is no command 'predikt'. Did you mean predict?" in said(done)
    done = wherever("xyzzy")
    assert done.returncode == 2
    assert "There are: add, calibrate, catalog" in said(done)


def test_wrong_usage_is_json_too_when_json_is_wanted():
    for arguments in (
        ["predikt"],
        ["predict", "digits", "x", "--mode", "fast"],
        ["status", "--no"],
    ):
        error = answered(*arguments, code=2)["error"]
        assert error["code"] == "usage"
        assert error["message"]


def test_a_command_imports_no_other_command():
    program = (
        "import sys\n"
        "from wherever.cli import main\n"
        "try:\n    main(['predict', 'digits', sys.argv[1]])\n"
        "except SystemExit:\n    pass\n"
        "print(sorted(n for n in sys.modules if n.startswith('wherever')), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, FOUR], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("4\n")
    assert "wherever.cli.predict" in done.stderr
    for other in ("demo", "doctor", "status", "models"):
        assert f"wherever.cli.{other}" not in done.stderr
    assert "wherever_gateway" not in done.stderr
    assert "wherever_convert" not in done.stderr


def test_predict_prints_the_answer_first_and_then_why():
    done = process("predict", "digits", FOUR)
    assert done.returncode == 0
    first, second = done.stdout.decode().splitlines()
    assert first == "4"
    assert second.strip().startswith("device, confidence 1.000: first choice of mode auto")
    explained = said(wherever("predict", "digits", FOUR, "--explain"))
    assert "ran digits 1.0.0, variant mlp-int8" in explained


def test_predict_takes_images_arrays_and_standard_input(tmp_path):
    images, labels = digits_test_split()
    np.save(tmp_path / "digit.npy", images[0])
    assert answered("predict", "digits", "digit.npy")["value"]["label"] == str(labels[0])
    data = (tmp_path / "digit.npy").read_bytes()
    given = answered("predict", "digits", "-", run=process, input=data)
    assert given["value"]["label"] == str(labels[0])
    assert answered("predict", "digits", *FOUR.split())["value"]["label"] == "4"
    text = json.dumps(images[0].tolist())
    assert answered("predict", "digits", f"image={text}")["value"]["label"] == str(labels[0])


def test_predict_gives_the_whole_prediction_as_json(tmp_path):
    answer = answered("predict", "digits", FOUR, "--mode", "only_on_device", "--boundary", "device")
    assert answer["place"] == "device"
    assert answer["receipt"]["engine"] == "onnxruntime"
    assert answer["receipt"]["mode"] == "only_on_device"
    assert answer["receipt"]["boundary"] == "device"
    assert len(answer["outputs"]["scores"]) == 10


def test_predict_saves_a_picture(tmp_path):
    from PIL import Image

    answer = answered("predict", "digits", FOUR, "--plot", "answer.png")
    assert answer["plot"] == "answer.png"
    with Image.open(tmp_path / "answer.png") as picture:
        assert min(picture.size) > 100


def test_predict_uses_the_packages_it_is_given(scales_package, echo_package):
    parent = ("--packages", scales_package.root.parent)
    answer = answered("predict", "scales", "0,9,0", *parent)
    assert answer["value"]["label"] == "middle"
    done = wherever("predict", "echo", "1.5 2", "--packages", echo_package.root)
    assert done.stdout.decode().startswith("echoed: float32[2] [1.5, 2. ]\n")


def test_predict_asks_the_gateway_that_it_is_given(start_gateway, scales_package, monkeypatch):
    gateway = start_gateway(scales_package.root)
    packages = ("--packages", scales_package.root)
    answer = answered("predict", "scales", "1,1.2,1", *packages, "--gateway", gateway.address)
    assert answer["place"] == "cloud"
    assert answer["receipt"]["variant"] == "large"
    monkeypatch.setenv("WHEREVER_GATEWAYS", gateway.address)
    done = wherever("predict", "scales", "1,1.2,1", *packages)
    assert f"cloud ({gateway.address})" in said(done)
    assert "escalated" in said(done)


def test_an_unsure_answer_without_its_gateway_is_given_and_says_so(unused_address, scales_package):
    packages = ("--packages", scales_package.root)
    answer = answered("predict", "scales", "1,1.2,1", *packages, "--gateway", unused_address)
    assert (answer["place"], answer["degraded"]) == ("device", True)


NONSENSE = [
    (("predict", "digts", FOUR), "did you mean 'digits'"),
    (("predict", "digits@9", FOUR), "no version '9'"),
    (("predict", "digits", "nowhere.png"), "No such file"),
    (("predict", "digits", "nowhere.npy"), "No such file"),
    (("predict", "digits", "1 2 3"), "8 x 8 numbers from 0 to 16"),
    (("predict", "digits", "[1, 2"), "a JSON array"),
    (("predict", "digits", FOUR, "--option", "heat=1"), "expected an option of this model"),
    (("predict", "digits", FOUR, "--gateway", "a b"), "not the address of a host"),
    (("predict", "digits", FOUR, "--plot", "x.txt"), "must end in .png"),
    (("predict", "digits", FOUR, "--plot", "no/x.png"), "there is no directory"),
    (("predict", "digits", FOUR, "--deadline-s", "-1"), "greater than 0"),
    (("predict", "digits", FOUR, "--mode", "only_in_cloud"), "no place could answer"),
    (("predict", "digits", b"\xff\xfe.png"), "No such file"),
    (("predict", b"\xff\xfe", FOUR), "no model"),
    (("demo", "--save", "x.txt"), "must end in .png"),
    (("demo", "--save", "no/x.png"), "there is no directory"),
    (("status", "--gateway", "a b"), "not the address of a host"),
]


@pytest.mark.parametrize(("arguments", "words"), NONSENSE)
def test_nonsense_is_an_error_in_words_and_never_a_traceback(arguments, words):
    done = wherever(*map(os.fsdecode, arguments))
    assert done.returncode == 1
    assert words in said(done)
    assert "Traceback" not in said(done)
    assert done.stdout == b""
    error = answered(*map(os.fsdecode, arguments), code=1)["error"]
    assert words in error["message"]
    assert error["code"] not in ("", "error")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("predict", "digits"), "takes image (an image file, or 8 x 8 numbers)"),
        (("predict",), "MODEL"),
        (("predict", "digits", FOUR, "--mode", "fast"), "only_on_device"),
        (("predict", "digits", FOUR, "--boundary", "moon"), "anywhere"),
        (("predict", "digits", FOUR, "--option", "heat"), "NAME=VALUE"),
        (("predict", "digits", FOUR, "--option", "mode=1"), "not a model's option"),
        (("predict", "digits", FOUR, "--deadline-s", "soon"), "number"),
        (("doctor", "--timeout-s", "0"), "0.01"),
    ],
)
def test_wrong_usage_says_what_would_be_right(arguments, words):
    done = wherever(*arguments)
    assert done.returncode == 2
    assert words in said(done)


def test_a_broken_package_directory_is_said_and_the_call_goes_on(tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "model.json").write_text("{")
    done = wherever("predict", "digits", FOUR, "--packages", "broken")
    assert done.returncode == 0
    assert done.stdout.decode().startswith("4\n")
    assert b"warning: " in done.stderr
    assert "model.json" in said(done)
    assert wherever("doctor", "--packages", "broken").returncode == 1
    (problem,) = answered("status", "--packages", "broken")["problems"]
    assert "model.json" in problem


@pytest.mark.parametrize("arguments", [("predict", "digits", FOUR), ("status",), ("doctor",)])
def test_a_reader_that_left_is_no_reason_for_a_traceback(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "wherever", *arguments]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert done.stderr == b""
    assert done.returncode == 1


def test_closed_output_is_no_reason_for_a_traceback():
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m wherever predict digits "$1" >&-', sys.executable, FOUR],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_output_that_knows_ascii_alone_is_no_reason_for_a_traceback():
    for arguments in (("--help",), ("status",), ("doctor",)):
        done = process(*arguments, env={**os.environ, "PYTHONIOENCODING": "ascii"})
        assert done.returncode == 0, said(done)


def test_status_shows_models_and_places(unused_address):
    status = answered("status", "--gateway", unused_address)
    assert [model["name"] for model in status["models"]] == ["digits"]
    assert [place["host"] for place in status["places"]] == ["device", unused_address]
    assert "probes" not in status
    assert "digits 1.0.0" in said(wherever("status"))


def test_status_asks_the_gateways_when_told_to(start_gateway, unused_address):
    there = start_gateway().address
    gateways = ("--gateway", there, "--gateway", unused_address)
    assert answered("status", "--gateway", there, "--probe")["probes"][0]["ok"]
    probes = answered("status", *gateways, "--probe", code=1)["probes"]
    assert [(probe["address"], probe["ok"]) for probe in probes] == [
        (there, True),
        (unused_address, False),
    ]
    words = said(wherever("status", *gateways, "--probe"))
    assert f"{there} ready, asked in" in words
    assert "could not be reached" in words


def states(report, area):
    return {finding["state"] for finding in report["findings"] if finding["area"] == area}


def test_the_doctor_finds_a_whole_installation_well():
    report = answered("doctor", run=process)
    assert report["state"] == "ok"
    areas = {finding["area"] for finding in report["findings"]}
    assert areas == {
        "machine",
        "installed",
        "engines",
        "settings",
        "state",
        "packages",
        "network",
        "gateways",
    }
    engines = [f["text"] for f in report["findings"] if f["area"] == "engines"]
    assert [text.split()[0] for text in engines] == ["litert", "onnxruntime", "openvino"]
    assert all("of 20 digits read right" in text for text in engines)
    assert "CPUExecutionProvider, mlp-int8 in int8" in engines[1]
    assert "mlp-openvino in float32" in engines[2]


def test_the_doctor_fails_when_a_gateway_is_not_there_or_says_nothing(
    start_gateway, unused_address, silent_listener
):
    there = start_gateway().address
    assert states(answered("doctor", "--gateway", there), "gateways") == {"ok"}
    report = answered("doctor", "--gateway", unused_address, code=1)
    (finding,) = [f for f in report["findings"] if f["area"] == "gateways"]
    assert finding["state"] == "fail"
    assert "wherever gateway" in finding["mend"]
    report = answered("doctor", "--gateway", silent_listener.address, "--timeout-s", "0.3", code=1)
    assert states(report, "gateways") == {"fail"}


def test_the_doctor_says_which_models_a_gateway_lacks(start_gateway, scales_package):
    address = start_gateway().address
    report = answered("doctor", "--gateway", address, "--packages", scales_package.root)
    ready, lacks = [f for f in report["findings"] if f["area"] == "gateways"]
    assert f"{address} (wherever " in ready["text"]
    assert lacks["state"] == "warn"
    assert "does not serve scales" in lacks["text"]


def test_the_doctor_survives_settings_that_are_wrong(monkeypatch):
    monkeypatch.setenv("WHEREVER_MODE", "fast")
    report = answered("doctor", code=1)
    (finding,) = [f for f in report["findings"] if f["area"] == "settings"]
    assert "'mode'" in finding["text"]
    assert states(report, "engines") == {"ok"}


def test_the_doctor_sees_a_damaged_package(build_scales, tmp_path):
    root = build_scales(tmp_path / "scales").root
    model = bytearray((root / "small.onnx").read_bytes())
    model[-1] ^= 1
    (root / "small.onnx").write_bytes(model)
    report = answered("doctor", "--packages", root, code=1)
    (finding,) = [f for f in report["findings"] if f["state"] == "fail"]
    assert "scales 1.0.0 (local) is damaged" in finding["text"]


@pytest.mark.parametrize("arguments", [("predict", "digits", FOUR), ("status",), ("doctor",)])
def test_on_a_terminal_the_same_is_printed_in_columns(arguments):
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "wherever", *arguments]
    with subprocess.Popen(command, stdout=follower, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(follower)
        printed = _read_all(leader)
    assert process.returncode == 0
    assert "\x1b[" in printed
    assert "Traceback" not in printed


def _read_all(descriptor):
    parts = []
    try:
        while part := os.read(descriptor, 65536):
            parts.append(part)
    except OSError:
        pass  # Linux says EIO when the other side has closed
    os.close(descriptor)
    return b"".join(parts).decode()


def test_a_plug_in_that_cannot_be_imported_hides_no_other_command(tmp_path):
    folder = tmp_path / "broken_plugin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(
        "[wherever.commands]\nbroken = nowhere_at_all:command\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert process("predict", "digits", FOUR, env=environment).returncode == 0
    assert "broken (cannot be loaded" in said(process("--help", env=environment))
    done = process("broken", "--any", "thing", env=environment)
    assert done.returncode == 1
    assert "nowhere_at_all" in said(done)
    error = answered("broken", code=1, run=process, env=environment)["error"]
    assert "nowhere_at_all" in error["message"]


EXTRA_MODULES = (
    *("cv2", "PIL", "starlette", "uvicorn", "matplotlib", "onnx", "skl2onnx", "tokenizers"),
    *("openvino", "ai_edge_litert"),
)


def without_extras(*arguments):
    """The command where no extra is installed: importing what they bring fails."""
    program = (
        "import sys\n"
        f"for name in {EXTRA_MODULES}:\n"
        "    sys.modules[name] = None\n"
        "from wherever.cli import main\n"
        "main()"
    )
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False)


def test_without_extras_the_doctor_is_content_and_names_the_commands_that_install_them():
    done = without_extras("doctor")
    assert done.returncode == 0
    for extra in ("image", "gateway", "plot", "convert", "text", "openvino", "litert"):
        assert f"pip install 'wherever[{extra}]'" in said(done)


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (("demo", "--save", "x.png"), "plot"),
        (("predict", "digits", FOUR, "--plot", "x.png"), "image"),
        (("predict", "digits", "digit.png"), "image"),
    ],
)
def test_what_needs_an_extra_names_the_command_that_installs_it(arguments, extra):
    from PIL import Image

    Image.new("L", (8, 8)).save("digit.png")
    done = without_extras(*arguments)
    assert done.returncode == 1
    assert f"pip install 'wherever[{extra}]'" in said(done)
    assert "Traceback" not in said(done)


def test_numbers_are_answered_without_any_extra():
    assert without_extras("predict", "digits", FOUR).stdout.startswith(b"4\n")


def test_the_console_script_is_the_same_program():
    script = Path(sys.executable).parent / "wherever"
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("wherever ")
