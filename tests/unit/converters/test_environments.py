"""What a Python file needs, which environment has it, and what pip's words mean."""

from __future__ import annotations

import re

import pytest

from wherever_convert.environments import cache
from wherever_convert.environments.imports import imported_by, is_installed, modules_in
from wherever_convert.environments.pip_log import news, why_failed
from wherever_convert.environments.tool_sets import (
    FRAMEWORKS,
    TOOL_SETS,
    frameworks_in,
    needed_for,
    set_with,
)


def test_imports_are_found_wherever_they_stand():
    text = (
        "import os, torch.nn as nn\nfrom sklearn.svm import SVC\nfrom . import beside\n"
        "from .other import x\ndef make():\n    if nn:\n        import xgboost\n"
    )
    assert modules_in(text) == {"os", "torch", "sklearn", "beside", "other", "xgboost"}


def test_what_neighbours_import_counts_one_level_deep(tmp_path):
    (tmp_path / "train.py").write_text("import network\nfrom .data import rows\n")
    (tmp_path / "network.py").write_text("import torch, deeper\n")
    (tmp_path / "deeper.py").write_text("import keras\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "__init__.py").write_text("import sklearn\n")
    assert frameworks_in(imported_by(tmp_path / "train.py")) == {"torch", "sklearn"}


@pytest.mark.parametrize("content", [b"def broken(:\n", b"\xff\xfe\x00", b"x\x00y"])
def test_a_file_that_is_no_python_imports_nothing(tmp_path, content):
    (tmp_path / "train.py").write_bytes(content)
    assert imported_by(tmp_path / "train.py") == frozenset()


def test_a_directory_of_that_name_is_no_installed_module(tmp_path, monkeypatch):
    (tmp_path / "torchlike").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("torchlike")
    assert is_installed("numpy")
    assert is_installed("json")


@pytest.mark.parametrize(
    ("frameworks", "name"),
    [
        ({"sklearn"}, "scikit-learn"),
        ({"xgboost"}, "boosting"),
        ({"sklearn", "lightgbm"}, "boosting"),
        ({"torch"}, "torch"),
        ({"torch", "sklearn"}, "torch"),
        ({"keras"}, "keras"),
        ({"tensorflow", "sklearn"}, "keras"),
    ],
)
def test_the_smallest_environment_with_all_frameworks_is_taken(frameworks, name):
    assert set_with(frameworks).name == name


def test_no_environment_has_frameworks_that_do_not_go_together():
    assert set_with({"torch", "keras"}) is None


def test_what_exporting_needs_is_known_for_every_framework():
    assert needed_for({"torch"}) == {"torch", "onnxscript", "onnx"}
    assert needed_for(()) == frozenset()
    assert all(set_with({each}) for each in FRAMEWORKS)


def test_sets_stand_from_the_smallest_to_the_largest():
    sizes = [each.megabytes for each in TOOL_SETS.values()]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("name", TOOL_SETS)
def test_every_version_in_an_environment_is_pinned(name):
    asked = cache.requirements_of(TOOL_SETS[name])
    for path in (asked, asked.with_suffix(".constraints")):
        for line in path.read_text().splitlines():
            assert re.fullmatch(r"[\w.-]+==[\w.]+(; .+)?", line), (path.name, line)


def test_other_versions_go_to_another_place(tmp_path, monkeypatch):
    monkeypatch.setenv("WHEREVER_ENVIRONMENTS", str(tmp_path))
    before = cache.folder_of(TOOL_SETS["openvino"])
    assert before == cache.folder_of(TOOL_SETS["openvino"])
    assert before.parent == tmp_path.resolve()
    (tmp_path / "openvino.txt").write_text("openvino==1\n")
    (tmp_path / "openvino.constraints").write_text("")
    monkeypatch.setattr(cache, "_REQUIREMENTS", tmp_path)
    assert cache.folder_of(TOOL_SETS["openvino"]) != before


def test_environments_are_in_the_users_cache_unless_another_place_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("WHEREVER_ENVIRONMENTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.environments_folder().parts[-2:] == ("wherever", "environments")


def test_what_pip_does_is_told_in_its_words():
    lines = ["Collecting torch==2.13.0", "  Downloading torch-2.13.0.whl (191.8 MB)", "  x"]
    assert news(lines[:1]) == "Collecting torch==2.13.0"
    assert news(lines) == "Downloading torch-2.13.0.whl (191.8 MB)"
    assert news(["nothing"]) == ""


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["ERROR: ... [Errno 28] No space left on device", ""], "the disk is full (ERROR: ..."),
        (
            ["WARNING: Retrying: NewConnectionError(...)", "ERROR: No matching distribution"],
            "the package index cannot be reached, or lacks something (ERROR: No matching",
        ),
        (["ERROR: one", "ERROR: two", "more"], "ERROR: two"),
        (["last words"], "last words"),
        ([], ""),
    ],
)
def test_why_pip_failed_is_said_in_a_line(lines, reason):
    assert why_failed(lines).startswith(reason)
