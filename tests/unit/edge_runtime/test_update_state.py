"""What a device remembers of its updates, and how it changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherever_contracts.errors import UpdateError
from wherever_edge.updates.layout import (
    channels_bytes,
    custom_of,
    file_url,
    package_target,
    parse_channels,
    signed_digest,
)
from wherever_edge.updates.state import (
    Installed,
    State,
    activated,
    failed,
    parse_state,
    refreshed,
    rolled_back,
    serving,
)


def one(version):
    return Installed(
        folder=f"people-{version}",
        digest="d" * 64,
        archive_sha256="a" * 64,
        archive_bytes=5,
        verified_at=86_400.0 * 365,
    )


def through(*versions, channel="stable", state=None):
    state = state or State()
    for version in versions:
        state = activated(state, "people", channel, version, one(version))
    return state


def test_the_newest_serves_and_the_one_before_is_kept():
    state = through("1.0.0", "1.1.0", "1.2.0")
    followed = state.followed("people")
    assert (followed.active, followed.previous) == ("1.2.0", "1.1.0")
    assert state.folders() == {"people-1.2.0", "people-1.1.0"}
    assert state.generation == 3


def test_activating_what_is_active_keeps_the_one_before():
    followed = through("1.0.0", "1.1.0", "1.1.0").followed("people")
    assert (followed.active, followed.previous) == ("1.1.0", "1.0.0")


def test_a_version_stays_while_any_channel_names_it():
    state = through("1.0.0")
    state = through("1.0.0", "2.0.0", channel="canary", state=state)
    state = through("2.0.0", channel="canary", state=state)
    assert state.followed("people", "canary").active == "2.0.0"
    assert state.installed("people", "1.0.0") is not None
    assert state.followed("people").active == "1.0.0"


def test_a_bare_name_means_the_devices_channel_or_the_one_there_is():
    state = through("1.0.0")
    assert refreshed(state, "url", "canary", 1.0).followed("people").active == "1.0.0"
    state = through("2.0.0", channel="canary", state=state)
    assert state.followed("people").active == "1.0.0"
    assert refreshed(state, "url", "canary", 1.0).followed("people").active == "2.0.0"
    assert state.followed("cars") is None
    assert state.followed("cars", "stable") is None
    assert State(channel="canary").followed("people") is None


def test_going_back_remembers_what_was_left_until_another_version_comes():
    state = rolled_back(through("1.0.0", "1.1.0"), "people")
    followed = state.followed("people")
    assert (followed.active, followed.previous, followed.left) == ("1.0.0", "1.1.0", "1.1.0")
    followed = through("1.2.0", state=state).followed("people")
    assert (followed.active, followed.previous, followed.left) == ("1.2.0", "1.0.0", "")


def test_going_back_twice_returns():
    state = through("1.0.0", "1.1.0")
    twice = rolled_back(rolled_back(state, "people"), "people")
    assert twice.followed("people").active == "1.1.0"
    assert twice.generation == state.generation + 2


@pytest.mark.parametrize("state", [State(), through("1.0.0")])
def test_there_may_be_nothing_to_go_back_to(state):
    with pytest.raises(UpdateError) as caught:
        rolled_back(state, "people")
    assert caught.value.kind == "rollback"


def test_a_generation_is_a_change_of_what_serves():
    state = refreshed(through("1.0.0"), "url", "stable", 5.0)
    assert (state.generation, state.refreshed_at, state.registry) == (1, 5.0, "url")
    assert failed(state, UpdateError("no", "slow"), 6.0).generation == 1
    assert refreshed(state, "url", "canary", 7.0).generation == 2


def test_a_failure_is_told_until_the_next_success():
    state = failed(through("1.0.0"), UpdateError("no", "slow"), 6.0)
    assert (state.problem.kind, state.problem.message, state.problem.at) == ("slow", "no", 6.0)
    assert refreshed(state, "url", "stable", 7.0).problem is None


def test_what_goes_on_serving_is_said_with_its_date():
    assert serving(through("1.0.0")) == "people 1.0.0, verified on 1971-01-01"
    assert serving(State()) == ""


def test_a_state_is_read_as_it_was_written():
    state = failed(rolled_back(through("1.0.0", "1.1.0"), "people"), UpdateError("x"), 1.0)
    assert parse_state(state.model_dump_json().encode()) == state


@given(st.binary(max_size=60))
def test_no_bytes_crash_the_reader(data):
    try:
        parse_state(data)
    except UpdateError as error:
        assert error.kind == "state"


@pytest.mark.parametrize("folder", ["../x", "/x", "a/b", "", ".hidden", "a\\b", "a" * 300])
def test_a_folder_that_leads_elsewhere_is_damage(folder):
    data = through("1.0.0").model_dump_json().replace('"people-1.0.0"', f'"{folder}"')
    with pytest.raises(UpdateError):
        parse_state(data.encode())


def test_a_deep_nest_is_damage():
    with pytest.raises(UpdateError):
        parse_state(b'{"models":' + b'{"a":' * 100_000)


def test_channels_are_read_as_they_were_written():
    channels = {"people": {"stable": "2.1.0", "canary": "2.2.0-rc.1"}, "digits": {}}
    assert parse_channels(channels_bytes(channels)) == channels


def test_channels_of_a_newer_registry_are_left_out():
    assert parse_channels(b'{"people": {"stable": "1.0.0", "nightly": "9"}}') == {
        "people": {"stable": "1.0.0"}
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"people": []}',
        b'{"people": {"stable": 1}}',
        b'{"people": {"stable": "../1"}}',
        b'{"people": {"stable": "1.0.0/../.."}}',
        b'{"../people": {"stable": "1.0.0"}}',
        b'{"people": {"stable": "1.0.0\\n"}}',
        b"[" * 100_000,
    ],
)
def test_wrong_channels_are_refused(data):
    with pytest.raises(UpdateError):
        parse_channels(data)


@given(st.binary(max_size=60))
def test_no_channels_crash_the_reader(data):
    try:
        parse_channels(data)
    except UpdateError:
        return


def test_addresses_of_files_begin_with_their_digest():
    target = package_target("people", "2.1.0+b.1")
    assert target == "packages/people/2.1.0+b.1/people-2.1.0+b.1.wherever"
    assert file_url("http://host/base/", target, "abc") == (
        "http://host/base/targets/packages/people/2.1.0%2Bb.1/abc.people-2.1.0%2Bb.1.wherever"
    )
    assert file_url("http://host", "channels.json", "abc").endswith("/targets/abc.channels.json")


def test_a_signed_digest_belongs_to_its_name_and_version():
    custom = custom_of("people", "2.1.0", "d" * 64)
    assert signed_digest(custom, "people", "2.1.0") == "d" * 64
    for wrong in (
        None,
        [],
        custom_of("people", "2.0.0", "d" * 64),
        custom_of("cars", "2.1.0", "d" * 64),
        custom_of("people", "2.1.0", "d"),
        {**custom, "digest": None},
    ):
        with pytest.raises(UpdateError):
            signed_digest(wrong, "people", "2.1.0")
