"""Engines in worker processes that really die, hang and fill the memory."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from wherever_contracts.errors import EngineCrashError, EngineError, SettingsError
from wherever_contracts.urgency import Urgency
from wherever_convert.builder import build_package
from wherever_devices.plans import RunPlan
from wherever_edge import plugins
from wherever_edge.counters import COUNTERS
from wherever_edge.engines.engine import Resources
from wherever_edge.engines.installed import InstalledEngines
from wherever_edge.host import LocalHost
from wherever_edge.isolation.engines import IsolatedEngines
from wherever_edge.isolation.supervision import CRASHES
from wherever_edge.packages.store import Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="signals and /proc as Linux has")

# Doubles its input; negative numbers are orders. `sturdy` is the same and takes no orders.
ENGINE = """
import ctypes, os, resource, sys, time
import numpy as np
from wherever_contracts.tensors import TensorSpec
from wherever_edge.engines.engine import Engine, EngineFacts, Session

def segfault(x): ctypes.string_at(0)
def abort(x): os.write(2, b"about to fail\\nterminate called\\n"); os.abort()
def hang(x):
    while True: time.sleep(0.01)
def leave(x): os._exit(3)
def refuse(x): raise ValueError("not this one")
def oom(x):
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    if not libc.malloc(ctypes.c_size_t(1 << 34)):
        os.write(2, b"std::bad_alloc\\n")
        os.abort()
def grow(x): return {"y": np.full((4000, 1000), 7, np.float32)}
def strings(x): return {"y": np.array([["a"]])}
def chatter(x): os.write(2, b"word " * 100_000)
def slow(x): time.sleep(0.2)
ORDERS = segfault, abort, hang, leave, refuse, oom, grow, strings, chatter, slow

class FragileSession(Session):
    def _run(self, feed):
        x = feed["x"]
        if self.facts.engine == "fragile" and x.size and x.flat[0] < 0:
            made = ORDERS[int(-x.flat[0]) - 1](x)
            if made: return made
        return {"y": x * 2}

class Fragile(Engine):
    name = "fragile"
    formats = ("onnx",)
    def devices(self): return ("cpu", f"pid {os.getpid()}")
    def _open(self, files, *, file_format, plan, resources):
        if files[0] == b"unreadable": raise ValueError("no such opset")
        if files[0] == b"deadly": os.abort()
        x, y = (TensorSpec(name, "float32", (-1, -1)) for name in "xy")
        facts = EngineFacts(self.name, "1", "numpy", plan.precision, plan.threads)
        return FragileSession((x,), (y,), facts)

class Sturdy(Fragile):
    name = "sturdy"
