"""The page on profiles: its example works, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path

from wherever_devices import decision
from wherever_devices.profiles import BUILT_IN
from wherever_devices.profiles.fields import FIELDS, TABLES
from wherever_devices.profiles.files import load_profile

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "profiles.md").read_text()


def table_under(heading: str) -> str:
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return "\n".join(line for line in section.splitlines() if line.startswith("| "))


def test_the_example_is_a_profile(tmp_path):
    example = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "packing-line.toml"
    path.write_text(example[1])
    found = load_profile(str(path))
    assert (found.max_threads, found.hot.runs_share) == (1, 0.25)
    assert found.hardware == load_profile("edge-pc").hardware


def test_every_profile_and_every_field_is_in_the_tables():
    rows = re.findall(
        r"^\| `([\w-]+)` \|", table_under("The profiles that come along"), re.MULTILINE
    )
    assert sorted(rows) == sorted(BUILT_IN)
    fields = table_under("A profile of your own")
    inner = {field for table in TABLES.values() for field in table}
    assert [name for name in {*FIELDS, *inner} if f"`{name}`" not in fields] == []
    assert [name for name in TABLES if f"`[{name}]`" not in fields] == []


def test_every_reason_is_in_the_table():
    rows = table_under("What is decided, and why")
    source = Path(decision.__file__).read_text()
    named = re.findall(r'Reason\(\s*"(\w+)"|_Condition\("(\w+)"|: \("(\w+_cores)"', source)
    words = {word for match in named for word in match if word}
    assert len(words) >= 12
    assert [word for word in sorted(words) if f"`{word}`" not in rows] == []
