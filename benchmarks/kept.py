"""What a kept answer costs against diskcache as it comes, which pickles, and a bare file."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import diskcache  # type: ignore[import-untyped]
import numpy as np
from harness import Row, interleaved

from wherever._cache import ResultCache
from wherever_contracts.receipts import Answer, Ran

_RAN = Ran("m", "1.0.0", "v", "d", "d", "local", "onnxruntime", "1", "CPU", "float32", 1)
# (bytes of the answer, rounds, calls a round)
SIZES = ((4096, 30, 60), (1_000_000, 20, 6))


def rows() -> list[Row]:
    """Keeping and finding answers of two sizes."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        ours = ResultCache(home / "ours", max_bytes=1 << 29, device_key=bytes(32))
        theirs = diskcache.Cache(str(home / "theirs"), size_limit=1 << 29)
        made = [row for size in SIZES for row in _rows(home, ours, theirs, *size)]
        ours.close()
        theirs.close()
        return made


def _rows(
    home: Path,
    ours: ResultCache,
    theirs: diskcache.Cache,
    size: int,
    rounds: int,
    calls: int,
) -> list[Row]:
    answer = Answer({"y": np.zeros(size // 4, np.float32)}, 0.5, _RAN, 0.001)
    names = (number.to_bytes(32) for number in itertools.count())
    put = interleaved(
        lambda: ours.put(next(names), answer),
        lambda: theirs.set(next(names), answer),
        rounds=rounds,
        calls=calls,
    )
    key = bytes([size % 251]) * 32
    ours.put(key, answer)
    theirs.set(key, answer)
    assert ours.get(key) is not None
    get = interleaved(
        lambda: ours.get(key), lambda: theirs.get(key), rounds=rounds, calls=calls * 4
    )
    words = f"{size // 1000} KB"
    file = home / f"{size}.bin"
    answer.outputs["y"].tofile(file)
    bare = interleaved(
        lambda: ours.get(key),
        lambda: np.fromfile(file, np.float32),
        rounds=rounds,
        calls=calls * 4,
    )
    found = Row(
        f"find an answer of {words}, checked for damage",
        f"{bare.ours_s * 1e6:.0f} us, +{bare.added_s * 1e6:.0f} us",
        f"a bare file into an array {bare.reference_s * 1e6:.0f} us",
        "",
        None,
    )
    return [
        Row(
            f"{what} an answer of {words}",
            f"{pair.ours_s * 1e6:.0f} us, {pair.ratio:.2f} x",
            f"diskcache with pickle {pair.reference_s * 1e6:.0f} us",
            "",
            None,
        )
        for what, pair in (("keep", put), ("find", get))
    ] + [found]
