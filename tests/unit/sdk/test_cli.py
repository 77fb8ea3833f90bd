"""The command line's own parts: inputs as words, findings, recordings and their pictures."""

from __future__ import annotations

import io
import json
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from wherever.cli import _checkup
from wherever.cli._demo_modes import Escalations
from wherever.cli._demo_stream import FREEZING, KILLING, PHASES
from wherever.cli._given import parse_numbers, read_inputs, takes
from wherever.cli._recording import Call, Mark, Recording, quantile, slices
from wherever.cli._timeline import timeline
from wherever.cli.predict import value_lines
from wherever_contracts.errors import InputError
from wherever_contracts.manifest import Signature
from wherever_contracts.values import Box, Detection
from wherever_edge.inputs import InputChecker

ENGINES = "wherever.engines"
IMAGE = {"name": "image", "kind": "image"}
DIGIT = {
    **IMAGE,
    "numbers": {"dtype": "float32", "shape": [2, 2], "min": 0, "max": 16},
}
TEXT = {"name": "text", "kind": "text"}
FILE = {"name": "file", "kind": "bytes"}


def tensor(name="x", dtype="float32", shape=(3,)):
    return {"name": name, "kind": "tensor", "dtype": dtype, "shape": list(shape)}


def signature(*inputs):
    output = {"name": "y", "dtype": "float32", "shape": [-1]}
    return Signature.model_validate(
        {"inputs": list(inputs), "outputs": [output], "value": {"kind": "tensors"}}
    )


@pytest.fixture
def stdin(monkeypatch):
    def give(data):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return give


@pytest.mark.parametrize("text", ["1,2,3", "1 2 3", " 1, 2,\t3\n", "[1, 2, 3]", "x=1,2,3"])
def test_numbers_are_read_as_people_write_them(text):
    value = read_inputs(signature(tensor()), [text])
    assert value.tolist() == [1, 2, 3]


def test_numbers_that_the_shell_took_apart_are_put_together():
    assert read_inputs(signature(tensor()), ["1", "-2", "3.5"]).tolist() == [1, -2, 3.5]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64", "float16", "float64"])
def test_whole_numbers_fit_into_inputs_of_every_type(dtype):
    described = signature(tensor(dtype=dtype))
    checked = InputChecker(described).check(read_inputs(described, ["1 2 3"]))
    assert checked["x"].dtype == dtype


def test_a_row_of_numbers_takes_the_shape_of_its_input():
    assert read_inputs(signature(tensor(shape=(2, 2))), ["1 2 3 4"]).shape == (2, 2)
    assert read_inputs(signature(tensor(shape=(-1, 2))), ["1 2 3 4 5 6"]).shape == (3, 2)
    assert read_inputs(signature(tensor(shape=())), ["7"]).shape == ()


def test_a_row_of_another_length_is_left_for_the_check_to_refuse():
    described = signature(tensor(shape=(2, 2)))
    with pytest.raises(InputError, match=r"float32\[2, 2\].*\[3\]"):
        InputChecker(described).check(read_inputs(described, ["1 2 3"]))


@pytest.mark.parametrize("text", ["cat", "1,2,x", "", "[1, 2", "[1, [2, 3]]", "[" * 100_000])
def test_what_is_no_numbers_is_refused_with_what_would_be(text):
    with pytest.raises(InputError, match=r"'x': expected a \.npy file, a JSON array, or numbers"):
        read_inputs(signature(tensor()), [text])


