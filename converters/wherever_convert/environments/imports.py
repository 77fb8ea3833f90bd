"""What a Python file imports, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path


def imported_by(path: Path) -> frozenset[str]:
    """The top-level modules that a file imports, and those that its neighbours import for it.

    Neighbours are modules in the same directory; what they import of each other is not followed.
    """
    own = _imported(path)
    beside = [path.parent / f"{name}.py" for name in own]
    beside += [path.parent / name / "__init__.py" for name in own]
    return own.union(*(_imported(each) for each in beside if each.is_file()))


def modules_in(text: str) -> frozenset[str]:
    """The top-level modules that Python source imports anywhere, also inside its functions.

    Raises:
        SyntaxError: it is no Python.
    """
    return frozenset(name.partition(".")[0] for name in _names(ast.parse(text)) if name)


def is_installed(module: str) -> bool:
    """Whether this interpreter finds a module; imports nothing."""
    try:
        spec = find_spec(module)
    except ValueError:
        return False  # sys.modules says that it is not to be had
    # a directory that happens to have the name is a "namespace package", without an origin
    return spec is not None and spec.origin is not None


def _imported(path: Path) -> frozenset[str]:
    try:
        return modules_in(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError):
        return frozenset()  # whoever runs the file says what is wrong with it


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from [node.module] if node.module else (alias.name for alias in node.names)
