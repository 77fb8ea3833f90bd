"""Recorded calls run again: the same bits, or the reason named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, save
from PIL import Image as Pillow

import wherever
from wherever._records.journal import Journal
from wherever._records.record import Record, summary_of
from wherever._replay.given import KeptInputs
from wherever._replay.outcome import Replayed
from wherever._replay.replaying import Replayer, replay_record
from wherever_convert.builder import build_package
from wherever_edge.host import LocalHost
from wherever_edge.oip.server import InferenceServer
from wherever_edge.packages.store import Package, Store

TILTED = np.array([0.5, 4.0, 0.25], np.float32)


@pytest.fixture
def journal(own_home: Path) -> Iterator[Journal]:
    with closing(Journal(own_home, max_bytes=1 << 24)) as opened:
        yield opened


@pytest.fixture
def client(scales_package: Package) -> Iterator[wherever.Client]:
    with wherever.Client(packages=[scales_package.root]) as opened:
        yield opened


@pytest.fixture
def serve() -> Iterator[Callable[[Package], str]]:
    """Serves a package as a gateway does; its address."""
    servers: list[tuple[InferenceServer, LocalHost]] = []

    def start(package: Package) -> str:
        host = LocalHost(Store([package.root], builtin=False), distance="cloud")
        server = InferenceServer(host, port=0)
        server.start()
        servers.append((server, host))
        return f"127.0.0.1:{server.port}"

    yield start
    for server, host in servers:
        server.drain(5)
        host.close()


def noted(
    journal: Journal, p: wherever.Prediction, *, kept: bool = True, outputs: bool = False
) -> Record:
    """A call that is written down, as `record=True` does it."""
    context = p.context
    record = Record(
        receipt=p.receipt,
        options=dict(context.options),
        confidence=p.confidence,
        summary=summary_of(p.value),
        input_digest=journal.input_digest(context.inputs),
        answer_digest=journal.answer_digest(p.outputs),
        reference=context.plan.reference,
        outputs=p.outputs if outputs else None,
    )
    journal.put(record, context.inputs if kept else None)
    journal.flush()
    return record


@pytest.fixture
def again(journal: Journal) -> Iterator[Callable[..., Replayed]]:
    """Runs a call again with a client's packages and the journal's inputs."""
    opened: dict[Any, Replayer] = {}

    def run(record: Record, client: wherever.Client, **options: Any) -> Replayed:
        key = (client, *options)
        if key not in opened:
            opened[key] = Replayer(client, KeptInputs(journal.directory), **options)
        return opened[key].replay(record)

    yield run
    for replayer in opened.values():
        replayer.close()


def falsified(record: Record) -> Record:
    return replace(record, answer_digest="0" * 32)


def ran_otherwise(record: Record, **facts: Any) -> Record:
    receipt = record.receipt
    return replace(record, receipt=replace(receipt, ran=receipt.ran._replace(**facts)))


def one_graph(
    root: Path,
    nodes: list[Any],
    axes: list[Any],
    tensor: dict[str, Any],
    shape: list[int],
    pipeline: dict[str, Any],
) -> Package:
    """A package of one graph from "x" to "y"; the model takes "given" and gives "made"."""
    root.mkdir()
    given, made = (helper.make_tensor_value_info(name, TensorProto.FLOAT, axes) for name in "xy")
    graph = helper.make_graph(nodes, root.name, [given], [made])
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), root / "graph.onnx")
    tensors = {"inputs": [{"name": "x", **tensor}], "outputs": [{"name": "y", **tensor}]}
    variant = {
        "id": "only",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "graph.onnx"}],
        "tensors": {**tensors, "batch": tensor["shape"][0] == -1},
        "pipeline": pipeline,
    }
    outside = {"dtype": "float32", "shape": shape}
    signature = {
        "inputs": [{"name": "given", "kind": "tensor", **outside}],
        "outputs": [{"name": "made", **outside}],
        "value": {"kind": "tensors"},
    }
    manifest = {"name": root.name, "version": "1.0.0", "boundary": "device", "reference": "only"}
    return build_package(root, {**manifest, "signature": signature, "variants": [variant]})


def test_calls_of_this_device_give_the_same_bits_again(journal, client, answered):
    rows = np.random.default_rng(0).uniform(0, 16, (20, 8, 8)).astype(np.float32)
    for p in [client.predict("digits", row) for row in rows]:
        noted(journal, p)
    for p in client.model("scales").map([row[0, :3] for row in rows]):
        noted(journal, p)
    found = answered("replay", journal.directory, "--packages", client.settings.packages[0])
    assert (found["receipts"], found["identical"], found["apart"]) == (40, 40, [])
    assert answered("replay", journal.directory.parent, code=1)["not_run"] == 20, (
        "scales is not known"
    )


def test_a_call_is_named_by_its_id(journal, client, answered, capsys):
    record = noted(journal, client.predict("digits", np.full((8, 8), 3, np.float32)))
    assert answered("replay", record.receipt.id)["identical"] == 1
    said = answered("replay", "no-such-call", code=1)["error"]
    assert "the id of a recorded call" in said["message"]


def test_inputs_in_hand_need_no_journal(journal, client):
    p = client.predict("scales", TILTED)
    record = noted(journal, p, kept=False)
    assert replay_record(record, {"numbers": TILTED}, client).same
    assert replay_record(record, None, client).reason == "inputs_not_kept"
    other = replay_record(record, {"numbers": TILTED + 1}, client)
    assert (other.end, other.reason, other.settled) == ("not_run", "other_input", False)
    assert replay_record(record, {"numbers": TILTED[:2]}, client).reason == "damaged_input"


def test_inputs_that_were_not_kept_are_found_among_a_users_own_files(
    journal, client, tmp_path, answered
):
    record = noted(journal, client.predict("digits", np.eye(8, dtype=np.float32)), kept=False)
    id_ = record.receipt.id
    (told,) = answered("replay", id_, code=1)["apart"]
    assert told["reason"] == "inputs_not_kept"
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("no digit")
    np.save(folder / "another.npy", np.zeros((8, 8), np.float32))
    assert answered("replay", id_, "--inputs", folder, code=1)["reasons"] == {"inputs_not_kept": 1}
    np.save(folder / "some.npy", np.eye(8, dtype=np.float32))
    assert answered("replay", id_, "--inputs", folder)["identical"] == 1
    (folder / "some.npy").unlink()
    np.save(folder / f"{id_}.npy", np.ones((8, 8), np.float32))
    assert answered("replay", id_, "--inputs", folder, code=1)["reasons"] == {"other_input": 1}


def test_frames_of_a_journal_may_be_given_too(journal, client, tmp_path, answered):
    record = noted(journal, client.predict("digits", np.eye(8, dtype=np.float32)))
    folder = tmp_path / "frames"
    (journal.directory / "inputs").rename(folder)
    assert answered("replay", record.receipt.id, "--inputs", folder)["identical"] == 1


def test_damaged_inputs_are_named(journal, again, client):
    record = noted(journal, client.predict("scales", TILTED))
    (frame,) = (journal.directory / "inputs").iterdir()
    data = bytearray(frame.read_bytes())
    data[-1] ^= 1
    frame.write_bytes(data)
    assert again(record, client).reason == "damaged_input"


def test_what_fails_costs_its_own_call_alone(journal, again, client):
    first, other = (noted(journal, client.predict("scales", TILTED * n)) for n in (1, 2))
    frame = journal.directory / "inputs" / f"{first.input_digest}.frame"
    frame.unlink()
    frame.mkdir()
    assert again(first, client).reason == "failed"
    assert again(other, client).same
    assert again(replace(other, options={"unknown": 1.0}), client).reason == "failed"


def test_what_is_not_here_is_named(journal, again, client, build_scales, tmp_path):
    record = noted(journal, client.predict("scales", TILTED))
    assert again(ran_otherwise(record, model="none"), client).reason == "package_missing"
    unsaid = ran_otherwise(record, variant_digest="not said")
    assert again(unsaid, client).reason == "not_said"
    gone = ran_otherwise(record, variant="tiny", variant_digest="0" * 64)
    assert again(gone, client).reason == "variant_missing"
    elsewhere = ran_otherwise(record, variant_digest="0" * 64, package_digest="1" * 64)
    assert again(elsewhere, client).reason == "package_digest"
    assert again(replace(record, answer_digest=""), client).reason == "no_answer_digest"


def test_a_variant_whose_files_are_damaged_does_not_run(
    journal, again, client, scales_package, tmp_path
):
    record = noted(journal, client.predict("scales", TILTED))
    here = tmp_path / "scales"
    shutil.copytree(scales_package.root, here)
    data = bytearray((here / "small.onnx").read_bytes())
    data[-1] ^= 1
    (here / "small.onnx").write_bytes(data)
    with wherever.Client(packages=[here]) as other:
        found = again(record, other)
    assert (found.reason, "small.onnx" in found.why) == ("not_here", True)


def test_another_package_with_the_same_variant_serves(journal, again, client):
    record = noted(journal, client.predict("scales", TILTED))
    assert again(ran_otherwise(record, package_digest="1" * 64), client).same


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("engine_version", "0.1"),
        ("engine", "another"),
        ("provider", "SomeExecutionProvider"),
        ("precision", "bfloat16"),
    ],
)
def test_what_runs_otherwise_here_explains_other_bits(journal, again, client, fact, value):
    record = noted(journal, client.predict("scales", TILTED))
    otherwise = ran_otherwise(record, **{fact: value})
    found = again(otherwise, client)
    assert found.same, "the bits count, not the words"
    found = again(falsified(otherwise), client)
    assert (found.end, found.reason, found.settled) == ("close", fact, True)


def test_the_number_of_threads_is_that_of_the_call(journal, again, client):
    record = noted(journal, client.predict("scales", TILTED))
    two = ran_otherwise(record, threads=2)
    assert again(falsified(two), client).reason == "unknown", "two threads ran it now, too"


def test_other_bits_for_no_known_reason_are_a_failure(journal, again, client, answered):
    record = noted(journal, client.predict("scales", TILTED))
    found = again(falsified(record), client)
    assert (found.end, found.reason, found.settled) == ("close", "unknown", False)
    worse = replace(falsified(record), summary={"label": "left", "score": 0.9})
    assert again(worse, client).end == "different"
    found = again(ran_otherwise(worse, engine_version="0.1"), client)
    assert (found.reason, found.far, found.settled) == ("engine_version", True, False)


def test_outputs_that_were_written_down_are_compared_by_the_variants_tolerance(
    journal, again, client
):
    record = noted(journal, client.predict("scales", TILTED), outputs=True)
    scores = record.outputs["scores"]
    near = replace(falsified(record), outputs={"scores": scores + np.float32(1e-4)})
    far = replace(falsified(record), outputs={"scores": scores + np.float32(1e-1)})
    assert [again(each, client).end for each in (near, far)] == ["close", "different"]


@pytest.fixture
def crowd(tmp_path: Path) -> Package:
    """Adds to its number how many rows share the run, as company does to the last bits."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"], end=1),
        helper.make_node("Cast", ["shape"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "rows"], ["y"]),
    ]
    shape = {"dtype": "float32", "shape": [-1, 1]}
    pipeline = {
        "pre": [{"op": "reshape", "name": "given", "to": "x", "shape": [1, 1]}],
        "post": [{"op": "first_row", "name": "y", "to": "made"}],
    }
    return one_graph(tmp_path / "crowd", nodes, ["rows", 1], shape, [1], pipeline)


