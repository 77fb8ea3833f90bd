"""Which hosts may answer, and in which order."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever._routing.plan import MODES, Candidate, Plan, Release, check_words, make_plan
from wherever_contracts.errors import BoundaryError, SettingsError
from wherever_contracts.places import BOUNDARIES, PLACES, WITHIN

DEVICE = Candidate("device", "device")
BOX = Candidate("box:8011", "nearby")
FIRST = Candidate("one:8001", "cloud")
SECOND = Candidate("two:8001", "cloud")
EVERY_HOST = (SECOND, DEVICE, FIRST, BOX)


def plan(mode="auto", boundary="anywhere", places=None, candidates=EVERY_HOST, releases=()) -> Plan:
    return make_plan(
        model="digits",
        mode=mode,
        boundary=boundary,
        places=places,
        candidates=candidates,
        thresholds={"small": 0.8},
        reference="large",
        releases=releases,
    )


def hosts(made: Plan) -> list[str]:
    return [candidate.host for candidate in made.attempts]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("auto", ["device", "box:8011", "two:8001", "one:8001"]),
        ("prefer_on_device", ["device", "box:8011", "two:8001", "one:8001"]),
        ("only_on_device", ["device"]),
        ("prefer_in_cloud", ["two:8001", "one:8001", "box:8011", "device"]),
        ("only_in_cloud", ["two:8001", "one:8001"]),
    ],
)
def test_each_mode_asks_its_distances_in_order_and_gateways_as_they_were_named(mode, expected):
    assert hosts(plan(mode)) == expected


@pytest.mark.parametrize(
    ("boundary", "expected"),
    [
        ("device", ["device"]),
        ("site", ["device", "box:8011"]),
        ("anywhere", ["device", "box:8011", "two:8001", "one:8001"]),
    ],
)
def test_a_boundary_keeps_the_hosts_beyond_it_out(boundary, expected):
    assert hosts(plan(boundary=boundary)) == expected


def test_only_auto_escalates_and_only_the_cloud_modes_call_other_places_lesser():
    assert [mode for mode in MODES if plan(mode).escalates] == ["auto"]
    lesser = {mode: plan(mode).degraded_from for mode in MODES}
    assert {mode for mode, place in lesser.items() if place} == {"prefer_in_cloud", "only_in_cloud"}
    assert lesser["prefer_in_cloud"] == "cloud"


def test_places_narrow_the_plan_and_cannot_widen_it():
    assert hosts(plan(places=["cloud", "device"])) == ["device", "two:8001", "one:8001"]
    assert hosts(plan(places=["cloud"], boundary="site")) == []
    assert hosts(plan(places=[])) == []


def test_every_host_that_is_not_asked_has_its_reason():
    made = plan(
        "only_in_cloud", candidates=(DEVICE, FIRST, Candidate("two:8001", "cloud", "too old"))
    )
    assert made.ruled_out == {
        "device": "mode 'only_in_cloud' does not use it",
        "two:8001": "too old",
    }
    narrowed = plan(boundary="site", places=["nearby"])
    assert narrowed.ruled_out["one:8001"] == "the boundary 'site' keeps the data from going there"
    assert narrowed.ruled_out["device"] == "the call is for nearby alone"
    assert plan(places=[]).ruled_out["device"] == "the call is for no place"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"mode": "fast"}, "mode 'fast' does not exist"),
        ({"boundary": "moon"}, "boundary 'moon' does not exist"),
        ({"places": ["attic"]}, "place 'attic' does not exist"),
    ],
)
def test_words_that_do_not_exist_are_refused_with_those_that_do(wrong, words):
    with pytest.raises(SettingsError, match=words):
        plan(**wrong)


def test_a_priority_that_does_not_exist_is_refused_with_those_that_do():
    check_words(priority="batch")
    with pytest.raises(SettingsError, match="there are: interactive, batch, background"):
        check_words(priority="now")


@given(
    mode=st.sampled_from(sorted(MODES)),
    boundary=st.sampled_from(BOUNDARIES),
    places=st.none() | st.lists(st.sampled_from(PLACES), max_size=3),
    distances=st.lists(st.sampled_from(PLACES), max_size=6),
)
def test_no_plan_leaves_its_boundary_mode_or_places_and_no_host_is_forgotten(
    mode, boundary, places, distances
):
    candidates = [Candidate(f"host-{i}", place) for i, place in enumerate(distances)]
    made = plan(mode, boundary, places, candidates)
    for candidate in made.attempts:
        assert candidate.place in WITHIN[boundary]
        assert candidate.place in MODES[mode].order
        assert places is None or candidate.place in places
    asked = {candidate.host for candidate in made.attempts}
    assert asked | made.ruled_out.keys() - {"cloud"} == {candidate.host for candidate in candidates}
    assert not asked & set(made.ruled_out)
    order = [MODES[mode].order.index(candidate.place) for candidate in made.attempts]
    assert order == sorted(order)


def test_a_cloud_without_gateways_is_said_to_need_one():
    made = plan("only_in_cloud", candidates=[DEVICE, BOX])
    assert made.attempts == ()
    assert "WHEREVER_GATEWAYS" in made.ruled_out["cloud"]
    assert "cloud" not in plan("only_in_cloud").ruled_out


CANDIDATES = st.builds(
    Candidate,
    host=st.sampled_from(["a", "b", "c"]),
    place=st.sampled_from(PLACES),
    release=st.sampled_from(["", "blurred", "small", "unknown"]),
)
RELEASES = st.lists(
    st.builds(Release, st.sampled_from(["blurred", "small"]), st.sampled_from(BOUNDARIES)),
    max_size=3,
    unique_by=lambda release: release.rule,
)


@given(
    boundary=st.sampled_from(BOUNDARIES),
    attempts=st.lists(CANDIDATES, max_size=4),
    releases=RELEASES,
)
def test_a_plan_with_a_host_beyond_its_boundary_cannot_be_made(boundary, attempts, releases):
    def allowed(candidate):
        limit = dict(releases).get(candidate.release, "device") if candidate.release else boundary
        return PLACES.index(candidate.place) <= BOUNDARIES.index(limit)

    def make():
        return Plan(
            model="m",
            mode="auto",
            boundary=boundary,
            attempts=tuple(attempts),
            escalates=True,
            thresholds={},
            reference="large",
            degraded_from=None,
            releases=tuple(releases),
        )

    if all(allowed(candidate) for candidate in attempts):
        assert make().attempts == tuple(attempts)
        return
    first = next(candidate for candidate in attempts if not allowed(candidate))
    with pytest.raises(BoundaryError) as caught:
        make()
    assert (caught.value.host, caught.value.place) == (first.host, first.place)
    assert first.host in str(caught.value)
    assert first.place in str(caught.value)
    assert caught.value.boundary in str(caught.value)


def test_a_plan_cannot_be_changed_into_one_that_leaves_its_boundary():
    made = plan(boundary="site")
    with pytest.raises(BoundaryError, match=r"one:8001 \(cloud\) .* 'site'"):
        replace(made, attempts=(*made.attempts, FIRST))
    with pytest.raises(BoundaryError, match=r"box:8011 \(nearby\) .* 'device'"):
        replace(made, boundary="device")
    with pytest.raises(BoundaryError):
        replace(made, boundary="moon")
    with pytest.raises(FrozenInstanceError):
        made.boundary = "anywhere"


@pytest.mark.parametrize(
    ("boundary", "releases", "expected"),
    [
        ("anywhere", [Release("small", "anywhere")], {"box:8011": "", "one:8001": ""}),
        ("site", [Release("small", "anywhere")], {"box:8011": "", "one:8001": "small"}),
        ("device", [Release("small", "anywhere")], {"box:8011": "small", "one:8001": "small"}),
        ("device", [Release("small", "site")], {"box:8011": "small"}),
        (
            "device",
            [Release("small", "site"), Release("blurred", "anywhere"), Release("x", "anywhere")],
            {"box:8011": "small", "one:8001": "blurred"},
        ),
        ("device", [Release("small", "device")], {}),
        ("device", [], {}),
    ],
)
def test_a_host_beyond_the_boundary_is_asked_by_the_first_rule_that_reaches_it(
    boundary, releases, expected
):
    made = plan(boundary=boundary, releases=releases, candidates=(DEVICE, FIRST, BOX))
    assert {each.host: each.release for each in made.attempts} == {"device": "", **expected}
    for candidate in made.attempts:
        assert candidate.place in WITHIN[made.limit(candidate)]
    assert made.ruled_out.keys() == {"box:8011", "one:8001"} - expected.keys()


def test_a_release_rule_widens_neither_mode_nor_places():
    rules = [Release("small", "anywhere")]
    assert hosts(plan("only_on_device", "device", releases=rules)) == ["device"]
    assert hosts(plan(boundary="device", places=["device"], releases=rules)) == ["device"]