"""
SEGFAULT, ABORT, HANG, LEAVE, REFUSE, OOM, GROW, STRINGS, CHATTER, SLOW = range(-1, -11, -1)
PLAN = RunPlan("fragile", "cpu", "float32", 1)


@pytest.fixture(autouse=True)
def fragile(tmp_path, monkeypatch):
    """Two engines of the tests, found as plug-ins here and by the workers."""
    (tmp_path / "fragile_engine.py").write_text(ENGINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    real = plugins.entry_points
    points = {
        **real("wherever.engines"),
        "fragile": EntryPoint("fragile", "fragile_engine:Fragile", "wherever.engines"),
        "sturdy": EntryPoint("sturdy", "fragile_engine:Sturdy", "wherever.engines"),
    }
    monkeypatch.setattr(
        plugins,
        "entry_points",
        lambda group: points if group == "wherever.engines" else real(group),
    )


@pytest.fixture
def open_session():
    sessions = []

    def opened(content=b"model", runs=1):
        session = IsolatedEngines().open(PLAN, "onnx", [content], Resources(runs=runs))
        sessions.append(session)
        return session

    yield opened
    for session in sessions:
        session.close()


@pytest.fixture
def host_of(tmp_path):
    hosts = []

    def host(*engines):
        hosts.append(isolated_host(doubling_package(tmp_path / "double", engines)))
        return hosts[-1].resolve("double")

    yield host
    for each in hosts:
        each.close()


def isolated_host(package):
    store = Store([package.root], builtin=False)
    return LocalHost(store, distance="device", isolation="process", threads=1)


def doubling_package(root, engines):
    root.mkdir()
    (root / "any.onnx").write_bytes(b"model")
    shape = {"dtype": "float32", "shape": [-1, -1]}
    variant = {
        "id": "only",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "any.onnx"}],
        "needs": {"engines": list(engines)},
        "tensors": {
            "inputs": [{"name": "x", **shape}],
            "outputs": [{"name": "y", **shape}],
            "batch": True,
        },
        "pipeline": {
            "pre": [{"op": "reshape", "name": "given", "to": "x", "shape": [1, -1]}],
            "post": [{"op": "first_row", "name": "y", "to": "doubled"}],
        },
    }
    return build_package(
        root,
        {
            "schema": "1.0",
            "name": "double",
            "version": "1.0.0",
            "boundary": "anywhere",
            "reference": "only",
            "signature": {
                "inputs": [{"name": "given", "kind": "tensor", "dtype": "float32", "shape": [-1]}],
                "outputs": [{"name": "doubled", "dtype": "float32", "shape": [-1]}],
                "value": {"kind": "tensors"},
            },
            "variants": [variant],
        },
    )


def tensor(*values):
    return {"x": np.array([values], np.float32)}


def row(*values):
    return {"given": np.array(values, np.float32)}


def doubled(session, *values):
    np.testing.assert_array_equal(session.run(tensor(*values))["y"], [[v * 2 for v in values]])


def crash(session, order):
    with pytest.raises(EngineCrashError) as caught:
        session.run(tensor(order))
    return str(caught.value)


def gone(pid):
    """True once a process is neither running nor a zombie."""
    return not Path(f"/proc/{pid}").exists()


def wait_until(condition, timeout_s=10.0):
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s
        time.sleep(0.005)


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_an_isolated_session_says_and_answers_what_the_engine_does(open_session):
    session = open_session()
    (pid,) = session.pids
    assert pid != os.getpid()
    # when memory runs out, the system ends it before the application
    assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) > 0
    assert (session.facts.engine, session.facts.ran) == ("fragile", PLAN)
    assert [str(spec) for spec in session.inputs] == ["float32[any, any]"]
    doubled(session, 1, 2, 3)
    wide = np.arange(12, dtype=np.float32).reshape(4, 3).T
    np.testing.assert_array_equal(session.run({"x": wide})["y"], wide * 2)
    empty = np.zeros((0, 3), np.float32)
    assert session.run({"x": empty})["y"].shape == (0, 3)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_real_runtime_is_in_its_worker_what_it_is_in_this_process(echo_package, engine):
    (variant,) = echo_package.manifest.variants
    files = [echo_package.read(entry) for entry in variant.files]
    plan = RunPlan(engine, "cpu", "float32", 1)
    own = InstalledEngines().open(plan, variant.format, files, Resources())
    isolated = IsolatedEngines().open(plan, variant.format, files, Resources())
    for name in ("inputs", "outputs", "facts", "ranges"):
        assert getattr(isolated, name) == getattr(own, name)
    given = {"x": np.random.default_rng(0).random((3, 50_000), np.float32)}
    np.testing.assert_array_equal(isolated.run(given)["y"], own.run(given)["y"])
    isolated.close()


def test_no_runtime_is_loaded_into_the_application():
    program = (
        "import sys\n"
        "from wherever_edge.host import LocalHost\n"
        "from wherever_edge.packages.store import Store\n"
        "host = LocalHost(Store(), distance='device', isolation='process')\n"
        "host.resolve('digits').warm()\n"
        "host.close()\n"
        "print(*({'onnxruntime', 'openvino', 'ai_edge_litert'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
    assert done.stderr == ""


def test_no_answer_is_written_again_and_inputs_may_grow(open_session):
    session = open_session()
    given = [np.full((1, n), n, np.float32) for n in (1, 100_000, 3, 500_000, 100_000, 2)]
    answers = [session.run({"x": array})["y"] for array in given]
    for array, answer in zip(given, answers, strict=True):
        np.testing.assert_array_equal(answer, array * 2)
    assert session.run(tensor(GROW))["y"].shape == (4000, 1000)
    doubled(session, 4)


def test_eight_threads_keep_every_one_of_their_answers(open_session):
    session = open_session()

    def ask(seed):
        draw = np.random.default_rng(seed)
        given = [draw.random((1, draw.integers(1, 3000)), np.float32) for _ in range(150)]
        return given, [session.run({"x": array})["y"] for array in given]

    with ThreadPoolExecutor(8) as pool:
        for given, answers in pool.map(ask, range(8)):
            for array, answer in zip(given, answers, strict=True):
                np.testing.assert_array_equal(answer, array * 2)


def test_what_the_engine_complains_of_is_an_engine_error_and_costs_no_worker(open_session):
    session = open_session()
    (pid,) = session.pids
    with pytest.raises(EngineError, match="fragile failed: not this one") as caught:
        session.run(tensor(REFUSE))
    assert not isinstance(caught.value, EngineCrashError)
    with pytest.raises(EngineError, match="elements of type str"):
        session.run(tensor(STRINGS))
    doubled(session, 1)
    assert session.pids == (pid,)


def test_tensors_that_are_too_large_are_refused_in_words(open_session, monkeypatch):
    session = open_session()
    monkeypatch.setattr("wherever_edge.isolation.arena.MOST_BYTES", 1_000_000)
    with pytest.raises(EngineError, match="at most 1000000; use isolation='none'"):
        session.run({"x": np.zeros((1, 300_000), np.float32)})
    with pytest.raises(EngineError, match="16000"):
        session.run(tensor(GROW))
    doubled(session, *range(1000))
    doubled(session, *range(20_000))


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (SEGFAULT, "was killed by SIGSEGV"),
        (ABORT, 'was killed by SIGABRT; its last words: "terminate called"'),
        (LEAVE, "ended by itself (exit code 3)"),
        (OOM, 'was killed by SIGABRT; its last words: "std::bad_alloc"'),
        (HANG, "did not answer within 1.0 s and was ended"),
    ],
)
def test_what_ends_the_worker_is_told_and_another_one_answers(open_session, order, words):
    session = open_session()
    (pid,) = session.pids
    doubled(session, 1)
    assert words in crash(session, order)
    assert session.recovers(10)
    doubled(session, 1)
    assert session.pids != (pid,)
    assert gone(pid)


def test_a_call_that_comes_while_the_worker_is_started_again_does_not_wait(open_session):
    session = open_session()
    crash(session, SEGFAULT)
    with pytest.raises(EngineCrashError, match="SIGSEGV; another one is started"):
        session.run(tensor(1))


def test_a_stopped_worker_is_one_that_hangs(open_session):
    session = open_session()
    doubled(session, 1)
    (pid,) = session.pids
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: "T (stopped)" in Path(f"/proc/{pid}/status").read_text())
    assert "did not answer within 1.0 s" in crash(session, 1)
    assert session.recovers(10)
    doubled(session, 1)  # which was not to blame: the worker had not begun with it


def test_an_input_that_kills_again_and_again_is_refused_and_others_are_served(open_session):
    session = open_session()
    for _ in range(CRASHES):
        crash(session, SEGFAULT)
        assert session.recovers(10)
    (pid,) = session.pids
    with pytest.raises(EngineCrashError, match="this input ended the worker of fragile 3") as e:
        session.run(tensor(SEGFAULT))
    assert not e.value.retryable
    doubled(session, 1)
    assert session.pids == (pid,)


def test_who_runs_beside_the_input_that_kills_is_served_later(open_session):
    session = open_session(runs=4)
    doubled(session, 1)

    def answered(values):
        for _ in range(20):
            try:
                return session.run(tensor(*values))["y"][0].tolist()
            except EngineCrashError as error:
                if not error.retryable:
                    return "refused"
                assert session.recovers(10)
        return "never"

    with ThreadPoolExecutor(4) as pool:
        given = [(SLOW, 1), (SLOW, 2), (SEGFAULT, 3), (SLOW, 4)]
        assert list(pool.map(answered, given)) == [[-20, 2], [-20, 4], "refused", [-20, 8]]


def test_what_a_worker_prints_is_logged_and_never_stops_it(open_session, caplog):
    caplog.set_level("INFO", "wherever_edge.isolation")
    session = open_session()
    session.run(tensor(CHATTER))
    wait_until(lambda: any("word word" in record.message for record in caplog.records))


def test_what_cannot_be_loaded_is_told_and_leaves_no_worker(open_session):
    with pytest.raises(EngineError, match="fragile cannot load the model: no such opset") as caught:
        open_session(b"unreadable")
    assert not isinstance(caught.value, EngineCrashError)
    with pytest.raises(EngineCrashError, match="SIGABRT before it had loaded the model"):
        open_session(b"deadly")


def test_devices_are_asked_in_a_worker():
    engines = IsolatedEngines()
    cpu, where = engines.devices("fragile")
    assert cpu == "cpu"
    assert where != f"pid {os.getpid()}"
    assert gone(int(where.removeprefix("pid ")))
    assert engines.devices("fragile") == (cpu, where)


def test_a_session_that_is_closed_or_dropped_takes_its_worker_along(open_session):
    session = open_session()
    (pid,) = session.pids
    session.close()
    session.close()
    assert gone(pid)
    with pytest.raises(EngineError, match="was closed"):
        session.run(tensor(1))
    dropped = IsolatedEngines().open(PLAN, "onnx", [b"model"], Resources())
    (pid,) = dropped.pids
    del dropped
    gc.collect()
    wait_until(lambda: gone(pid))


def test_deaths_leave_no_descriptor_no_zombie_and_no_memory(open_session):
    session = open_session()
    doubled(session, 1)
    before = descriptors()
    for _ in range(5):
        (pid,) = session.pids
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda pid=pid: session.pids not in {(), (pid,)})
        assert gone(pid)
    doubled(session, 1)
    assert descriptors() == before
    threads = [thread for thread in threading.enumerate() if "keeper" in thread.name]
    assert len(threads) == 1
    session.close()
    assert "wherever" not in " ".join(str(each) for each in Path("/dev/shm").iterdir())


def test_an_interrupted_call_gives_nobody_its_answer(open_session):
    session = open_session()
    doubled(session, 1)
    timer = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        session.run(tensor(SLOW))
    assert session.recovers(10)
    for value in range(50):
        doubled(session, value)


def test_the_child_of_a_fork_leaves_the_worker_alone_and_may_have_its_own(open_session):
    session = open_session()
    doubled(session, 1)
    (pid,) = session.pids
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pytest.raises(EngineError, match="before this process was forked"):
                session.run(tensor(1))
            session.close()
            own = IsolatedEngines().open(PLAN, "onnx", [b"model"], Resources())
            doubled(own, 2)
            own.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    doubled(session, 3)
    assert session.pids == (pid,)


def test_what_was_closed_waits_no_more_for_a_thread_that_the_end_of_the_program_froze(open_session):
    session = open_session()
    session.close()
    frozen = threading.Thread(target=session._keeper._changed.acquire)
    frozen.start()
    frozen.join()
    again = threading.Thread(target=session.close, daemon=True)
    again.start()
    again.join(10)
    assert not again.is_alive()


def test_a_worker_dies_with_its_application_even_while_it_runs_and_a_fork_lives(tmp_path):
    program = (
        "import os, sys, time, threading\n"
        "from wherever_edge import plugins\n"
        "from importlib.metadata import EntryPoint\n"
        "fragile = EntryPoint('fragile', 'fragile_engine:Fragile', '')\n"
        "plugins.entry_points = lambda _: {'fragile': fragile}\n"
        "from wherever_edge.isolation.engines import IsolatedEngines\n"
        "from wherever_devices.plans import RunPlan\n"
        "from wherever_edge.engines.engine import Resources\n"
        "import numpy as np\n"
        "plan = RunPlan('fragile', 'cpu', 'float32', 1)\n"
        "s = IsolatedEngines().open(plan, 'onnx', [b'm'], Resources())\n"
        f"order = np.full((1, 1), {HANG}, np.float32)\n"
        "threading.Thread(target=lambda: s.run({'x': order}), daemon=True).start()\n"
        "fork = os.fork()\n"
        "if fork: print(*s.pids, fork, flush=True)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        text=True,
    )
    worker, fork = map(int, process.stdout.readline().split())
    process.kill()
    process.wait()
    process.stdout.close()
    wait_until(lambda: gone(worker) or "Z" in Path(f"/proc/{worker}/stat").read_text())
    assert not gone(fork)
    os.kill(fork, signal.SIGKILL)


def test_the_next_engine_answers_for_the_one_that_died_and_it_is_told(host_of):
    loaded = host_of("fragile", "sturdy")
    assert loaded.ran.engine == "fragile"
    before = COUNTERS.snapshot()
    answer = loaded.answer(row(SEGFAULT), {})
    assert (answer.ran.engine, answer.outputs["doubled"].tolist()) == ("sturdy", [-2])
    assert answer.substituted == ("only: the worker of fragile was killed by SIGSEGV",)
    assert loaded.session.recovers(10)
    answer = loaded.answer(row(3), {})
    assert (answer.ran.engine, answer.substituted) == ("fragile", ())
    after = COUNTERS.snapshot()
    crashes = 'wherever_worker_crashes_total{engine="fragile",how="SIGSEGV"}'
    restarts = 'wherever_worker_restarts_total{engine="fragile"}'
    for name in (crashes, restarts):
        assert after[name] == before.get(name, 0) + 1


def test_where_there_is_no_other_engine_the_same_one_answers_when_it_is_back(host_of):
    loaded = host_of("fragile")
    os.kill(loaded.session.pids[0], signal.SIGKILL)
    answer = loaded.answer(row(3), {})
    assert (answer.outputs["doubled"].tolist(), answer.substituted) == ([6], ())


def test_a_call_whose_time_is_over_does_not_wait_for_the_worker(host_of):
    loaded = host_of("fragile")
    os.kill(loaded.session.pids[0], signal.SIGKILL)
    with pytest.raises(EngineCrashError):
        loaded.answer(row(3), {}, Urgency(deadline=time.perf_counter() + 0.001))


def test_poison_is_an_error_where_there_is_no_other_engine_and_others_are_served(host_of):
    loaded = host_of("fragile")
    with pytest.raises(EngineCrashError, match="SIGSEGV"):
        loaded.answer(row(SEGFAULT), {})
    with pytest.raises(EngineCrashError, match="3 times"):
        loaded.answer(row(SEGFAULT), {})
    assert loaded.answer(row(3), {}).outputs["doubled"].tolist() == [6]


def test_in_a_batch_only_the_row_that_kills_fails(host_of):
    loaded = host_of("fragile")
    answers = loaded.answer_many([row(SEGFAULT), row(2), row(3)], {})
    assert isinstance(answers[0], EngineCrashError)
    assert [answer.outputs["doubled"].tolist() for answer in answers[1:]] == [[4], [6]]


@pytest.mark.parametrize("engines", [("fragile",), ("fragile", "sturdy")])
def test_workers_that_are_killed_under_load_fail_no_call(host_of, engines):
    loaded = host_of(*engines)
    done, answered = threading.Event(), threading.Semaphore(0)

    def ask(seed):
        draw = np.random.default_rng(seed)
        asked = 0
        while not done.is_set():
            given = draw.random(draw.integers(1, 2000), np.float32)
            answer = loaded.answer({"given": given}, {})
            np.testing.assert_array_equal(answer.outputs["doubled"], given * 2)
            asked += 1
            answered.release()
        return asked

    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask, seed) for seed in range(4)]
        try:
            # until then a run that hangs is given the ten seconds of a first one
            assert all(answered.acquire(timeout=20) for _ in range(100))
            for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP, signal.SIGKILL):
                wait_until(lambda: loaded.session.pids)
                (pid,) = loaded.session.pids
                os.kill(pid, number)
                wait_until(lambda pid=pid: loaded.session.pids not in {(), (pid,)})
        finally:
            done.set()
        assert all(each.result() > 0 for each in asked)


def test_a_file_is_opened_and_answered_without_a_runtime_in_the_application(echo_package):
    (file,) = echo_package.root.glob("*.onnx")
    program = (
        "import sys, wherever\n"
        "with wherever.Client(isolation='process') as client:\n"
        "    print(client.open(sys.argv[1], task='tensors').signature.inputs[0].name)\n"
        "    print(sorted({'onnxruntime', 'openvino', 'ai_edge_litert'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(file)], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("\n[]\n")


def test_a_system_that_cannot_have_workers_says_so(monkeypatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(SettingsError, match="isolation='process' starts Python by its path"):
        IsolatedEngines()
    monkeypatch.delattr("socket.AF_UNIX")
    with pytest.raises(SettingsError, match="Unix sockets"):
        IsolatedEngines()
