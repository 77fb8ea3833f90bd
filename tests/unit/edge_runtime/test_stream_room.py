"""How much of what streams bring is held: who has to wait, and who is told when there is room."""

from __future__ import annotations

import threading

from wherever_edge.oip.stream_room import Room

SOON_S = 10.0


def test_who_waits_is_told_once_when_calls_have_left() -> None:
    room, told = Room(2, 100), list[str]()
    assert not room.await_place(lambda: told.append("at once"))
    room.add(3, 30)
    assert room.await_place(lambda: told.append("first"))
    assert room.await_place(lambda: told.append("second"))
    room.add(-1, -10)
    assert told == []
    room.add(-1, -10)
    assert told == ["first", "second"]
    room.add(5, 0)
    room.add(-5, 0)
    assert told == ["first", "second"]


def test_bytes_fill_a_room_as_calls_do() -> None:
    room, told = Room(100, 10), list[str]()
    room.add(1, 10)
    assert room.await_place(lambda: told.append("now"))
    room.add(-1, -1)
    assert told == ["now"]


def test_who_is_told_may_fill_the_room_and_wait_again() -> None:
    room, told = Room(1, 100), list[bool]()

    def again() -> None:
        room.add(1, 0)
        told.append(room.await_place(again))

    room.add(1, 0)
    assert room.await_place(again)
    for _ in range(3):
        room.add(-1, 0)
    assert told == [True] * 3


def test_waiting_ends_when_there_is_room() -> None:
    room = Room(1, 100)
    room.wait()
    room.add(1, 0)
    waiting = threading.Thread(target=room.wait)
    waiting.start()
    room.add(-1, 0)
    waiting.join(SOON_S)
    assert not waiting.is_alive()
