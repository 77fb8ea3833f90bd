from __future__ import annotations

from wherever_edge.box.adverts import Advert
from wherever_edge.box.sightings import Sightings


def advert(number: int, name: str = "box", load: float = 0.0) -> Advert:
    return Advert(f"{number:016x}", name, ("10.0.0.7",), 8011, load=load)


def ids(sightings: Sightings) -> list[int]:
    return [int(sighting.advert.id, 16) for sighting in sightings.list()]


def test_the_newest_advert_of_a_box_counts() -> None:
    sightings = Sightings()
    sightings.saw(advert(1, load=0.25), now=1.0)
    sightings.saw(advert(1, load=0.75), now=2.0)
    (found,) = sightings.list()
    assert (found.advert.load, found.seen_at) == (0.75, 2.0)


def test_a_flood_of_adverts_leaves_the_newest_and_every_paired_box() -> None:
    sightings = Sightings(paired=[f"{7:016x}"], max_unpaired=64)
    sightings.saw(advert(7), now=0.0)
    for number in range(1000, 2000):
        sightings.saw(advert(number), now=float(number))
    assert ids(sightings) == [7, *range(1936, 2000)]


def test_a_box_that_is_seen_again_does_not_give_way() -> None:
    sightings = Sightings(max_unpaired=2)
    for number in (1, 2, 1, 3):
        sightings.saw(advert(number), now=0.0)
    assert ids(sightings) == [1, 3]


def test_a_goodbye_removes_only_boxes_that_are_not_paired() -> None:
    sightings = Sightings(paired=[f"{1:016x}"])
    for number in (1, 2):
        sightings.saw(advert(number), now=0.0)
        sightings.left(f"{number:016x}")
    assert ids(sightings) == [1]


def test_paired_boxes_are_listed_first_and_then_by_name() -> None:
    sightings = Sightings(paired=[f"{9:016x}"])
    for number, name in ((1, "b"), (2, "a"), (9, "z")):
        sightings.saw(advert(number, name), now=0.0)
    assert [sighting.advert.name for sighting in sightings.list()] == ["z", "a", "b"]
