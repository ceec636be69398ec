"""Options: fields of settings that are said once."""

import dataclasses
from typing import Literal

import pytest

from rankwise.options import collected, filled, option, option_of


@dataclasses.dataclass(frozen=True)
class Settings:
    steps: int = option(dataclasses.MISSING, "number of steps", lower=1)
    kind: str = option("a", "which one", ("a", "b"))
    place: str | None = option(None, "a folder", path=True, alias="folder")


def settings(**limits):
    return dataclasses.make_dataclass("Made", [("rank", int, option(1, "components", **limits))])


@pytest.mark.parametrize("name", ["steps", "kind", "place"])
def test_an_option_of_a_record_says_all_of_it(name):
    original = Settings.__dataclass_fields__[name]
    copy = option_of(Settings, name)
    assert (copy.default, copy.metadata) == (original.default, original.metadata)


def test_only_the_changes_of_an_option_differ():
    original = Settings.__dataclass_fields__["steps"]
    copy = option_of(Settings, "steps", default=None, upper=9)
    assert copy.default is None
    assert copy.metadata == {**original.metadata, "upper": 9}


def test_an_option_without_default_has_to_be_given():
    with pytest.raises(TypeError, match="steps"):
        Settings()
    assert Settings(3) == Settings(steps=3, kind="a", place=None)


def test_a_record_is_filled_by_names_and_others_win():
    @dataclasses.dataclass
    class Flags:
        kind: str = "b"
        place: str = "here"
        seed: int = 0

    assert filled(Settings, Flags(), steps=3, place=None) == Settings(3, "b", None)


def test_limits_of_an_option_are_the_same_everywhere():
    same = collected({"one": settings(lower=1), "two": settings(lower=1)})
    assert same["rank"].limits == {"lower": 1, "upper": None, "path": False}
    with pytest.raises(TypeError, match="rank of two is another one"):
        collected({"one": settings(lower=1), "two": settings(lower=2)})


def test_words_in_place_of_a_number_are_those_of_all_methods():
    hint = int | Literal["auto"] | None
    words = dataclasses.make_dataclass("Made", [("rank", hint, option(None, "components"))])
    for order in ({"one": settings(), "two": words}, {"two": words, "one": settings()}):
        made = collected(order)["rank"]
        assert (made.kind, made.words, made.methods) == (int, ("auto",), {"one", "two"})
    assert collected({"one": settings()})["rank"].words == ()


def test_an_option_of_methods_has_one_name():
    with pytest.raises(TypeError, match="rank of one has an alias"):
        collected({"one": settings(alias="r")})
