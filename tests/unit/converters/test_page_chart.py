"""The report's chart: scales with round values, and names that cover nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wherever_convert.page.labels import HEIGHT, Area, Bubble, place, width_of
from wherever_convert.page.scales import linear, logarithmic

SHARE = st.floats(0, 1, allow_nan=False)
MILLISECONDS = st.floats(1e-6, 100, allow_nan=False)


@given(st.lists(MILLISECONDS, min_size=1, max_size=9), st.lists(SHARE, min_size=1, max_size=9))
def test_every_value_stands_on_its_scale_and_so_does_every_tick(times, values):
    for scale, known in (
        (logarithmic(times, 64, 352), times),
        (linear(values, 286, 14, 0.004), values),
    ):
        first, last = sorted((scale.start, scale.end))
        assert all(first < scale.at(each) < last for each in known)
        assert all(first - 0.01 <= scale.at(each) <= last + 0.01 for each in scale.ticks)
        assert 2 <= len(scale.ticks) <= 13
        assert list(scale.ticks) == sorted(set(scale.ticks))


BUBBLES = st.lists(
    st.builds(
        lambda x, y, radius, name: Bubble(x, y, radius, (name, name[:2])),
        st.floats(70, 900),
        st.floats(20, 380),
        st.floats(6, 26),
        st.text("abc-int8漢", min_size=1, max_size=20),
    ),
    max_size=14,
)
FRAME = Area(64, 14, 912, 386)


@given(BUBBLES)
def test_no_name_on_the_chart_covers_another_or_a_bubble_that_is_not_its_own(bubbles):
    placed = [each for each in place(bubbles, FRAME) if each is not None]
    areas = []
    for each in placed:
        width = width_of(each.text)
        left = each.x - {"start": 0, "middle": width / 2, "end": width}[each.anchor]
        areas.append((left, each.y + 4 - HEIGHT, left + width, each.y + 4))
    circles = [(b.x - b.radius, b.y - b.radius, b.x + b.radius, b.y + b.radius) for b in bubbles]
    middles = {(b.x, b.y + 4) for b in bubbles}
    for number, a in enumerate(areas):
        in_its_circle = (placed[number].x, placed[number].y) in middles
        assert a[0] >= 64 - 0.01
        assert a[2] <= 912.01
        for b in (*areas[number + 1 :], *([] if in_its_circle else circles)):
            apart = a[2] <= b[0] + 0.01 or b[2] <= a[0] + 0.01
            assert apart or a[3] <= b[1] + 0.01 or b[3] <= a[1] + 0.01


def test_a_lone_bubble_is_named_beside_itself_without_a_line():
    (placed,) = place([Bubble(300, 200, 10, ("int8", "1"))], FRAME)
    assert (placed.text, placed.anchor, placed.lead) == ("int8", "start", None)


def test_a_name_lies_over_a_line_only_where_there_is_no_other_room():
    line = Area(64, 192, 912, 208)
    (aside,) = place([Bubble(300, 200, 10, ("int8", "1"))], FRAME, lines=[line])
    assert aside.y + 4 <= 192
    everywhere = Area(0, 0, 1000, 1000)
    (over,) = place([Bubble(300, 200, 10, ("int8", "1"))], FRAME, lines=[everywhere])
    assert (over.text, over.lead) == ("int8", None)
    (within,) = place([Bubble(300, 200, 10, ("int8", "1"))], Area(280, 180, 320, 220))
    assert (within.text, within.x) == ("1", 300)


def test_a_number_may_stand_in_its_bubble():
    (placed,) = place([Bubble(300, 200, 10, ("7",))], FRAME)
    assert (placed.x, placed.anchor, placed.text) == (300, "middle", "7")


def test_a_bubble_without_room_has_no_name():
    assert place([Bubble(10, 10, 9, ("a long name",))], Area(0, 0, 20, 20)) == [None]
