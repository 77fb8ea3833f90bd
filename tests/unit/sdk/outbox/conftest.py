"""A disk that forgets: what was not synced may be gone, whole or in part, after a power cut."""

from __future__ import annotations

import copy
import errno
import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from wherever._outbox.age import Stamp
from wherever._outbox.box import Bounds, Box
from wherever._outbox.entry import Entry, Letter, Result
from wherever_contracts.receipts import Answer, Ran
from wherever_contracts.wire.tensors import InferRequest, WireTensor

HOME = Path("/data/home")
RAN = Ran("m", "1.0.0", "large", "d", "v", "local", "onnxruntime", "1", "cpu", "float32", 1)
CREATED = Stamp(1.8e9, 1000.0, "boot-1")
AMPLE = Bounds(max_bytes=1 << 30, max_entries=1000, keep_s=1e9)


class CrashError(BaseException):
    """The process is gone."""


@dataclass
class File:
    content: bytes = b""
    synced: bytes = b""


@dataclass
class Folder:
    """Names, and for each that is not certain every state that it had since it was."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    certain: dict[str, File | Folder] = field(default_factory=dict)
    since: dict[str, list[File | Folder | None]] = field(default_factory=dict)

    def put(self, name: str, node: File | Folder | None) -> None:
        self.since.setdefault(name, []).append(node)
        if node is None:
            del self.names[name]
        else:
            self.names[name] = node

    def sync(self) -> None:
        self.certain, self.since = dict(self.names), {}


class SimulatedDisk:
    """`Disk` in memory: every write, sync, link, rename and removal is a step that can be the last.

    Args:
        crash_at: the step before which the process dies.
        fail_at: the step that fails with `error`; every later one that needs room fails, too, when
            `stays_full`.
    """

    def __init__(self, crash_at=0, fail_at=0, error=errno.ENOSPC, *, stays_full=False):
        self.root = Folder()
        self.steps = 0
        self.crash_at, self.fail_at = crash_at, fail_at
        self.error, self.stays_full = error, stays_full
        home = self.root
        for part in HOME.parts[1:]:
            home.put(part, Folder())
            if part != HOME.name:  # the home itself is new, and not certain yet
                home.sync()
            home = home.names[part]

    def make_private(self, directory):
        if directory.parent == HOME and HOME.name not in self._folder(HOME.parent).names:
            self.make_private(HOME)
        parent = self._folder(directory.parent)
        if directory.name not in parent.names:
            self._step(takes_room=True)
            parent.put(directory.name, Folder())
        self.sync_names(directory.parent)

    def names(self, directory):
        return list(self._folder(directory).names)

    def size(self, path):
        return len(self._file(path).content)

    def read(self, path, most=-1):
        content = self._file(path).content
        return content if most < 0 else content[:most]

    def write_new(self, path, data):
        self._step(takes_room=True)
        folder = self._folder(path.parent)
        if path.name in folder.names:
            raise FileExistsError(errno.EEXIST, "there is one", str(path))
        file = File()
        folder.put(path.name, file)
        for part in (data[: len(data) // 2], data):
            self._step(takes_room=True)
            file.content = part
        self._step(takes_room=True)
        file.synced = data

    def link(self, source, target):
        self._step(takes_room=True)
        file = self._file(source)
        folder = self._folder(target.parent)
        if target.name in folder.names:
            raise FileExistsError(errno.EEXIST, "there is one", str(target))
        folder.put(target.name, file)

    def rename(self, source, target):
        self._step(takes_room=True)
        file = self._file(source)
        self._folder(target.parent).put(target.name, file)
        self._folder(source.parent).put(source.name, None)

    def unlink(self, path):
        self._step()
        folder = self._folder(path.parent)
        if path.name in folder.names:
            folder.put(path.name, None)

    def sync_names(self, directory):
        self._step()
        self._folder(directory).sync()

    def damage(self, path, position):
        """One bit of a file turns."""
        file = self._file(path)
        turned = bytearray(file.content)
        turned[position % len(turned)] ^= 1
        file.content = file.synced = bytes(turned)

    def after_kill(self):
        """The disk as the next process finds it: the machine went on, so nothing is lost."""
        after = SimulatedDisk()
        after.root = copy.deepcopy(self.root)
        return after

    def after_power_cut(self, chance: random.Random):
        """The disk after the power was gone: what was not synced is there, in part, or not."""
        after = SimulatedDisk()
        after.root = _survivors(copy.deepcopy(self.root), chance, {})
        return after

    def _step(self, *, takes_room=False):
        self.steps += 1
        if self.steps == self.crash_at:
            raise CrashError
        full = takes_room and self.stays_full and 0 < self.fail_at < self.steps
        if self.steps == self.fail_at or full:
            raise OSError(self.error, "as told")

    def _folder(self, path) -> Folder:
        folder = self.root
        for part in path.parts[1:]:
            folder = folder.names.get(part)
            if folder is None:
                raise FileNotFoundError(errno.ENOENT, "no such directory", str(path))
        return folder

    def _file(self, path) -> File:
        file = self._folder(path.parent).names.get(path.name)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
        return file


def _survivors(folder: Folder, chance, seen) -> Folder:
    """What is left of a folder; a file with two names has one content."""
    names = {}
    for name in {*folder.certain, *folder.since}:
        node = chance.choice([folder.certain.get(name), *folder.since.get(name, [])])
        if isinstance(node, Folder):
            names[name] = _survivors(node, chance, seen)
        elif node is not None:
            if id(node) not in seen:
                seen[id(node)] = File(content := _torn(node, chance), content), node
            names[name] = seen[id(node)][0]
    return Folder(names, dict(names))


def _torn(file: File, chance) -> bytes:
    if file.content == file.synced:
        return file.content
    cut = chance.randrange(len(file.content) + 1)
    blank = bytes(len(file.content) - cut)
    return chance.choice(
        [file.synced, file.content, file.content[:cut], file.content[:cut] + blank]
    )


@dataclass
class Clock:
    """Seconds that pass when told; the wall may jump."""

    up_s: float = 1000.0
    wall_s: float = 1.8e9
    boot: str = "boot-1"

    def __call__(self) -> Stamp:
        return Stamp(self.wall_s, self.up_s, self.boot)

    def passes(self, seconds: float) -> None:
        self.up_s += seconds
        self.wall_s += seconds

    def restarts(self) -> None:
        self.boot += "+"
        self.up_s = 1.0


class Scene:
    """What the tests of the outbox share."""

    HOME = HOME
    AMPLE = AMPLE
    Disk = SimulatedDisk
    Clock = Clock
    CrashError = CrashError

    @staticmethod
    def letter(id_="a-1", *, created=CREATED, size=64, **facts) -> Letter:
        entry = Entry(
            **{
                "id": id_,
                "model": "m",
                "version": "1.0.0",
                "package_digest": "d",
                "variant": "large",
                "boundary": "anywhere",
                "places": ("nearby", "cloud"),
                "release": "",
                "placement": (),
                "priority": "interactive",
                "created": created,
                "ttl_s": 3600.0,
                **facts,
            }
        )
        data = (id_.encode() * size)[:size]
        tensor = WireTensor("x", "UINT8", (size,), data, "image/png")
        request = InferRequest("m", "1.0.0", id_, {"min_score": 0.5, "n": 3}, (tensor,), ("y",))
        return Letter(entry, request._replace(boundary="anywhere"), b'{"inputs": []}')

    @staticmethod
    def answer(letter: Letter, number: float = 1.0) -> Result:
        outputs = {"scores": np.array([number, 2.0], np.float32)}
        answer = Answer(outputs, 0.5, RAN, 0.01, protocol="grpc", queue_s=0.002)
        entry, _, signature = letter
        return Result(entry, signature, entry.created, answer, "cloud", "gw:8001")

    @staticmethod
    def end(letter: Letter, kind="refused") -> Result:
        entry, _, signature = letter
        return Result(entry, signature, entry.created, None, kind=kind, error="it said no")

    @staticmethod
    def box(disk, clock=None, bounds=AMPLE) -> Box:
        return Box(HOME / "outbox", disk, clock or Clock(), bounds)


@pytest.fixture(scope="session")
def scene() -> type[Scene]:
    return Scene
