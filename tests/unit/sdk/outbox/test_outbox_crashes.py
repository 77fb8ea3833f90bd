"""Nothing acknowledged is lost and nothing is recorded twice, wherever the process ends."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wherever_contracts.errors import OutboxFullError

# what happens: (what, which call)
STORY = [
    ("add", 0),
    ("add", 1),
    ("answer", 0),
    ("tell", 0),
    ("add", 2),
    ("recover", 0),
    ("refuse", 1),
    ("add", 1),
    ("answer", 1),
    ("drop", 2),
    ("add", 3),
    ("prune", 0),
    ("answer", 3),
    ("recover", 0),
]


class Owner:
    """Uses an outbox over crashes, and remembers what was promised."""

    def __init__(self, scene, disk):
        self.scene = scene
        self.letters = {n: scene.letter(f"a-{n}", size=40 + n) for n in range(4)}
        self.added: set[int] = set()
        self.asked: set[int] = set()
        self.results: dict[int, float] = {}
        self.given: set[int] = set()
        self.told: set[int] = set()
        self.number = 0.0
        self.begin(disk)

    def begin(self, disk):
        self.disk = disk
        self.box = self.scene.box(disk)

    def does(self, what, n):
        letter = self.letters[n]
        if what == "add":
            if n in self.told:
                return  # its result may be forgotten by now, and no id is used twice
            self.asked.add(n)
            self.box.add(letter)
            self.added.add(n)
        elif what == "recover":
            self.box.recover()
        elif what == "prune":
            self.box.prune(short_by=1)
        elif what == "tell":
            if self.box.result(letter.entry.id):
                self.told.add(n)
                self.box.told(letter.entry.id)
        else:
            self.ends(what, n)

    def ends(self, what, n):
        """As who drains does: only a call that waits is sent, and what came of it is recorded."""
        letter = self.box.letter(self.letters[n].entry.id)
        if letter is None or n in self.waiting_over():
            return
        self.number += 1
        if what == "answer":
            fresh = self.box.record(self.scene.answer(letter, self.number))
        elif what == "refuse":
            fresh = self.box.record(self.scene.end(letter))
        else:
            self.box.drop(self.scene.end(letter, "dropped"))
            fresh = self.box.result(letter.entry.id) is not None
            if not fresh:  # a full disk has no room for the note that its owner gave it up
                self.added.discard(n)
        if fresh:
            assert n not in self.given, "recorded twice"
            self.given.add(n)
            self.results[n] = self.said(n)

    def waiting_over(self):
        return {n for n in self.letters if self.box.result(f"a-{n}") is not None}

    def said(self, n):
        result = self.box.result(f"a-{n}")
        assert result is not None
        return float(result.answer.outputs["scores"][0]) if result.answer else result.kind

    def holds_what_was_promised(self):
        self.box.recover()
        waiting = {each.entry.id: each for each in self.box.waiting()}
        for n, letter in self.letters.items():
            id_ = letter.entry.id
            result = self.box.result(id_)
            assert not self.box.is_damaged(id_)
            assert not (id_ in waiting and result), "a call that is over waits"
            if n in self.told and not result:
                assert id_ not in waiting, "a call waits again after its result was forgotten"
                continue
            if n in self.added:
                assert id_ in waiting or result, "an acknowledged call is lost"
            if n not in self.asked:
                assert id_ not in waiting
                assert not result
            if id_ in waiting:
                assert self.box.letter(id_) == letter
            if n in self.results:
                assert self.said(n) == self.results[n], "a result has changed"
        pending, results = self.names("pending"), self.names("results")
        assert not [name for name in pending + results if name.startswith(".")]
        assert not {Path(name).stem for name in pending} & {Path(name).stem for name in results}

    def names(self, folder):
        try:
            return self.disk.names(self.scene.HOME / "outbox" / folder)
        except FileNotFoundError:
            return []


def steps_of(scene, story):
    disk = scene.Disk()
    owner = Owner(scene, disk)
    for what, n in story:
        owner.does(what, n)
    return disk.steps


def crashed(scene, story, step):
    """An owner whose process died before the step."""
    owner = Owner(scene, scene.Disk(crash_at=step))
    try:
        for what, n in story:
            owner.does(what, n)
    except scene.CrashError:
        return owner
    raise AssertionError(f"there is no step {step}")


def goes_on(owner, story):
    """The same again after the crash, and whatever waits is answered."""
    owner.holds_what_was_promised()
    for what, n in story:
        owner.does(what, n)
    for n in owner.letters:
        owner.does("answer", n)
    owner.holds_what_was_promised()
    assert owner.box.waiting() == []


def test_a_process_that_is_killed_before_any_step_loses_and_doubles_nothing(scene):
    steps = steps_of(scene, STORY)
    assert steps > 60
    for step in range(1, steps + 1):
        owner = crashed(scene, STORY, step)
        owner.begin(owner.disk.after_kill())
        goes_on(owner, STORY)


def test_a_power_cut_before_any_step_loses_and_doubles_nothing(scene):
    for step in range(1, steps_of(scene, STORY) + 1):
        for seed in range(8):
            owner = crashed(scene, STORY, step)
            owner.begin(owner.disk.after_power_cut(random.Random(1000 * step + seed)))
            goes_on(owner, STORY)


def test_what_the_next_process_saw_or_tidied_stays_so_when_the_power_is_cut_then(scene):
    for step in range(1, steps_of(scene, STORY) + 1):
        for seed in range(8):
            owner = crashed(scene, STORY, step)
            owner.begin(owner.disk.after_kill())
            owner.results = {n: owner.said(n) for n in owner.waiting_over()}
            if seed % 2:
                owner.box.recover()
            owner.begin(owner.disk.after_power_cut(random.Random(1000 * step + seed)))
            goes_on(owner, STORY)


OPERATIONS = st.tuples(
    st.sampled_from(["add", "answer", "refuse", "drop", "tell", "recover", "prune"]),
    st.integers(0, 3),
)
LIVES = st.lists(
    st.tuples(
        st.lists(OPERATIONS, min_size=1, max_size=12),
        st.integers(1, 120),
        st.booleans(),
        st.integers(0, 2**32),
    ),
    min_size=1,
    max_size=4,
)


@given(LIVES)
@settings(max_examples=300)
def test_however_often_it_crashes_nothing_is_lost_or_doubled(scene, lives):
    owner = Owner(scene, scene.Disk())
    for story, step, power, seed in lives:
        owner.disk.crash_at = owner.disk.steps + step
        try:
            for what, n in story:
                owner.does(what, n)
        except scene.CrashError:
            pass
        chance = random.Random(seed)
        disk = owner.disk
        owner.begin(disk.after_power_cut(chance) if power else disk.after_kill())
        owner.holds_what_was_promised()
    goes_on(owner, [])


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("stays_full", [False, True])
def test_a_disk_that_fails_at_any_step_loses_and_doubles_nothing(scene, error, stays_full):
    for step in range(1, steps_of(scene, STORY) + 1):
        owner = Owner(scene, scene.Disk(fail_at=step, error=error, stays_full=stays_full))
        for what, n in STORY:
            try:
                owner.does(what, n)
            except (OSError, OutboxFullError) as failure:
                assert isinstance(failure, OutboxFullError) or what != "add" or error == errno.EIO
        owner.begin(owner.disk.after_kill())
        goes_on(owner, STORY)


def test_a_disk_that_fails_and_then_loses_its_power_keeps_what_was_acknowledged(scene):
    for step in range(1, steps_of(scene, STORY) + 1):
        owner = Owner(scene, scene.Disk(fail_at=step, error=errno.EIO))
        for what, n in STORY:
            try:
                owner.does(what, n)
            except OSError:
                break
        owner.begin(owner.disk.after_power_cut(random.Random(step)))
        goes_on(owner, STORY)
