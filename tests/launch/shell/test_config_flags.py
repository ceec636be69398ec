"""Flags are the fields of a configuration: type, default, limits, help, group; written once."""

import dataclasses
import os
from typing import Literal

import pytest
from absl import flags

from launch.shell import app, config_flags
from rankwise.options import collected, option


@dataclasses.dataclass(frozen=True)
class MethodSettings:
    rate: float = option(0.5, "a rate", lower=0, upper=2)
    place: str | None = option(None, "a folder", path=True)
    parts: int | Literal["auto"] = option(4, "number of parts", lower=1)


@dataclasses.dataclass(frozen=True)
class First:
    GROUP = "first part"

    rank: int = option(3, "number of components", lower=1, upper=8)
    places: tuple[str, ...] = option((), "some folders", path=True)


@dataclasses.dataclass(frozen=True)
class Config(First):
    GROUP = "second part"

    kind: str | None = option(None, "which one", ("a", "b"))
    names: tuple[str, ...] = option(("x",), "some names")
    settings: dict = dataclasses.field(
        default_factory=dict, metadata={"options": collected({"one": MethodSettings})}
    )


@dataclasses.dataclass(frozen=True)
class Another:
    rank: int = option(1, "another meaning")
    more: bool = option(False, "something of its own")


@pytest.fixture
def call(capsys):
    """(config_type, *arguments) -> (exit status, configuration, stdout, stderr)."""

    def called(config_type, *arguments, beside=None):
        configs = []

        def main(config):
            configs.append(config)

        with pytest.raises(SystemExit) as ended:
            app.run(main, config_type, ["prog", *arguments], beside)
        out, err = capsys.readouterr()
        return ended.value.code or 0, configs[0] if configs else None, out, err

    return called


def test_defaults_are_those_of_the_record(call):
    assert call(Config)[1] == Config()


def test_values_are_of_the_field_s_type(call):
    arguments = ["--rank=8", "--places=~,b", "--kind=b", "--names=u,v", "--rate=1", "--place=~"]
    home = os.path.expanduser("~")
    expected = Config(8, (home, "b"), "b", ("u", "v"), {"rate": 1.0, "place": home})
    assert call(Config, *arguments)[1] == expected


@pytest.mark.parametrize(
    "argument", ["--rank=0", "--rank=9", "--kind=c", "--rate=x", "--rate=-1", "--rate=3"]
)
def test_what_a_field_refuses(argument, call):
    status, config, _, err = call(Config, argument)
    assert status == 2 and config is None and err.count("\n") == 1


def test_a_word_in_place_of_a_number(call):
    assert call(Config, "--parts=auto")[1].settings == {"parts": "auto"}
    assert call(Config, "--parts=2")[1].settings == {"parts": 2}
    for text, limit in (("none", "a positive integer or auto"), ("0", "a positive integer")):
        status, _, _, err = call(Config, f"--parts={text}")
        assert status == 2 and limit in err and err.count("\n") == 1
    page = call(Config, "--help")[2]
    assert "--parts=N" in page and "[a positive integer or auto]" in " ".join(page.split())


def test_parts_are_the_groups_of_the_page(call):
    page = call(Config, "--help")[2]
    titles = ["first part:", "--rank=N", "second part:", "--names=A,B", "options of methods"]
    places = [page.index(title) for title in titles]
    assert places == sorted(places)
    assert "number of components [3; an integer in the range [1, 8]]" in page


def test_a_flag_of_both_records_is_one(call):
    status, config, page, _ = call(Another, "--help", beside=First)
    assert (status, config) == (0, None) and page.count("--rank=N") == 1
    assert "another meaning [3;" in page
    assert call(Another, "--rank=5", "--more", beside=First)[1] == Another(5, True)


def test_names_and_json():
    expected = ["rank", "places", "kind", "names", "rate", "place", "parts"]
    assert config_flags.names(Config) == expected
    record = {"rank": 2, "names": ["u"], "settings": {"rate": 1.0}}
    expected = Config(rank=2, names=("u",), settings={"rate": 1.0})
    assert config_flags.from_json(Config, record) == expected
    assert "rank" not in flags.FLAGS
