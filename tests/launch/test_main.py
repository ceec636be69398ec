"""One name for the nine commands."""

import pathlib
import sys

import pytest

import launch
from launch.__main__ import COMMANDS, main


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["rankwise", *arguments])
    main()


def test_every_command_is_listed():
    folder = pathlib.Path(launch.__file__).parent
    programs = {p.stem for p in folder.glob("*.py") if "\n    app.run(main" in p.read_text()}
    assert programs == set(COMMANDS)


def test_without_a_command_it_helps(monkeypatch, capsys):
    run(monkeypatch)
    shown = capsys.readouterr().out
    assert all(f"  {name:<10}  {text}\n" in shown for name, text in COMMANDS.items())


def test_a_command_is_run_with_its_own_arguments(monkeypatch, capsys):
    # Another test may have imported it, of which runpy warns; a shell's process has not.
    monkeypatch.delitem(sys.modules, "launch.check", raising=False)
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, "check", "--list", "--claims=^cascade.theorem_n$")
    assert stopped.value.code in (0, None)
    assert "cascade.theorem_n" in capsys.readouterr().out


def test_an_unknown_command_is_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "chek")
    said = capsys.readouterr().err
    assert said.startswith("rankwise: there is no command 'chek'") and said.count("\n") == 1
