"""docs/coverage.md: all it names is there, counts are those of its rows, no claim is left out."""

import ast
import collections
import fnmatch
import functools
import importlib
import pathlib
import re

import pytest

from linear_theory import figures, registry

ROOT = pathlib.Path(__file__).parent.parent
PAGE = ROOT / "docs/coverage.md"
STATUSES = ("done", "partly", "missing", "to be run", "not applicable")
PACKAGES = ("rankwise", "deflation", "linear_theory", "finetune", "launch")
Row = collections.namedtuple("Row", "number where what status here missing")


def _lines() -> list[str]:
    return PAGE.read_text(encoding="utf-8").splitlines()


def _cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@functools.cache
def rows() -> dict[str, list[Row]]:
    """The rows under each heading."""
    found, current = {}, None
    for line in _lines():
        if line.startswith("## "):
            current = found.setdefault(line[3:], [])
        elif re.match(r"\| [A-Z]\d+ \|", line):
            current.append(Row(*_cells(line)))
    return found


ALL = [row for own in rows().values() for row in own]


@functools.cache
def options() -> set[str]:
    """Names of annotated fields, of which flags are made."""
    files = [path for package in ("finetune", "launch") for path in (ROOT / package).rglob("*.py")]
    nodes = (node for path in files for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    return {
        node.target.id
        for node in nodes
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


@functools.cache
def figure_names() -> set[str]:
    return {
        name
        for study in ("vision", "survey", "known_ranks")
        for name in importlib.import_module(f"finetune.studies.{study}.registry").registry()
    } | set(figures.registry())


def exists(name: str) -> bool:
    """Whether the project has it: a claim or a pattern of claims, a figure, a flag, a path, or
    what can be imported."""
    if fnmatch.filter(registry(), name) or name in figure_names():
        return True
    if name.startswith("--"):
        return name[2:] in options()
    if name.split(".")[0] not in PACKAGES or "/" in name:
        return (ROOT / name).is_file()
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        try:
            functools.reduce(getattr, parts[length:], value)
        except AttributeError:
            return False
        return True
    return False


def named(row: Row) -> list[str]:
    return re.findall(r"`([^`]+)`", f"{row.here} {row.missing}")


def test_there_is_a_row_for_all_of_the_five_documents():
    assert len(rows()) == 5
    for own in rows().values():
        letters = {row.number[0] for row in own}
        assert len(letters) == 1
        numbers = [int(row.number[1:]) for row in own]
        assert numbers == list(range(1, len(own) + 1))


@pytest.mark.parametrize("document", range(5))
def test_all_that_is_named_is_there(document):
    own = list(rows().values())[document]
    lost = [(row.number, name) for row in own for name in named(row) if not exists(name)]
    assert not lost


@pytest.mark.parametrize("name", ["cascade.no_such", "--no_such", "docs/no.md", "deflation.no"])
def test_what_is_not_there_is_noticed(name):
    assert not exists(name)


def test_links_lead_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text(encoding="utf-8"))
    assert links and not [link for link in links if not (PAGE.parent / link).is_file()]


def test_a_status_says_where_it_is_or_what_is_missing():
    for row in ALL:
        assert row.status in STATUSES, row
        if row.status in ("done", "partly", "to be run"):
            assert named(row) or "](" in row.here, row
        if row.status in ("partly", "to be run"):
            assert row.missing, row


def test_the_counts_are_those_of_the_rows():
    counted = {}
    for line in _lines():
        if re.match(r"\| .+ \|( \d+ \|){6}$", line):
            title, *numbers = _cells(line)
            counted[title] = [int(number) for number in numbers]
    for title, own in [*rows().items(), ("all", ALL)]:
        statuses = collections.Counter(row.status for row in own)
        assert counted[title] == [len(own), *(statuses[status] for status in STATUSES)]


def test_every_claim_on_a_document_is_on_the_page():
    patterns = {name for row in ALL for name in named(row)}
    left_out = [
        name
        for name, claim in registry().items()
        if claim.status != "new" and not any(fnmatch.fnmatch(name, p) for p in patterns)
    ]
    assert not left_out


def test_the_documents_are_those_that_claims_cite():
    sources = " ".join(claim.source for claim in registry().values())
    for title in rows():
        papers = re.findall(r"arXiv (\d{4}\.\d{5})", title)
        assert papers and all(paper in sources for paper in papers), title
