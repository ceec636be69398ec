"""--help of every command: all of its own flags, in groups, and nobody else's."""

import re
import subprocess
import sys

import pytest
from absl import flags

from finetune.methods import OPTIONS
from tests.launch.commands import COMMANDS, command, defined

FEWEST = {
    "train": 120,
    "compare": 120,
    "evaluate": 25,
    "decompose": 20,
    "benchmark": 13,
    "predict": 4,
}


def shown(page):
    return re.findall(r"^  --(?:\[no\])?(\w+)", page, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_page_has_the_command_s_own_flags_and_no_others(name, capsys):
    assert command(name, "--help") == 0
    out, err = capsys.readouterr()
    names = shown(out)
    assert err == "" and len(names) == len(set(names)) >= FEWEST.get(name, 5)
    with defined(name) as own:
        assert set(names) == own | {"jax_cache_dir"}
    assert "python -m launch" in out  # how it is called
    assert max(map(len, out.splitlines())) <= 100


@pytest.mark.parametrize("name", ["train", "compare"])
def test_groups_are_in_the_order_of_a_run(name, capsys):
    assert command(name, "--help") == 0
    out = capsys.readouterr().out
    titles = ["task and data", "model", "method", "options of methods", "optimiser", "run"]
    places = [re.search(rf"^{title}\b.*:$", out, re.MULTILINE).start() for title in titles]
    assert places == sorted(places)


def test_a_method_s_page_has_its_own_options_and_defaults(capsys):
    assert command("train", "--method=adapad", "--help") == 0
    out = capsys.readouterr().out
    names = set(shown(out))
    assert names & set(OPTIONS) == {
        n for n, option in OPTIONS.items() if "adapad" in option.methods
    }
    assert "options of --method=adapad:" in out
    assert (
        "--rank=N\n      largest number of components that a module may have; by default twice"
        in out
    )


# A text that begins so goes on from something that is not there.
FRAGMENT = {
    "of",
    "from",
    "to",
    "by",
    "for",
    "at",
    "with",
    "added",
    "taken",
    "measured",
    "drawn",
    ">",
}


def fragment(text):
    """Why a help text is no sentence or noun phrase that a stranger understands; "" if it is."""
    text = re.sub(r"^(\S+ ){0,3}\S+: ", "", text)  # what it is for: "of merge: ", "humaneval: "
    words, last = text.split(), text.split(";")[-1].split()
    if len(words) < 4 and not text[:1].isupper():
        return "fewer than four words"
    if words[0] in FRAGMENT:
        return f"begins with {words[0]!r}"
    return "ends with a single word" if len(last) < 2 else ""


def test_the_rule_sees_fragments():
    assert fragment("rows per step") == "fewer than four words"
    assert fragment("of the first factors") == "begins with 'of'"
    assert fragment("number of components of all modules; all") == "ends with a single word"
    assert fragment("humaneval: completions written per problem") == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_text_is_understood_alone(name):
    with defined(name) as own:
        texts = {flag: flags.FLAGS[flag].help for flag in own if flag not in OPTIONS}
    texts = {flag: re.sub(r"^<[^>]*>: ", "", text) for flag, text in texts.items()}
    assert {flag: why for flag, text in texts.items() if (why := fragment(text))} == {}


def test_every_option_of_a_method_is_understood_alone():
    texts = [(name, text) for name, option in OPTIONS.items() for text in option.texts]
    assert {name: why for name, text in texts if (why := fragment(text))} == {}


def test_defaults_and_limits_are_said(capsys):
    assert command("train", "--help") == 0
    out = capsys.readouterr().out
    assert "--max_length=N\n      text: tokens that a text is cut to [128; integer >= 8]" in out
    course = "course of the learning rate after the warm-up: linear or cosine to 0, or constant"
    assert f"      {course} [linear]" in out


def test_the_version_is_one_line(capsys):
    assert command("decompose", "--version") == 0
    assert re.fullmatch(r"rankwise \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("names", "absent"),
    [
        (("check", "decompose", "regress", "adapter"), ("flax", "matplotlib", "scipy", "sklearn")),
        (("train", "compare"), ("matplotlib", "scipy.stats", "sklearn")),
    ],
    ids=["light", "of networks"],
)
def test_a_command_imports_nothing_that_its_help_does_not_need(names, absent):
    imported = "; ".join(f"import launch.{name}" for name in names)
    program = f"import sys; {imported}; print([name for name in {absent!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
