"""What the columns of a table are. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from wherever_contracts.errors import ConversionError
from wherever_convert.samples.sample import Form

_IMAGE_COLUMNS = ("image", "path", "file", "file_name", "filename")
_TEXT_COLUMNS = ("text", "sentence")
_LABEL_COLUMNS = ("label", "class", "target", "y")
_FORMS: Mapping[str, Form] = {"image": "images", "text": "texts", "file": "files"}
_HOW = "say what they are, such as --columns text=NAME,label=NAME"


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are what, by position.

    Attributes:
        form: what the samples are.
        content: the column of the image, text or file; None where samples are rows of numbers.
        label: the column of the truth; None where there is none.
        inputs: of rows of numbers, the columns of each input by its name; "" is the only input.
    """

    form: Form
    content: int | None
    label: int | None
    inputs: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])

    @property
    def used(self) -> list[int]:
        """Every column that is read, in order."""
        single = {each for each in (self.content, self.label) if each is not None}
        return sorted(single.union(*self.inputs.values()))


def parse_columns(text: str) -> dict[str, tuple[str, ...]]:
    """The columns that "text=review,label=stars" names, by role; a role may come again.

    Raises:
        ConversionError: it is written otherwise.
    """
    roles: dict[str, tuple[str, ...]] = {}
    for part in text.split(","):
        role, separator, name = (piece.strip() for piece in part.partition("="))
        if not (role and separator and name):
            raise ConversionError(f"--columns takes text=NAME,label=NAME, not {text!r}")
        roles[role] = (*roles.get(role, ()), name)
    return roles


def find_columns(
    table: str, header: Sequence[str], roles: Mapping[str, Sequence[str]], form: Form | None
) -> Columns:
    """Which columns are what: those that were named, else those of usual names.

    Args:
        table: what to call the table in errors.
        header: the names of its columns.
        roles: names of columns for "label", "image", "text", "file", and for inputs of the model.
        form: what the samples are, when that is known.

    Raises:
        ConversionError: a column is not there, or the header is none.
    """
    finder = _Finder(table, header, roles)
    label = finder.single("label", _LABEL_COLUMNS)
    content, found = finder.content(form)
    if content is not None:
        finder.refuse_unknown()
        return Columns(found, content, label)
    if form not in (None, "rows"):
        raise ConversionError(
            f"samples: {table} has no column of {form} (it has: {finder.names}); {_HOW}"
        )
    return Columns("rows", None, label, finder.inputs(label))


class _Finder:
    """Finds columns of one table."""

    def __init__(
        self, table: str, header: Sequence[str], roles: Mapping[str, Sequence[str]]
    ) -> None:
        self._table = table
        self._header = header
        self._roles = roles
        self._usual = [name.strip().lower() for name in header]
        self._found = False
        self._names_content = any(role != "label" for role in roles)
        if len(set(header)) != len(header) and not roles:
            self._no_header("names a column twice")

    @property
    def names(self) -> str:
        """The names of the columns, for people."""
        return ", ".join(name[:40] for name in self._header[:20])

    def single(self, role: str, usual: Sequence[str]) -> int | None:
        """The column of a role: the one that was named, or else the first of a usual name."""
        named = self._roles.get(role, ())
        if len(named) > 1:
            raise ConversionError(f"samples: {role} is one column, not {', '.join(named)}")
        if named:
            return self._position(named[0])
        if self._names_content and role != "label":
            return None
        found = next((self._usual.index(name) for name in usual if name in self._usual), None)
        self._found = self._found or found is not None
        return found

    def content(self, form: Form | None) -> tuple[int | None, Form]:
        """The column of images, texts or files, and which of them they are."""
        named = [role for role in _FORMS if role in self._roles]
        if len(named) > 1:
            raise ConversionError(f"samples: {' and '.join(named)} cannot both be read; name one")
        for role in named:
            return self.single(role, ()), _FORMS[role]
        if form == "rows":
            return None, "rows"
        if form != "texts" and (found := self.single("image", _IMAGE_COLUMNS)) is not None:
            return found, form or "images"
        if form in (None, "texts") and (found := self.single("text", _TEXT_COLUMNS)) is not None:
            return found, "texts"
        return None, "rows"

    def inputs(self, label: int | None) -> dict[str, tuple[int, ...]]:
        """The columns of numbers, by input: those that were named, or else all that are left."""
        named = {role: names for role, names in self._roles.items() if role != "label"}
        if named:
            return {role: tuple(map(self._position, names)) for role, names in named.items()}
        if not self._found:
            self._refuse_data()
        rest = tuple(each for each in range(len(self._header)) if each != label)
        if not rest:
            raise ConversionError(f"samples: {self._table} has no column but the label")
        return {"": rest}

    def refuse_unknown(self) -> None:
        """Refuse roles beside an image, text or file."""
        unknown = [role for role in self._roles if role not in (*_FORMS, "label")]
        if unknown:
            raise ConversionError(
                f"samples: --columns names {', '.join(unknown)} beside {', '.join(_FORMS)}; "
                f"a sample is one of these, or numbers"
            )

    def _position(self, name: str) -> int:
        if name in self._header:
            self._found = True
            return list(self._header).index(name)
        hint = ""
        if name.isdecimal():
            hint = "; columns are counted only in a table without a header (--no-header)"
        raise ConversionError(
            f"samples: {self._table} has no column {name!r} (it has: {self.names}){hint}"
        )

    def _refuse_data(self) -> None:
        """Refuse a header that is a row of numbers or longer texts."""
        counted = [str(n) for n in range(len(self._header) + 1)]
        if list(self._header) in (counted[:-1], counted[1:]):
            return  # columns that nobody named, as pandas writes them
        if any(_is_number(name) or not name.strip() for name in self._header):
            self._no_header("looks like data")

    def _no_header(self, why: str) -> NoReturn:
        raise ConversionError(
            f"samples: the first line of {self._table} {why} ({self.names}); if the table has no "
            f"header, say so and count its columns: --no-header --columns text=2,label=1"
        )


def _is_number(text: str) -> bool:
    try:
        return not math.isnan(float(text))
    except ValueError:
        return False
