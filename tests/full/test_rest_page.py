"""The commands on the page about calls over HTTP do what it says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from wherever_gateway.gateway import Gateway, GatewayOptions

pytestmark = pytest.mark.full

PAGE = (Path(__file__).parents[2] / "docs" / "rest.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def told(debian: Callable[[str, str], str], tmp_path) -> Callable[[str], list[dict]]:
    """What the commands of a block print, asked of a gateway of its own."""
    debian("curl", "curl")
    picture = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(picture).line([(16, 14), (48, 14), (26, 52)], fill=0, width=6)
    picture.save(tmp_path / "seven.png")
    gateway = Gateway(GatewayOptions(grpc_port=0, http_port=0, home=tmp_path / "home"))
    gateway.start()

    def run(block: str) -> list[dict]:
        script = block.replace("localhost:8000", gateway.http).replace(
            "curl ", "curl -sSf -w '\\n' "
        )
        done = subprocess.run(
            ["bash", "-e", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line]

    yield run
    gateway.drain()


def test_the_commands_on_the_page_do_what_it_says(told):
    typed, listed, protocol = BLOCKS
    answers = told(typed)
    assert [each["value"]["label"] for each in answers] == ["7"] * 3
    shown = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])
    assert all(shown.keys() == each.keys() for each in answers)
    assert told(listed)[1]["name"] == "digits"
    scores = told(protocol)[-1]["outputs"][0]["data"]
    assert scores.index(max(scores)) == 0
