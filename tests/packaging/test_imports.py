"""What an import costs, and which names there are."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import wherever

HEAVY = {
    "asyncio",
    "cv2",
    "grpc",
    "importlib.metadata",
    "numpy",
    "onnxruntime",
    "PIL",
    "pydantic",
    "pydantic_settings",
    "rich",
    "starlette",
    "typer",
    "uvicorn",
}


def loaded_after(code: str) -> set[str]:
    program = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code", ["import wherever", "import wherever.models", "import wherever.cli"]
)
def test_importing_the_package_loads_nothing_heavy(code):
    baseline = loaded_after("")
    heavy = HEAVY - {"rich", "typer"} if code.endswith("cli") else HEAVY
    assert not heavy & (loaded_after(code) - baseline)


def test_a_prediction_on_the_device_loads_no_network_and_no_image_library():
    code = "import wherever; wherever.predict('digits', [0] * 64)"
    assert not {"grpc", "cv2", "PIL", "rich", "typer", "starlette"} & loaded_after(code)


def test_the_public_names_are_exactly_those_listed_and_each_can_be_had():
    assert sorted(wherever.__all__) == wherever.__all__
    for name in wherever.__all__:
        assert getattr(wherever, name) is not None
    assert set(wherever.__all__) <= set(dir(wherever))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        wherever.nonsense  # noqa: B018


def test_every_public_name_is_documented():
    undocumented = [name for name in wherever.__all__ if not getattr(wherever, name).__doc__]
    assert undocumented == []


def test_a_model_is_imported_by_its_name():
    from wherever.models import digits

    assert digits.name == "digits"
    assert digits is wherever.model("digits")
    with pytest.raises(ImportError, match="nonsense"):
        from wherever.models import nonsense  # noqa: F401
