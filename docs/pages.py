"""Pages of the reference that are made while it is built: one per module, and the repository's own.

Run by mkdocs (plugin gen-files); nothing that it writes lands in the tree. The README is the front
page, the notebooks and the evidence are taken as they are, with the pictures beside them, so that
their links hold on both sides.
"""

from __future__ import annotations

import pathlib
import re

import mkdocs_gen_files

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("rankwise", "deflation", "linear_theory", "finetune", "launch")
TEXTS = ("README.md", "CONTRIBUTING.md")  # a README is the front page of its folder
BESIDE = (
    "docs/*.md",
    "notebooks/*.png",
    "notebooks/figures/*.png",
    "notebooks/*.ipynb",
    "notebooks/evidence.md",
)
LINK = re.compile(r"\]\(([\w./-]+)\)")


def copy(source: pathlib.Path, page: str) -> None:
    """The file as a page, or as what a page shows."""
    with mkdocs_gen_files.open(page, "wb") as file:
        file.write(source.read_bytes())


def api() -> None:
    """A page per module, in folders as the packages have them; private modules have none."""
    nav = mkdocs_gen_files.Nav()
    for package in PACKAGES:
        for source in sorted((ROOT / package).rglob("*.py")):
            parts = source.relative_to(ROOT).with_suffix("").parts
            if any(part.startswith("_") and part != "__init__" for part in parts):
                continue
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            name = ".".join(parts)
            folder = (source.parent / "__init__.py").samefile(source)
            path = "/".join(parts) + ("/index.md" if folder else ".md")
            nav[parts] = path
            with mkdocs_gen_files.open(f"api/{path}", "w") as file:
                file.write(f"# `{name}`\n\n::: {name}\n")
    with mkdocs_gen_files.open("api/SUMMARY.md", "w") as file:
        file.writelines(nav.build_literate_nav())


def main() -> None:
    """All of them."""
    beside = {path for pattern in BESIDE for path in ROOT.glob(pattern)}
    for name in TEXTS:
        text = (ROOT / name).read_text(encoding="utf-8")
        beside |= {ROOT / link for link in LINK.findall(text) if link not in TEXTS}
        copy(ROOT / name, name)
    for source in sorted(beside):
        copy(source, source.relative_to(ROOT).as_posix())
    api()


main()
