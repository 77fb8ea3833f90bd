"""The tree of errors is the one that its module draws, and every error travels whole."""

from __future__ import annotations

import pickle
import re

import pytest

from wherever_contracts import errors
from wherever_contracts.errors import (
    BoundaryError,
    InputError,
    ModelNotFoundError,
    NoRouteError,
    PackageError,
    UnreachableError,
    WhereverError,
)

NAME = re.compile(r"(?P<indent>[ │├└─]*)(?P<name>\w+Error)(?: \(also (?P<also>\w+)\))?")


def every_class(base=WhereverError):
    """`base` and everything of this module below it."""
    own = [each for each in base.__subclasses__() if each.__module__ == errors.__name__]
    return [base, *(found for each in own for found in every_class(each))]


def drawn():
    """(name, parent, other base) for each line of the drawing."""
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = NAME.match(line)
        if match and line.startswith("    "):
            depth = len(match["indent"])
            above = [(each, name) for each, name in above if each < depth]
            yield match["name"], above[-1][1] if above else None, match["also"]
            above.append((depth, match["name"]))


def sample(kind):
    if issubclass(kind, PackageError):
        return kind("model.onnx", "variants.small.files.0.sha256", "one digest", "another")
    if kind is InputError:
        return kind("image", "an image", "a list")
    if kind is BoundaryError:
        return kind("gw:8001", "cloud", "site")
    if kind is NoRouteError:
        return kind("digits", [UnreachableError("no connection")], {"cloud": "boundary"})
    return kind("what happened, with 3 values")


CLASSES = every_class()


def test_the_drawing_shows_every_class_once_below_its_parent():
    tree = {name: (parent, also) for name, parent, also in drawn()}
    assert len(tree) == len(list(drawn()))
    assert tree.keys() == {kind.__name__ for kind in CLASSES}
    for kind in CLASSES[1:]:
        parent, *others = (base.__name__ for base in kind.__bases__)
        assert tree[kind.__name__] == (parent, others[0] if others else None)


def test_every_error_of_the_module_is_in_the_tree():
    public = [value for name, value in vars(errors).items() if name.endswith("Error")]
    assert set(public) == set(CLASSES)


def test_codes_are_unique_and_said_by_each_class_itself():
    codes = [kind.code for kind in CLASSES]
    assert len(set(codes)) == len(codes)
    assert all("code" in vars(kind) for kind in CLASSES)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_survives_pickling_with_all_it_knows(kind):
    error = sample(kind)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert (copy.code, copy.retryable) == (error.code, error.retryable)
    assert vars(copy).keys() == vars(error).keys()
    assert repr(vars(copy)) == repr(vars(error))


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_has_a_message_and_a_sentence_of_documentation(kind):
    assert str(sample(kind))
    assert (kind.__doc__ or "").strip()


def test_messages_say_where_what_was_expected_and_what_was_found():
    with_field = PackageError("m.onnx", "files.0.sha256", "abc", "def")
    assert str(with_field) == "m.onnx: files.0.sha256: expected abc, found def"
    assert str(PackageError("m.onnx", "", "the file", "nothing")).startswith("m.onnx: expected")
    assert str(InputError("x", "int8[3]", "text")) == "input 'x': expected int8[3], found text"
    assert str(InputError("", "one input", "two")) == "the input: expected one input, found two"


def test_no_route_tells_every_attempt_and_what_was_ruled_out():
    error = NoRouteError("digits", [UnreachableError("gone")], {"nearby": "none is known"})
    assert str(error) == (
        "no place could answer 'digits' "
        "(UnreachableError: gone; nearby was not tried: none is known)"
    )
    assert str(NoRouteError("digits", [])).endswith("(no place is configured)")


def test_errors_can_be_caught_as_what_python_calls_them():
    assert issubclass(InputError, ValueError)
    assert issubclass(ModelNotFoundError, LookupError)
    assert issubclass(errors.DeadlineError, TimeoutError)
    assert isinstance(errors.missing_extra("images", "image"), ImportError)
    assert "pip install 'wherever[image]'" in str(errors.missing_extra("images", "image"))
