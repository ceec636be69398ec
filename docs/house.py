"""Draws docs/house.svg, the packages and their folders as the imports have them.

python docs/house.py

Every box stands above all boxes that it imports from; a line goes to each of them that is not
reached through another one, but for rankwise, on which all packages stand. The text of a box is the
first sentence of the folder's `__init__`. A test holds the picture in the tree against the imports.
"""

from __future__ import annotations

import ast
import functools
import pathlib
import textwrap

ROOT = pathlib.Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "house.svg"
PACKAGES = ("rankwise", "deflation", "linear_theory", "finetune", "launch")
COLOURS = dict(zip(PACKAGES, ("#e8e6df", "#d8e6f3", "#e3dcf1", "#dcedd9", "#f7e3cc"), strict=True))
WIDTH, HEIGHT, GAP, RISE, LINE = 188, 76, 14, 44, 30

Graph = dict[str, set[str]]


def modules() -> dict[str, pathlib.Path]:
    """Module name -> file, of every package."""
    files = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    names = [path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files]
    return {n.removesuffix(".__init__"): p for n, p in sorted(zip(names, files, strict=True))}


def imported(path: pathlib.Path, known: dict[str, pathlib.Path]) -> set[str]:
    """The modules among `known` that a file imports anywhere, but for annotations alone."""
    result: set[str] = set()
    for node in _executed(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            result |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            result |= {name if name in known else node.module for name in full.values()}
    return result & set(known)


def _executed(node: ast.AST):
    """The nodes of a tree without the bodies of `if TYPE_CHECKING:`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield from _executed(child)


def box(module: str, known: dict[str, pathlib.Path]) -> str:
    """The box of a module: its folder, or itself where it lies open in its package.

    The commands, none of which imports another, share one.
    """
    name = ".".join(module.split(".")[:2])
    return "launch" if name.startswith("launch.") and known[name].name != "__init__.py" else name


def folders() -> Graph:
    """Box -> the boxes that it imports from; a package's own face is no arrow down or up."""
    known = modules()
    graph: Graph = {}
    for module, path in known.items():
        if module not in PACKAGES:
            others = {box(name, known) for name in imported(path, known) if name not in PACKAGES}
            graph.setdefault(box(module, known), set()).update(others)
    return {name: others - {name} for name, others in graph.items()}


def reduced(graph: Graph) -> Graph:
    """Without the arrows that a longer way says already."""

    @functools.cache
    def below(name: str) -> frozenset[str]:
        return frozenset().union(graph[name], *(below(other) for other in graph[name]))

    return {
        n: {o for o in s if not any(o in below(x) for x in s if x != o)} for n, s in graph.items()
    }


def levels(graph: Graph) -> dict[str, int]:
    """Box -> its floor, one above the highest that it stands on."""

    @functools.cache
    def level(name: str) -> int:
        return 1 + max((level(other) for other in graph[name]), default=-1)

    return {name: level(name) for name in graph}


def sentence(name: str) -> str:
    """The first sentence of a folder's `__init__`, or of a module."""
    path = ROOT / name.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    return (text or "").split(". ")[0].split("\n\n")[0].replace("\n", " ").rstrip(".")


def svg(graph: Graph) -> str:
    """The picture as text."""
    floors = levels(graph)
    rows: dict[int, list[str]] = {}
    for name in sorted(graph, key=lambda n: (PACKAGES.index(n.split(".")[0]), n)):
        rows.setdefault(floors[name], []).append(name)
    wide = max(map(len, rows.values())) * (WIDTH + GAP) + GAP
    tall = len(rows) * (HEIGHT + RISE)
    place = {}
    for floor, names in rows.items():
        left = (wide - len(names) * (WIDTH + GAP)) / 2
        for number, name in enumerate(names):
            place[name] = (left + number * (WIDTH + GAP), (max(rows) - floor) * (HEIGHT + RISE) + 8)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {tall}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{wide}" height="{tall}" fill="white"/>',
    ]
    for name, others in sorted(reduced(graph).items()):
        for other in sorted(others):
            if other.startswith("rankwise") and not name.startswith("rankwise"):
                continue
            (x, y), (u, v) = place[name], place[other]
            x, u = x + WIDTH / 2, u + WIDTH / 2
            parts.append(
                f'<path d="M{x} {y + HEIGHT} C{x} {y + HEIGHT + LINE} {u} {v - LINE} {u} {v}" '
                'fill="none" stroke="#777" stroke-width="0.8"/>'
            )
    for name, (x, y) in place.items():
        colour = COLOURS[name.split(".")[0]]
        parts.append(
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5" fill="{colour}" '
            'stroke="#555"/>'
        )
        text = sentence(name).replace("`", "").replace("&", "&amp;").replace("<", "&lt;")
        lines = [name, *textwrap.wrap(text, 31, max_lines=4, placeholder=" ...")]
        for number, line in enumerate(lines):
            weight = ' font-weight="bold"' if number == 0 else ""
            parts.append(f'<text x="{x + 6}" y="{y + 15 + 14 * number}"{weight}>{line}</text>')
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    PICTURE.write_text(svg(folders()), encoding="utf-8")