def test_a_shared_run_is_tried_with_as_many_rows(journal, again, crowd):
    rows = np.arange(12, dtype=np.float32).reshape(12, 1)
    with wherever.Client(packages=[crowd.root]) as client:
        records = [noted(journal, p) for p in client.model("crowd").map(rows, batch=12)]
        lone = noted(journal, client.predict("crowd", rows[0]))
        assert {record.receipt.rows for record in records} == {12}
        found = [again(record, client) for record in records]
        assert {(each.end, each.reason, each.settled) for each in found} == {
            ("different", "shared_run", True)
        }
        assert "in such a run it is identical" in found[0].why
        assert again(lone, client).same
        changed = again(falsified(records[0]), client)
    why = "it shared a run of the engine with other calls (12 rows)"
    assert (changed.reason, changed.why) == ("shared_run", why)


def test_a_kept_answer_is_run_again(journal, again, client):
    client.predict("scales", TILTED, cache=True)
    record = noted(journal, client.predict("scales", TILTED, cache=True))
    assert record.receipt.cache == "hit"
    assert again(record, client).same
    assert again(falsified(record), client).reason == "kept"


def test_another_devices_records_are_known_by_their_outputs_or_summaries(
    journal, again, client, crowd, tmp_path, monkeypatch
):
    p = client.predict("scales", TILTED)
    digest_only, whole = noted(journal, p), noted(journal, p, outputs=True)
    changed = replace(digest_only, summary={**digest_only.summary, "label": "another"})
    monkeypatch.setenv("WHEREVER_HOME", str(tmp_path / "other"))
    with wherever.Client(packages=[*client.settings.packages, crowd.root]) as other:
        tensors = noted(journal, other.predict("crowd", TILTED[:1]))
        found = again(digest_only, other)
        assert (found.end, found.reason, found.settled) == ("close", "device_key", True)
        found = again(changed, other)
        assert (found.end, found.reason, found.settled) == ("different", "device_key", False)
        found = again(tensors, other)
        assert (found.end, found.reason, found.settled) == ("not_run", "no_key", False)
        assert again(whole, other).same


