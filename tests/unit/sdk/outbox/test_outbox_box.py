"""What an outbox holds, for how long, and how much of it."""

from __future__ import annotations

import errno
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._outbox.age import STEADY_S, Ages, Stamp
from wherever._outbox.box import Bounds
from wherever._outbox.entry import pack_letter, pack_result, unpack_letter, unpack_result
from wherever_contracts.errors import InputError, OutboxFullError
from wherever_contracts.frames import FrameError

YEAR = 365 * 86400.0


def ids(box):
    return {each.entry.id for each in box.waiting()}


def test_a_call_and_its_result_are_read_back_as_they_were(scene):
    letter = scene.letter()
    assert unpack_letter(pack_letter(letter)) == letter
    ended = scene.end(letter)
    assert unpack_result(pack_result(ended)) == ended
    answered = unpack_result(pack_result(scene.answer(letter, 7)))
    assert answered.answer.outputs["scores"].tolist() == [7, 2]
    rest = answered.answer._replace(outputs={})
    assert rest == scene.answer(letter).answer._replace(outputs={})


@given(st.data())
def test_bytes_that_are_no_call_and_no_result_are_refused_as_such(scene, data):
    whole = data.draw(
        st.sampled_from([pack_letter(scene.letter()), pack_result(scene.answer(scene.letter()))])
    )
    cut = data.draw(st.integers(0, len(whole) - 1))
    for read in (unpack_letter, unpack_result):
        with pytest.raises(FrameError):
            read(whole[:cut])
    with pytest.raises(FrameError):
        unpack_result(pack_letter(scene.letter()))
    with pytest.raises(FrameError):
        unpack_letter(pack_result(scene.answer(scene.letter())))


@pytest.mark.parametrize(
    "change",
    [
        {"boundary": "moon"},
        {"priority": "first"},
        {"id": "../a"},
        {"places": ("moon",)},
        {"places": ("cloud", "moon")},
    ],
    ids=repr,
)
def test_a_whole_frame_of_a_call_that_nobody_here_wrote_is_refused(scene, change):
    letter = scene.letter()
    forged = letter._replace(entry=letter.entry._replace(**change))
    with pytest.raises(FrameError):
        unpack_letter(pack_letter(forged))


def test_a_result_is_an_answer_or_an_error_and_comes_from_a_place(scene):
    letter = scene.letter()
    ended, answered = scene.end(letter), scene.answer(letter, 7)
    for forged in (
        ended._replace(kind=""),
        answered._replace(kind="refused"),
        answered._replace(place="moon"),
    ):
        with pytest.raises(FrameError):
            unpack_result(pack_result(forged))


@pytest.mark.parametrize("id_", ["", "../a", "a/b", ".a", "a.b", "-a", "a" * 65, "a\n"])
def test_an_id_that_is_no_name_of_a_file_is_refused(scene, id_):
    box = scene.box(scene.Disk())
    for use in (box.letter, box.result, box.told, box.is_damaged):
        with pytest.raises(InputError, match="id of a prediction"):
            use(id_)


def test_the_same_call_twice_is_in_once_and_one_that_is_over_is_not_put_in_again(scene):
    disk = scene.Disk()
    box, letter = scene.box(disk), scene.letter()
    box.add(letter)
    box.add(letter)
    assert ids(box) == {"a-1"}
    assert box.record(scene.answer(letter))
    assert not box.record(scene.end(letter))
    box.add(letter)
    assert disk.names(scene.HOME / "outbox" / "pending") == []
    assert box.result("a-1").answer is not None


@pytest.mark.parametrize("position", range(0, 600, 37))
def test_a_damaged_call_is_set_aside_and_the_others_go_on(scene, position):
    disk = scene.Disk()
    box = scene.box(disk)
    box.add(scene.letter())
    box.add(scene.letter("a-2"))
    disk.damage(scene.HOME / "outbox" / "pending" / "a-1.call", position)
    again = scene.box(disk)
    assert again.letter("a-1") is None
    assert again.is_damaged("a-1")
    assert ids(again) == {"a-2"}


def test_a_file_under_another_calls_name_is_not_sent_for_it(scene):
    disk = scene.Disk()
    box = scene.box(disk)
    box.add(scene.letter())
    folder = scene.HOME / "outbox" / "pending"
    disk.rename(folder / "a-1.call", folder / "a-2.call")
    assert box.letter("a-2") is None
    assert box.is_damaged("a-2")


def test_damaged_files_do_not_fill_the_disk(scene):
    disk = scene.Disk()
    box = scene.box(disk)
    for number in range(40):
        box.add(scene.letter(f"a-{number}"))
        disk.damage(scene.HOME / "outbox" / "pending" / f"a-{number}.call", 0)
    assert scene.box(disk).waiting() == []
    assert len(disk.names(scene.HOME / "outbox" / "damaged")) == 16


def test_a_full_outbox_refuses_and_says_how_full_it_is(scene):
    disk = scene.Disk()
    box = scene.box(disk, bounds=Bounds(max_bytes=2500, max_entries=100, keep_s=60))
    box.add(scene.letter("a-1", size=1000))
    with pytest.raises(OutboxFullError, match=r"holds 1 calls of \d+ bytes.*2500 bytes"):
        box.add(scene.letter("a-2", size=1000))
    few = scene.box(disk, bounds=Bounds(max_bytes=1 << 20, max_entries=1, keep_s=60))
    with pytest.raises(OutboxFullError, match="may hold 1 and"):
        few.add(scene.letter("a-3"))
    assert ids(box) == {"a-1"}


