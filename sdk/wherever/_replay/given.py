"""Where the inputs of a call are found again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from wherever._records.inputs import content_digest, unpack_inputs
from wherever._records.store import FRAME, INPUTS
from wherever._replay.outcome import NotReplayableError
from wherever_contracts.errors import WhereverError
from wherever_contracts.frames import FrameError

if TYPE_CHECKING:
    from wherever._records.record import Record
    from wherever._replay.opening import Opened

# A larger file is no input of a call.
MAX_BYTES = 256 * 1024 * 1024


class Given(NamedTuple):
    """The inputs of a call, checked.

    Attributes:
        inputs: by name.
        by_digest: they lie under the digest that the record has of them.
    """

    inputs: dict[str, Any]
    by_digest: bool


Find: TypeAlias = "Callable[[Record, Opened], Given]"


def handed(inputs: Mapping[str, Any] | None) -> Find:
    """Inputs that the caller has in hand; None: they were not kept."""

    def find(record: Record, opened: Opened) -> Given:
        if inputs is None:
            raise _not_kept(record)
        return Given(_checked(opened, inputs), by_digest=False)

    return find


class KeptInputs:
    """The inputs that a journal kept.

    Args:
        source: the journal's directory, or one that its files were copied to.
    """

    def __init__(self, source: Path) -> None:
        self._source = source

    def __call__(self, record: Record, opened: Opened) -> Given:
        """The inputs of a call.

        Raises:
            NotReplayableError: they were not kept, made room for others, or are damaged.
            OSError: they cannot be read.
        """
        digest = record.input_digest
        frame = self._frame(f"{digest}{FRAME}") if digest.isalnum() else None
        if frame is None:
            raise _not_kept(record)
        try:
            inputs = unpack_inputs(frame)
        except FrameError as error:
            raise NotReplayableError("damaged_input", f"{digest}{FRAME}: {error}") from None
        return Given(_checked(opened, inputs), by_digest=True)

    def _frame(self, name: str) -> bytes | None:
        for path in (self._source / INPUTS / name, self._source / name):
            with suppress(FileNotFoundError):
                return path.read_bytes()
        return None


class FolderInputs:
    """A user's own files: frames of a journal, files named by a call's id, or any files.

    Args:
        folder: where they lie.
        device_key: the secret of this device, by which a file is known again.
        kept: looked at first.
    """

    def __init__(self, folder: Path, device_key: bytes, kept: Find) -> None:
        self._folder = folder
        self._device_key = device_key
        self._frames = KeptInputs(folder)
        self._kept = kept
        self._files: dict[str, dict[str, Path]] = {}

    def __call__(self, record: Record, opened: Opened) -> Given:
        """The inputs of a call.

        Raises:
            NotReplayableError: there are none.
            OSError: a file cannot be read.
        """
        for find in (self._frames, self._by_contents, self._by_name):
            try:
                return find(record, opened)
            except NotReplayableError as error:
                if error.reason.code != "inputs_not_kept":
                    raise
        return self._kept(record, opened)

    def _by_contents(self, record: Record, opened: Opened) -> Given:
        path = self._known(opened).get(record.input_digest)
        if path is None:
            raise _not_kept(record)
        return Given(_read(opened, path), by_digest=True)

    def _by_name(self, record: Record, opened: Opened) -> Given:
        named = sorted(self._folder.glob(f"{record.receipt.id}.*"))
        if not named:
            raise _not_kept(record)
        return Given(_read(opened, named[0]), by_digest=False)

    def _known(self, opened: Opened) -> dict[str, Path]:
        """The files that a model takes, by the digest that a record has of them."""
        files = self._files.get(opened.package.digest)
        if files is None:
            files = self._files[opened.package.digest] = dict(self._digests(opened))
        return files

    def _digests(self, opened: Opened) -> Iterator[tuple[str, Path]]:
        for path in sorted(self._folder.iterdir()):
            is_one = path.suffix != FRAME and path.is_file()
            if not is_one or path.stat().st_size > MAX_BYTES:
                continue
            try:
                yield content_digest(self._device_key, _read(opened, path)), path
            except NotReplayableError:
                continue  # nothing that this model takes


def _read(opened: Opened, path: Path) -> dict[str, Any]:
    from wherever.cli._given import read_content  # noqa: PLC0415 (only for files of users)

    try:
        value = read_content(opened.package.manifest.signature, path.read_bytes())
    except WhereverError as error:
        raise NotReplayableError("damaged_input", f"{path}: {error}") from None
    return _checked(opened, value)


def _checked(opened: Opened, value: Any) -> dict[str, Any]:
    try:
        return opened.check(value)
    except WhereverError as error:
        raise NotReplayableError("damaged_input", str(error)) from None


def _not_kept(record: Record) -> NotReplayableError:
    id_ = record.receipt.id
    return NotReplayableError("inputs_not_kept", f"the inputs of {id_} were not kept (--inputs)")
