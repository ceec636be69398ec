"""The build of the house, read out of its source: floors, circles, sizes, and a word for each."""

import ast
import collections

import pytest

from tests.test_house import house

ROOT = house.ROOT
# What a package may import besides itself.
BELOW = {
    "rankwise": set(),
    "deflation": {"rankwise"},
    "linear_theory": {"rankwise", "deflation"},
    "finetune": {"rankwise", "deflation"},
    "launch": {"rankwise", "deflation", "linear_theory", "finetune"},
}
# What a paper's folder may see of linear_theory: itself, and the common ground.
PAPERS = {
    "perturbation": {"instances"},
    "sequential": {"instances", "perturbation"},
    "parallel": {"instances", "perturbation"},
    "adaptation": {"instances"},
    "structure": {"instances"},
}
LINES = 300  # of a file, of tests too
MODULES = 25  # of a folder
MANY = {"finetune/methods"}  # one file per method, and nothing else
COMMAND = 100  # lines of a command
FILES = house.modules()
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in FILES.items()}
GRAPH = {name: house.imported(path, FILES) for name, path in FILES.items()}


def test_imports_in_functions_count_and_those_for_annotations_do_not(tmp_path):
    lines = (
        "from a import b, word",
        "import c.d",
        "def run():",
        "    from e import f",
        "if TYPE_CHECKING:",
        "    import g",
    )
    path = tmp_path / "module.py"
    path.write_text("\n".join(lines), encoding="utf-8")
    known = dict.fromkeys(("a", "a.b", "c.d", "e", "e.f", "g"), path)
    assert house.imported(path, known) == {"a", "a.b", "c.d", "e.f"}


def arrows():
    return [(name, goal) for name, goals in GRAPH.items() for goal in sorted(goals)]


def circles(graph):
    """Groups of modules that reach each other (Tarjan's algorithm)."""
    number, low, stack, result = {}, {}, [], []

    def visit(name):
        number[name] = low[name] = len(number)
        stack.append(name)
        for goal in graph[name]:
            if goal not in number:
                visit(goal)
                low[name] = min(low[name], low[goal])
            elif goal in stack:
                low[name] = min(low[name], number[goal])
        if low[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                result.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return result


def test_circles_are_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]


def test_no_module_imports_itself_by_way_of_others():
    assert circles(GRAPH) == []


def test_no_arrow_goes_up():
    up = [
        f"{name} -> {goal}"
        for name, goal in arrows()
        if (own := name.split(".")[0]) != (other := goal.split(".")[0]) and other not in BELOW[own]
    ]
    assert up == []


def test_the_papers_do_not_see_each_other():
    across = []
    for name, goal in arrows():
        if not (name.startswith("linear_theory.") and goal.startswith("linear_theory.")):
            continue
        own, other = name.split(".")[1], goal.split(".")[1]
        if own in PAPERS and other in PAPERS and other != own and other not in PAPERS[own]:
            across.append(f"{name} -> {goal}")
    assert across == []


def test_instances_stand_below_the_papers():
    up = [
        f"{name} -> {goal}"
        for name, goal in arrows()
        if name.startswith("linear_theory.instances.")
        and goal.startswith("linear_theory.")
        and goal.split(".")[1] in PAPERS
    ]
    assert up == []


def test_a_file_has_one_idea():
    files = [*FILES.values(), *(ROOT / "tests").rglob("*.py")]
    count = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {name: lines for name, lines in count.items() if lines > LINES} == {}


def test_a_folder_can_be_read_at_a_glance():
    count = collections.Counter(
        str(path.parent.relative_to(ROOT)) for path in FILES.values() if path.stem != "__init__"
    )
    crowded = {folder: n for folder, n in count.items() if n > MODULES and folder not in MANY}
    assert crowded == {}


COMMANDS = [path for path in sorted((ROOT / "launch").glob("*.py")) if path.stem != "__init__"]


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_command_is_thin(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= COMMAND, f"launch/{path.name} has {lines} lines; allowed are {COMMAND}"
    assert '__name__ == "__main__"' in path.read_text(encoding="utf-8"), "commands alone stand here"


def test_nobody_imports_a_command():
    commands = {f"launch.{path.stem}" for path in COMMANDS}
    assert [f"{name} -> {goal}" for name, goal in arrows() if goal in commands] == []


def public(tree):
    """(name, node) of what a module offers: functions, classes, and the methods of these."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node.name, node
            for inner in getattr(node, "body", []) if isinstance(node, ast.ClassDef) else []:
                if isinstance(inner, ast.FunctionDef) and not inner.name.startswith("_"):
                    yield f"{node.name}.{inner.name}", inner


def test_what_is_public_says_what_it_is():
    silent = [name for name, tree in TREES.items() if not ast.get_docstring(tree)]
    for name, tree in TREES.items():
        silent += [f"{name}.{own}" for own, node in public(tree) if not ast.get_docstring(node)]
    assert silent == []


def test_a_folder_says_what_lives_in_it():
    folders = {path.parent for path in FILES.values()}
    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()] == []
    packages = [name for name, path in FILES.items() if path.stem == "__init__"]
    assert [name for name in packages if "." not in (ast.get_docstring(TREES[name]) or "")] == []