def test_a_npy_file_is_read(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(3, dtype=np.float32))
    assert read_inputs(signature(tensor()), [str(tmp_path / "x.npy")]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\x01\x00", b"PK\x03\x04"])
def test_a_damaged_npy_file_is_refused(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a \.npy file of numbers"):
        read_inputs(signature(tensor()), [str(tmp_path / "x.npy")])


def test_a_npy_file_of_pickled_objects_is_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a \.npy file of numbers"):
        read_inputs(signature(tensor()), [str(tmp_path / "x.npy")])


def test_text_is_taken_as_it_stands():
    for text in ("hello, world", "1 2 3", "a=b", "[", ""):
        assert read_inputs(signature(TEXT), [text]) == text
    assert read_inputs(signature(TEXT), ["text=text=a"]) == "text=a"


def test_an_image_is_a_path_and_may_be_numbers_where_the_model_takes_them(tmp_path):
    assert read_inputs(signature(IMAGE), ["1,2,3,4"]) == "1,2,3,4"
    assert read_inputs(signature(DIGIT), ["cat.png"]) == "cat.png"
    assert read_inputs(signature(DIGIT), ["1,2,3,4"]) == [[1, 2], [3, 4]]


def test_bytes_are_a_path_whatever_it_looks_like_and_standard_input_as_it_comes(stdin):
    for text in ("a.pdf", "x.npy", "1,2,3", "[1, 2]"):
        assert read_inputs(signature(FILE), [text]) == text
    for data in (b"", b"\x93NUMPY\x01", b"1 2 3\n", b"\xff\x00"):
        stdin(data)
        assert read_inputs(signature(FILE), ["-"]) == data
    with pytest.raises(InputError, match="one input"):
        read_inputs(signature(FILE), ["a.pdf", "b.pdf"])
    assert takes(signature(FILE)) == "file (a file)"


def test_a_file_that_is_called_like_a_number_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").write_bytes(b"")
    assert read_inputs(signature(DIGIT), ["7"]) == "7"


def test_standard_input_is_an_image_numbers_or_text(stdin):
    stdin(b"\x89PNG...")
    assert read_inputs(signature(DIGIT), ["-"]) == b"\x89PNG..."
    stdin(b"1 2 3 4\n")
    assert read_inputs(signature(DIGIT), ["-"]) == [[1, 2], [3, 4]]
    stdin(b"[1, 2, 3]")
    assert read_inputs(signature(tensor()), ["-"]).tolist() == [1, 2, 3]
    stdin("zwölf".encode())
    assert read_inputs(signature(TEXT), ["-"]) == "zwölf"
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    stdin(buffer.getvalue())
    assert read_inputs(signature(tensor()), ["-"]).tolist() == [0, 1, 2]


@pytest.mark.parametrize("entry", [TEXT, tensor()])
def test_bytes_that_are_no_text_are_refused_where_text_is_wanted(stdin, entry):
    stdin(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="3 bytes that are none"):
        read_inputs(signature(entry), ["-"])


def test_several_inputs_go_by_name():
    described = signature(tensor("a"), TEXT)
    value = read_inputs(described, ["text=a=b", "a=1,2,3"])
    assert value["text"] == "a=b"
    assert value["a"].tolist() == [1, 2, 3]
    with pytest.raises(InputError, match="name=INPUT for a, text, found 'b=1'"):
        read_inputs(described, ["b=1"])
    with pytest.raises(InputError, match="one input from standard input"):
        read_inputs(described, ["a=-", "text=-"])


def test_two_inputs_for_a_model_of_one_are_refused():
    with pytest.raises(InputError, match="expected one input"):
        read_inputs(signature(IMAGE), ["a.png", "b.png"])
    with pytest.raises(InputError, match="expected one input"):
        read_inputs(signature(TEXT), ["a", "b"])


def test_what_a_model_takes_is_said_in_words():
    assert takes(signature(DIGIT)) == "image (an image file, or 2 x 2 numbers)"
    assert takes(signature(tensor(shape=(-1, 3)))) == "x (any x 3 numbers)"
    assert takes(signature(tensor("a"), TEXT)) == "a=INPUT (3 numbers), text=INPUT (text)"


def test_parsing_never_makes_up_numbers():
    assert parse_numbers("") is None
    assert parse_numbers("one") is None
    assert parse_numbers("[true]").dtype == bool
    assert parse_numbers("1 -1").dtype == np.int64


def test_values_are_printed_a_line_for_each_part():
    found = [Detection("person", 0.91, Box(1.2, 2.0, 3.0, 4.9))]
    assert value_lines(found) == ["person 0.91 [1, 2, 3, 5]"]
    assert value_lines([]) == ["nothing found"]
    assert value_lines({"y": np.ones(2, np.float32)}) == ["y: float32[2] [1., 1.]"]
    (line,) = value_lines(np.zeros((100, 100), np.float32))
    assert line.startswith("float32[100, 100]")
    assert len(line) < 250


def test_the_doctor_knows_every_extra_of_the_distribution():
    declared = set(metadata.metadata("wherever").get_all("Provides-Extra"))
    engines = {"openvino", "litert"}
    assert declared - {"all"} == set(_checkup.EXTRAS) | engines
    assert engines <= set(_checkup.plugins.entry_points(ENGINES))


def test_the_doctor_says_where_each_setting_comes_from(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("WHEREVER_MODE", "only_on_device")
    monkeypatch.setenv("WHEREVER_GATWAYS", "host:1")
    (tmp_path / "wherever.toml").write_text('mode = "auto"\nthreads = 1\n')
    from wherever._settings import load_settings

    findings = list(_checkup.look_at_settings(load_settings()))
    texts = [finding.text for finding in findings]
    assert "mode = only_on_device (WHEREVER_MODE)" in texts
    assert "threads = 1 (wherever.toml)" in texts
    assert "boundary = anywhere (default)" in texts
    (odd,) = [finding for finding in findings if finding.state != "ok"]
    assert "WHEREVER_GATWAYS" in odd.text
    assert odd.mend == "did you mean WHEREVER_GATEWAYS?"


def test_the_doctor_says_when_state_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    (state, room) = _checkup.look_at_home(tmp_path / "file" / "below")
    assert state.state == "warn"
    assert "cannot be written" in state.text
    assert "WHEREVER_HOME" in state.mend
    assert "free there" in room.text


def test_a_broken_engine_plug_in_is_named_and_the_others_are_tried(monkeypatch):
    class Broken:
        def __init__(self):
            raise RuntimeError("no such driver")

    real = _checkup.plugins.entry_points
    points = {**real(ENGINES), "broken": SimpleNamespace(load=lambda: Broken)}

    def found(group):
        return points if group == ENGINES else real(group)

    monkeypatch.setattr(_checkup.plugins, "entry_points", found)
    (odd,) = [finding for finding in _checkup.look_at_engines() if finding.state != "ok"]
    assert odd.state == "warn"
    assert "broken does not work: no such driver" in odd.text
    for works in set(points) - {"broken"}:
        points.pop(works)
    assert "fail" in {finding.state for finding in _checkup.look_at_engines()}


def recorded():
    recording = Recording()
    for i in range(100):
        where = "device" if i % 5 else ("cloud" if i < 50 else "kept")
        recording.calls.append(Call(i / 100, 0.001, where, right=True))
    recording.marks.append(Mark(0.5, "killed", "killed"))
    recording.marks.append(Mark(0.9, "restarted", "starting"))
    return recording


def test_calls_are_counted_in_the_slice_of_time_in_which_they_began():
    counts = slices(recorded().calls, 0.25, 4)
    assert counts["device"] == [20, 20, 20, 20]
    assert counts["cloud"] == [5, 5, 0, 0]
    assert counts["kept"] == [0, 0, 5, 5]
    assert counts["failed"] == [0, 0, 0, 0]


def test_a_recording_knows_what_the_gateway_did_at_each_moment():
    recording = recorded()
    assert [recording.state_at(s) for s in (0.0, 0.5, 0.8, 2.0)] == [
        "up",
        "killed",
        "killed",
        "starting",
    ]
    assert recording.end_s == pytest.approx(0.991)
    assert Recording().end_s == 0.0


def drawn(recording, width=80, **options):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(timeline(recording, width, **options))
    return console.file.getvalue()


def test_the_timeline_has_a_lane_for_each_place_and_fits_80_columns():
    text = drawn(recorded(), slice_s=0.02)
    assert max(len(line) for line in text.splitlines()) <= 80
    for name in ("killed", "gateway", "on device", "in the cloud", "unsure, kept", "100 calls"):
        assert name in text
    cloud = next(line for line in text.splitlines() if "in the cloud  " in line)
    kept = next(line for line in text.splitlines() if "unsure, kept  " in line)
    assert len(cloud.rstrip()) < len(kept.rstrip())


def test_what_was_done_is_told_however_close_it_was_to_something_else():
    recording = recorded()
    recording.marks += [Mark(0.92, "back", "up"), Mark(0.95, "frozen", "frozen")]
    text = drawn(recording, slice_s=0.02)
    assert all(f"▾{mark.text}" in text for mark in recording.marks)


def test_a_long_recording_is_pressed_into_the_width_and_an_empty_one_is_drawn_too():
    recording = recorded()
    recording.calls.append(Call(500.0, 0.1, "failed", right=False))
    text = drawn(recording)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "1 failed" in text
    assert "0 calls" in drawn(Recording())


def test_the_picture_of_a_recording_is_written(tmp_path):
    from wherever.cli._timeline_picture import save_timeline

    for name in ("timeline.png", "timeline.svg"):
        save_timeline(recorded(), tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_quantiles_are_values_that_occurred():
    assert quantile([], 0.5) == 0.0
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile(list(range(1, 101)), 0.95) == 95
    assert quantile([5], 0.95) == 5


def prediction(value, place, attempts=1):
    receipt = SimpleNamespace(attempts=(None,) * attempts)
    return SimpleNamespace(value=value, place=place, receipt=receipt)


def test_the_example_is_an_escalation_that_mended_a_wrong_answer():
    escalations = Escalations()
    for position, said in enumerate(("3", "5", "8")):
        escalations.saw(position, "3", prediction(said, "device"))
    escalations.saw(0, "3", prediction("3", "cloud"))
    assert escalations.example is None
    escalations.saw(0, "3", prediction("3", "cloud", attempts=2))
    assert escalations.example.position == 0
    escalations.saw(1, "3", prediction("3", "cloud", attempts=2))
    escalations.saw(2, "3", prediction("3", "cloud", attempts=2))
    assert (escalations.example.position, escalations.example.device_said) == (1, "5")


def test_every_act_of_the_demo_is_something_a_gateway_can_do():
    from wherever.cli._demo_gateway import DemoGateway

    assert all(hasattr(DemoGateway, phase.act) for phase in KILLING + FREEZING if phase.act)
    assert PHASES[: len(KILLING)] == KILLING


def test_findings_are_plain_data():
    finding = _checkup.Finding("machine", "ok", "here")
    assert json.loads(json.dumps(finding.to_dict())) == {
        "area": "machine",
        "state": "ok",
        "text": "here",
        "mend": "",
    }
