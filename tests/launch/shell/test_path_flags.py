"""A leading ~ is the home folder, in every flag of every command that names a place."""

import pytest
from absl import flags

from launch.shell import path_flags
from tests.launch.commands import COMMANDS, defined

PLACES = {"adapter", "data", "data_dir", "figure", "json", "matrix", "methods", "model"}
PLACES |= {"adapters", "base"}
PLACES |= {"output", "predictions", "preset", "report", "submission", "tasks", "workdir"}


def test_a_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert path_flags.expanded("~/run") == "/home/me/run" and path_flags.expanded("~") == "/home/me"
    assert path_flags.expanded("a~b/~") == "a~b/~"
    with pytest.raises(ValueError, match="~nobody-at-all has no home folder"):
        path_flags.expanded("~nobody-at-all/run")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_place_of_every_command(name, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    with defined(name) as own:
        places = own & PLACES
        assert places
        for place in places:
            flag = flags.FLAGS[place]
            flag.parse("~/x")
            assert flag.value in ("/home/me/x", ["/home/me/x"]), place
