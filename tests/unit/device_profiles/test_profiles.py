"""Profiles: those that come along, a site's own, and which one a machine takes by itself."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from wherever_contracts.errors import SettingsError
from wherever_devices.accelerators import Accelerator
from wherever_devices.conditions import Conditions
from wherever_devices.machine import Machine
from wherever_devices.onednn import LEVELS, onednn_features, stricter
from wherever_devices.processor import FEATURES
from wherever_devices.profiles import BUILT_IN, Hardware, Profile, Saving, as_machine
from wherever_devices.profiles import default_profile as chosen
from wherever_devices.profiles.fields import faults
from wherever_devices.profiles.files import load_profile, profile_names

GIB = 1024**3
GPU = Accelerator("gpu", "nvidia", "/dev/nvidia0")
CALM = Conditions()

SERVER = Machine(
    os="linux",
    arch="x86_64",
    cpu_model="some processor",
    physical_cores=16,
    usable_cores=16,
    memory_bytes=64 * GIB,
    memory_limit_bytes=None,
    cpu_features=frozenset({"avx2", "avx512f", "avx512_vnni", "amx_int8"}),
    python="3.13.0",
    accelerators=(),
)


@pytest.fixture
def write(own_home):
    folder = own_home / "profiles"
    folder.mkdir()

    def write(name, text):
        path = folder / f"{name}.toml"
        path.write_text(text)
        return path

    return write


def refusal(name, home=None):
    with pytest.raises(SettingsError) as caught:
        load_profile(name, home)
    return str(caught.value)


def test_all_built_in_profiles_are_there_and_can_be_imitated():
    assert set(profile_names()) == set(BUILT_IN)
    for name in BUILT_IN:
        profile = load_profile(name)
        assert profile.name == name
        assert profile.summary
        assert profile.hardware is not None
        assert set(profile.hardware.cpu_features) <= set(FEATURES)
        assert profile.precisions == ("float32",)


def test_only_machines_for_it_prefer_a_gpu():
    first = {name: load_profile(name).devices[0] for name in BUILT_IN}
    assert {name for name, device in first.items() if device == "gpu"} == {
        "jetson-orin",
        "gateway-gpu",
    }


def test_a_site_writes_what_differs(write, own_home):
    write(
        "packing-line",
        """
        extends = "laptop"
        max_threads = 3
        precisions = ["bfloat16", "float32"]
        [on_battery]
        below_share = 0.5
        """,
    )
    found, base = load_profile("packing-line", own_home), load_profile("laptop")
    assert found == replace(
        base,
        name="packing-line",
        max_threads=3,
        precisions=("bfloat16", "float32"),
        on_battery=replace(base.on_battery, below_share=0.5),
    )
    assert "packing-line" in profile_names(own_home)
    assert "packing-line" not in profile_names()


def test_a_profile_that_extends_nothing_says_all_there_is(write, own_home):
    write("plain", "max_waiting = 0\nmemory_max_bytes = 1_000_000\n[hot]\nprefer_small = true\n")
    assert load_profile("plain", own_home) == Profile(
        "plain", max_waiting=0, memory_max_bytes=1_000_000, hot=Saving(prefer_small=True)
    )


def test_a_site_may_change_a_built_in_profile_under_its_name(write, own_home):
    write("tiny", 'extends = "tiny"\nmax_waiting = 3\n')
    assert load_profile("tiny", own_home) == replace(load_profile("tiny"), max_waiting=3)


def test_a_profile_may_be_a_file_anywhere_and_extend_one_beside_it(tmp_path, own_home):
    (tmp_path / "base.toml").write_text('extends = "edge-pc"\nmax_runs = 3\n')
    path = tmp_path / "line 1.toml"
    path.write_text('extends = "base.toml"\nmax_threads = 2\n', encoding="utf-8-sig")
    found = load_profile(str(path), own_home)
    assert (found.name, found.max_runs, found.max_threads) == ("line 1", 3, 2)
    assert found.hardware == load_profile("edge-pc").hardware


def test_a_machine_of_its_own_kind_is_described(write, own_home):
    write("box", '[hardware]\ncores = 2\nmemory_bytes = 4_000_000_000\ncpu_features = ["avx2"]\n')
    hardware = Hardware(2, 4_000_000_000, ("avx2",))
    assert load_profile("box", own_home).hardware == hardware


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_thread = 1", "there is no field max_thread: did you mean max_threads?"),
        ("hots = 1", "there is no field hots: did you mean hot?"),
        ("colour = 1", "there is no field colour; fields: summary, extends, max_threads, "),
        ("max_threads = 0", "max_threads: expected a whole number of 1 or more, found 0"),
        ("max_threads = true", "max_threads: expected a whole number of 1 or more, found True"),
        ("max_threads = 1.5", "max_threads: expected a whole number of 1 or more, found 1.5"),
        ("max_waiting = -1", "max_waiting: expected a whole number of 0 or more, found -1"),
        ('max_runs = "2"', "max_runs: expected a whole number of 1 or more, found '2'"),
        ("memory_max_share = 1.5", "memory_max_share: expected a number over 0, up to 1, found"),
        ("memory_max_share = nan", "memory_max_share: expected a number over 0, up to 1, found"),
        ('objective = "speed"', "objective: expected 'latency' or 'cpu_time', found 'speed'"),
        ("objective = []", "objective: expected 'latency' or 'cpu_time', found []"),
        ("devices = []", "devices: expected a list of one or more of cpu, gpu, npu, none twice"),
        ('devices = "cpu"', "devices: expected a list of one or more of cpu, gpu, npu, none"),
        ('devices = ["cpu", "cpu"]', "devices: expected a list of one or more of"),
        ("devices = [[1]]", "devices: expected a list of one or more of cpu, gpu, npu"),
        ('precisions = ["int8"]', "precisions: expected a list of one or more of float32, bfl"),
        ("prefer_small = 1", "prefer_small: expected true or false, found 1"),
        ("summary = 1", "summary: expected text, found 1"),
        ("hot = 1", "hot: expected a table, found 1"),
        ("[hot]\nthread_share = 1", "no field hot.thread_share: did you mean hot.threads_share?"),
        ("[hot]\nbelow_share = 1", "there is no field hot.below_share"),
        ("[hot]\nthreads_share = 0", "hot.threads_share: expected a number over 0, up to 1, found"),
        ("[hardware]\ncores = 1", "hardware: expected memory_bytes in the table, found none"),
        ("[hardware]", "hardware: expected cores and memory_bytes in the table, found none"),
        ('[hardware]\ncpu_features = ["mmx"]', "hardware.cpu_features: expected a list of avx2, "),
        ('[hardware]\nonednn_max_cpu_isa = "x"', "onednn_max_cpu_isa: expected '' or 'SSE41' or"),
        ("max_threads", "is no TOML: "),
        ('extends = "edge-pd"', "extends: no profile is called 'edge-pd': did you mean 'edge-pc'?"),
    ],
)
def test_what_no_profile_can_say_is_refused_with_file_and_field(write, own_home, text, said):
    path = write("site", text)
    message = refusal("site", own_home)
    assert str(path) in message
    assert said in message


def test_a_file_that_is_no_text_is_refused(write, own_home):
    write("site", "").write_bytes(b"\xff\xfe\x00")
    assert "is no TOML" in refusal("site", own_home)


def test_a_profile_that_is_not_there_is_refused_with_those_that_are(tmp_path, own_home):
    assert refusal("lap-top") == "profile: no profile is called 'lap-top': did you mean 'laptop'?"
    message = refusal("abacus", own_home)
    assert message.endswith(
        "there are edge-pc, gateway-gpu, jetson-orin, laptop, raspberry-pi-5, tiny, "
        "and paths that end with .toml"
    )
    path = tmp_path / "none.toml"
    assert refusal(str(path)) == f"profile {path} cannot be read: No such file or directory"


def test_a_directory_is_no_profile_whatever_its_name(write, own_home):
    write("site", "")
    (own_home / "profiles" / "rack.toml").mkdir()
    assert "there are" in refusal("rack", own_home)
    assert "rack," not in refusal("abacus", own_home)


def test_profiles_that_extend_each_other_are_refused(write, own_home):
    one, two = write("one", 'extends = "two"'), write("two", 'extends = "one"')
    assert refusal("one", own_home) == (f"{one}: a profile extends itself: {one} -> {two} -> {one}")
    itself = write("itself", 'extends = "itself.toml"')
    assert "extends itself" in refusal(str(itself), own_home)


def test_a_content_without_faults_has_none():
    assert list(faults({"extends": "tiny", "hot": {}, "max_threads": 1})) == []


def test_the_first_rule_that_holds_chooses_the_profile():
    pi = replace(SERVER, usable_cores=4, board="Raspberry Pi 5 Model B Rev 1.0")
    battery = Conditions(battery_share=0.7)
    rows = [
        (replace(SERVER, usable_cores=1), battery, "tiny", "this process has one core"),
        (replace(SERVER, memory_bytes=GIB), CALM, "tiny", "this process has 1.0 GiB of memory"),
        (replace(pi, memory_limit_bytes=GIB), CALM, "tiny", "this process has 1.0 GiB of memory"),
        (pi, battery, "raspberry-pi-5", "the board is a Raspberry Pi 5 Model B Rev 1.0"),
        (
            replace(SERVER, board="NVIDIA Jetson Orin Nano", accelerators=(GPU,)),
            CALM,
            "jetson-orin",
            "the board is a NVIDIA Jetson Orin Nano",
        ),
        (replace(SERVER, accelerators=(GPU,)), battery, "laptop", "the machine has a battery"),
        (SERVER, Conditions(on_battery=True), "laptop", "the machine has a battery"),
        (replace(SERVER, accelerators=(GPU,)), CALM, "gateway-gpu", "an NVIDIA GPU and 16 cores"),
        (replace(SERVER, accelerators=(GPU,), usable_cores=4), CALM, "edge-pc", "nothing says"),
        (replace(SERVER, accelerators=None, memory_bytes=0), CALM, "edge-pc", "nothing says"),
        (SERVER, Conditions(on_battery=False), "edge-pc", "nothing says that it is another kind"),
    ]
    for machine, conditions, name, words in rows:
        found = chosen(machine, conditions)
        assert (found.name, found.words[: len(words)]) == (name, words)


def test_a_machine_is_limited_to_what_another_one_has():
    limited = replace(SERVER, memory_limit_bytes=32 * GIB, accelerators=(GPU,))
    found = as_machine(limited, load_profile("edge-pc"))
    assert (found.usable_cores, found.physical_cores, found.cores_limit) == (4, 4, "profile")
    assert (found.memory_bytes, found.memory_limit_bytes) == (8 * GIB, None)
    assert found.cpu_features == found.onednn_features == {"avx2"}
    assert (found.accelerators, found.imitates) == ((), "edge-pc")
    assert found.onednn_max_cpu_isa == "AVX2"
    gateway = as_machine(limited, load_profile("gateway-gpu"))
    assert gateway.cpu_features == SERVER.cpu_features
    assert (gateway.accelerators, gateway.cores_limit) == ((GPU,), "")


def test_what_is_not_known_of_a_machine_stays_so_where_it_can():
    blank = replace(SERVER, cpu_features=None, accelerators=None, memory_bytes=0)
    found = as_machine(blank, load_profile("gateway-gpu"))
    assert (found.cpu_features, found.accelerators) == (None, None)
    assert found.memory_bytes == 128 * GIB
    assert as_machine(blank, load_profile("tiny")).accelerators == ()


def test_a_profile_without_a_machine_cannot_be_imitated():
    with pytest.raises(SettingsError, match=r"'plain' describes no machine .* \[hardware\]"):
        as_machine(SERVER, Profile("plain"))


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        ("", "", ""),
        ("AVX2", "", "AVX2"),
        ("", "AVX2", "AVX2"),
        ("ALL", "AVX2", "AVX2"),
        ("ALL", "", "ALL"),
        ("avx2", "AVX512_CORE", "avx2"),
        ("AVX512_CORE_AMX", "AVX512_CORE_VNNI", "AVX512_CORE_VNNI"),
        ("AVX2_VNNI", "AVX512_CORE", "AVX2"),
    ],
)
def test_of_two_limits_of_instructions_what_both_leave_is_left(one, other, both):
    assert stricter(one, other) == both


def test_each_limit_leaves_only_what_the_processor_has():
    everything = frozenset(FEATURES)
    assert all(level <= everything for level in LEVELS.values())
    assert onednn_features(frozenset({"avx2", "amx_int8"}), "avx512_core_vnni") == {"avx2"}
    assert onednn_features(None, "AVX2") is None
    assert onednn_features(frozenset({"sve"}), "") == {"sve"}


def test_the_decision_loads_no_runtime_and_starts_no_process():
    code = (
        "import sys; from wherever_devices.here import look_here; look_here(); "
        "heavy = {'numpy', 'pydantic', 'onnxruntime', 'openvino', 'grpc', 'subprocess'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