@pytest.mark.parametrize("of_key", [True, False])
def test_another_devices_journal_is_compared_bit_by_bit_where_its_key_came_along(
    of_key, journal, client, answered, own_home, tmp_path, monkeypatch
):
    noted(journal, client.predict("digits", np.eye(8, dtype=np.float32)))
    brought = tmp_path / "brought"
    shutil.copytree(journal.directory, brought / "receipts")
    if of_key:
        shutil.copy(own_home / "device.key", brought)
    monkeypatch.setenv("WHEREVER_HOME", str(tmp_path / "other"))
    for named in (brought, brought / "receipts", *brought.glob("receipts/receipts-*")):
        found = answered("replay", named)
        assert (found["identical"], found["close"]) == ((1, 0) if of_key else (0, 1))
    assert of_key or not (brought / "device.key").exists()


def test_the_answer_of_another_host_is_had_here_where_its_variant_runs(
    journal, again, client, serve, scales_package
):
    arguments = {"packages": client.settings.packages, "gateways": [serve(scales_package)]}
    with wherever.Client(**arguments) as remote:
        record = noted(journal, remote.predict("scales", TILTED, mode="only_in_cloud"))
    assert (record.receipt.place, record.receipt.ran.variant) == ("cloud", "large")
    assert again(record, client).same
    assert again(falsified(record), client).reason == "other_host"


