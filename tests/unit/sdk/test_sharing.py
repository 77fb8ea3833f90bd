"""Batches whose answers are kept."""

from __future__ import annotations

from wherever._routing.plan import Plan
from wherever._routing.steps import Attempt
from wherever._sharing import Terms, drive_many_kept
from wherever_contracts.errors import InputError


class Kept:
    """Nothing is kept for it; an input that is damaged cannot be digested."""

    def __init__(self, content):
        self.content = content

    def best(self, _plan):
        return None

    @property
    def digest(self):
        if self.content == b"damaged":
            raise InputError("image", "a whole image", "half of one")
        return self.content


class Performer:
    def perform(self, steps):
        return [position for position, _ in steps]


def flow():
    return (yield Attempt(None, None, ""))


def test_a_damaged_input_ends_its_own_call_and_no_other():
    kept = [Kept(b"one"), Kept(b"damaged"), Kept(b"two")]
    terms = Terms(Plan, False, (), None, 0.0)
    one, damaged, two = drive_many_kept([flow() for _ in kept], Performer(), kept, terms)
    assert (one, two) == (0, 2)
    assert isinstance(damaged, InputError)