def test_a_call_that_waited_too_long_makes_room_and_its_result_says_so(scene):
    clock = scene.Clock()
    box = scene.box(scene.Disk(), clock, Bounds(max_bytes=1 << 20, max_entries=1, keep_s=60))
    box.add(scene.letter("a-1", ttl_s=10.0))
    clock.passes(11)
    box.add(scene.letter("a-2", created=clock()))
    assert ids(box) == {"a-2"}
    assert box.result("a-1").kind == "expired"
    assert "11 s" in box.result("a-1").error


def test_told_results_make_room_and_others_only_when_they_are_old(scene):
    clock = scene.Clock()
    bounds = Bounds(max_bytes=6000, max_entries=100, keep_s=1000)
    box = scene.box(scene.Disk(), clock, bounds)
    for number in range(3):
        letter = scene.letter(f"a-{number}")
        box.add(letter)
        box.record(scene.answer(letter)._replace(recorded=clock()))
    box.told("a-1")
    assert box.untold() == ["a-0", "a-2"]
    box.add(scene.letter("b-1", size=3000))
    assert box.result("a-1") is None
    assert box.result("a-0") is not None
    clock.passes(2000)
    box.prune()
    assert box.result("a-0") is None
    assert box.untold() == []


@pytest.mark.parametrize("seed", range(20))
def test_no_call_waits_again_after_its_result_was_forgotten(scene, seed):
    disk, letter = scene.Disk(), scene.letter()
    box = scene.box(disk)
    box.add(letter)
    box.record(scene.answer(letter))
    box.told("a-1")
    box.prune(short_by=1)
    assert ids(scene.box(disk.after_power_cut(random.Random(seed)))) == set()


def test_a_full_disk_refuses_calls_and_lets_their_owner_drop_others(scene):
    disk = scene.Disk()
    box, letter = scene.box(disk), scene.letter()
    box.add(letter)
    disk.fail_at, disk.stays_full = disk.steps + 1, True
    with pytest.raises(OutboxFullError, match="full"):
        box.add(scene.letter("a-2"))
    with pytest.raises(OSError, match="as told"):
        box.record(scene.answer(letter))
    assert ids(box) == {"a-1"}
    box.drop(scene.end(letter, "dropped"))
    assert ids(box) == set()


def test_a_disk_that_fails_otherwise_is_said_as_it_is(scene):
    disk = scene.Disk(fail_at=1, error=errno.EROFS)
    with pytest.raises(OSError, match="as told") as caught:
        scene.box(disk).add(scene.letter())
    assert not isinstance(caught.value, OutboxFullError)


def test_a_file_that_is_swept_while_it_is_made_is_made_again(scene):
    disk = scene.Disk()
    box, sweeper = scene.box(disk), scene.box(disk)
    write_new, swept = disk.write_new, []

    def write_and_sweep(path, data):
        write_new(path, data)
        if not swept:
            swept.append(path)
            sweeper.recover()

    disk.write_new = write_and_sweep
    box.add(scene.letter())
    assert swept
    assert ids(box) == {"a-1"}


def test_no_call_expires_when_the_clock_leaps_and_comes_back(scene):
    clock = scene.Clock()
    box = scene.box(scene.Disk(), clock)
    box.add(scene.letter(ttl_s=3600.0))
    for leap in (40 * YEAR, -50 * YEAR, 10 * YEAR):
        clock.wall_s += leap
        clock.passes(600)
        assert box.expire() == []
    clock.passes(1801)
    assert box.expire() == ["a-1"]


def test_after_a_restart_an_age_is_believed_once_the_clock_has_run_steadily(scene):
    clock = scene.Clock()
    box = scene.box(scene.Disk(), clock)
    box.add(scene.letter(ttl_s=86400.0))
    clock.wall_s += 2 * 86400
    clock.restarts()
    assert box.expire() == []
    clock.passes(STEADY_S - 1)
    clock.wall_s -= 3 * YEAR  # it was wrong
    assert box.expire() == []
    clock.wall_s += 3 * YEAR
    assert box.expire() == []
    clock.passes(STEADY_S)
    assert box.expire() == ["a-1"]


def test_a_stamp_of_a_clock_that_was_not_set_is_as_old_as_this_boot():
    ages = Ages()
    since = Stamp(120.0, 120.0, "one")
    assert ages.age_s(since, Stamp(1.8e9, 5.0, "two")) == 5
    assert ages.age_s(since, Stamp(1.8e9 + 5000, 5005.0, "two")) == 5005


def test_where_boots_are_not_known_the_wall_clock_is_all_there_is():
    ages = Ages()
    since = Stamp(1.8e9, 100.0, "")
    assert ages.age_s(since, Stamp(1.8e9 + 100, 0.0, "")) == 0
    assert ages.age_s(since, Stamp(1.8e9 + 100 + STEADY_S, STEADY_S, "")) == 100 + STEADY_S


moments = st.builds(
    Stamp, st.floats(0, 4e9), st.floats(0, 1e8), st.sampled_from(["", "one", "two"])
)


@given(moments, st.lists(moments, min_size=1, max_size=8))
def test_an_age_is_never_negative_and_within_a_boot_exactly_what_passed(since, times):
    ages = Ages()
    for now in times:
        age_s = ages.age_s(since, now)
        assert age_s >= 0
        if since.boot and since.boot == now.boot:
            assert age_s == max(0, now.up_s - since.up_s)
