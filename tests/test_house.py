"""The picture of the house is that of the imports as they are."""

from tests.docs_scripts import load

house = load("house")


def test_the_picture_is_current():
    text = house.PICTURE.read_text(encoding="utf-8")
    assert text == house.svg(house.folders()), "run: python docs/house.py"


def test_a_longer_way_hides_an_arrow():
    graph = {"c": {"a", "b"}, "b": {"a"}, "a": set()}
    assert house.reduced(graph) == {"c": {"b"}, "b": {"a"}, "a": set()}
    assert house.levels(graph) == {"a": 0, "b": 1, "c": 2}