def test_a_variant_that_is_not_here_is_asked_of_its_host_when_wished(
    journal, again, serve, scales_package, tmp_path, unused_address
):
    here = tmp_path / "scales"
    shutil.copytree(scales_package.root, here)
    (here / "large.onnx").unlink()
    address = serve(scales_package)
    with wherever.Client(packages=[here], gateways=[address]) as remote:
        record = noted(journal, remote.predict("scales", TILTED, mode="only_in_cloud"))
        found = again(record, remote)
        assert (found.reason, found.settled) == ("not_here", False)
        assert "--ask-hosts" in found.why
        assert again(record, remote, ask_hosts=True).same
        apart = again(falsified(record), remote, ask_hosts=True)
        assert (apart.end, apart.reason) == ("close", "other_host")
        stricter = replace(record, receipt=replace(record.receipt, boundary="device"))
        assert again(stricter, remote, ask_hosts=True).reason == "host"
    with wherever.Client(packages=[here]) as alone:
        assert again(record, alone, ask_hosts=True).reason == "host"
    with wherever.Client(packages=[here], gateways=[unused_address]) as away:
        moved = replace(record, receipt=replace(record.receipt, host=unused_address))
        assert again(moved, away, ask_hosts=True).reason == "host"


@pytest.fixture
def pictures(tmp_path: Path) -> Package:
    """Gives the mean colours of an image, of which only a small copy may leave the device."""
    root = tmp_path / "packages" / "colours"
    root.mkdir(parents=True)
    mean = helper.make_node("ReduceMean", ["x"], ["colours"], axes=[2, 3], keepdims=0)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("colours", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([mean], "colours", [given], [made])
    opset = helper.make_opsetid("", 17)
    save(helper.make_model(graph, opset_imports=[opset], ir_version=9), root / "colours.onnx")
    steps = [{"op": "blur", "radius": 2}, {"op": "downscale", "max_side": 16}]
    output = {"name": "colours", "dtype": "float32", "shape": [1, 3]}
    image = {"name": "x", "dtype": "float32", "shape": [1, 3, 8, 8]}
    variant = {
        "id": "only",
        "format": "onnx",
        "precision": "float32",
        "files": [{"path": "colours.onnx"}],
        "tensors": {"inputs": [image], "outputs": [output]},
        "pipeline": {"pre": [{"op": "image_tensor", "name": "image", "to": "x", "size": [8, 8]}]},
    }
    manifest = {
        "name": "colours",
        "version": "1.0.0",
        "boundary": "device",
        "release": [{"name": "small", "input": "image", "steps": steps, "boundary": "anywhere"}],
        "reference": "only",
        "signature": {
            "inputs": [{"name": "image", "kind": "image"}],
            "outputs": [output],
            "value": {"kind": "tensors"},
        },
        "variants": [variant],
    }
    return build_package(root, manifest)


def test_what_a_release_rule_made_is_made_again(journal, again, serve, pictures, tmp_path):
    pixels = np.random.default_rng(2).integers(0, 255, (40, 30, 3), np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "photo.png")
    with wherever.Client(packages=[pictures.root], gateways=[serve(pictures)]) as client:
        for picture in (pixels, tmp_path / "photo.png"):
            sent = noted(journal, client.predict("colours", picture, mode="only_in_cloud"))
            here = noted(journal, client.predict("colours", picture))
            assert sent.receipt.released == "small"
            assert sent.answer_digest != here.answer_digest
            assert [again(each, client).same for each in (sent, here)] == [True, True]
        assert again(falsified(sent), client).reason == "released"
        chained = replace(sent, receipt=replace(sent.receipt, released="of a chain"))
        assert again(chained, client).reason == "not_here"


def test_a_model_that_rolls_dice_is_told_from_one_that_changed(journal, again, tmp_path):
    nodes = [
        helper.make_node("RandomUniformLike", ["x"], ["noise"]),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    pipeline = {
        "pre": [{"op": "reshape", "name": "given", "to": "x", "shape": [1, 3]}],
        "post": [{"op": "first_row", "name": "y", "to": "made"}],
    }
    tensor = {"dtype": "float32", "shape": [1, 3]}
    dice = one_graph(tmp_path / "dice", nodes, [1, 3], tensor, [3], pipeline)
    with wherever.Client(packages=[dice.root]) as client:
        client.predict("dice", TILTED)  # the first of a session is always the same
        found = again(noted(journal, client.predict("dice", TILTED)), client)
    assert (found.end, found.reason, found.settled) == ("different", "unsteady", False)


def test_a_person_reads_how_many_came_out_how(journal, client, capsys, own_home):
    for number in range(30):
        p = client.predict("digits", np.full((8, 8), number % 16, np.float32))
        journal.put(falsified(noted(journal, p)), None)
    journal.flush()
    (segment,) = journal.directory.glob("receipts-*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"schema": 1, "rec')
    with pytest.raises(SystemExit) as ended:
        wherever.cli.main(["replay", str(journal.directory)])
    assert ended.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "60 receipts: 30 identical, 30 within the tolerance, 0 different, 0 not run"
    assert lines[1] == "  30 x unknown: nothing that is known of the call explains it"
    assert lines[-2] == "and 10 more (--json names them all)"
    assert lines[-1].startswith("1 lines could not be read; the first: ")


def test_a_directory_without_receipts_and_half_a_command_are_refused(tmp_path, answered, capsys):
    said = answered("replay", tmp_path, code=1)["error"]["message"]
    assert "no receipts in" in said
    for arguments in (["replay"], ["replay", "x", "--receipts", str(tmp_path)]):
        with pytest.raises(SystemExit) as ended:
            wherever.cli.main(arguments)
        assert ended.value.code == 2
        assert "RECEIPT" in capsys.readouterr().err


def test_one_file_of_receipts_is_enough(journal, client, answered):
    noted(journal, client.predict("digits", np.eye(8, dtype=np.float32)))
    (segment,) = journal.directory.glob("receipts-*.jsonl")
    found = answered("replay", segment)
    assert found["identical"] == 1
    assert json.dumps(found["left_out"]) == "[]"
