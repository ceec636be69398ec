"""The evidence table as one page of Markdown with its figures, for people who will cite it."""

from __future__ import annotations

import os
import pathlib
import re
import tempfile
from collections.abc import Mapping, Sequence

from launch.evidence import questions
from launch.evidence import sources as figure_sources
from launch.shell import waiting
from linear_theory import Claim, Row
from rankwise.files import write_text
from rankwise.plots import files

PAGE = "evidence.md"
HEAD = """# Evidence

Every statement is a program: both of its sides are measured on random instances, in float64.
Beside it stands its control, a neighbouring statement (an index shifted, a term omitted, the
printed form where that is wrong) that the same program must catch; a claim whose control is not
caught proves nothing.

*instances*: those that meet the premises, of all drawn. *violations*: points at which the statement
failed. *tightness*: bound over measured, least and median (1 is sharp; for a lower bound inverted).
*control*: the changed statement, and the share of its points at which it fails.

"""
STATUS = {
    "as printed": "holds as printed",
    "with a condition": "holds with a condition",
    "corrected": "corrected",
    "refuted": "refuted",
    "new": "new, proved or observed here",
}
COLUMNS = (
    "claim",
    "statement",
    "source",
    "status",
    "instances",
    "violations",
    "tightness",
    "control",
)
SHOWN = {
    "cascade": (
        "sequential_allocation",
        "sequential_noise",
        "sequential_spectra",
        "sequential_noise_allocation",
        "sequential_noise_profiles",
    ),
    "budgets": (
        "sequential_alpha_sweep",
        "sequential_allocation_limits",
        "sequential_sizes",
        "sequential_thresholds",
        "sequential_profiles",
        "extensions",
        "vision_paths",
        "vision_efficiency",
        "vision_spread",
        "vision_budgets",
        "vision_bases",
    ),
    "self_correction": (
        "parallel_errors",
        "parallel_warm_up",
        "parallel_advance_learning",
        "parallel_versus_sequential",
    ),
    "generalization": ("noise_floor", "best_rank"),
    "alignment": ("alignment_over_time",),
    "subtracted_start": ("starts_over_time",),
    "toys": ("toy_paths", "survey_factor_rates"),
    "deep_linear": (
        "survey_factors",
        "survey_adaptation",
        "survey_updates",
        "survey_vit_layers",
    ),
    "regularization": ("survey_deep_lora",),
    "dropout": ("survey_dropout",),
}
"""Figures by subject, beside those that claims name themselves."""
FIGURES = """
## Figures

What every figure of `launch.figures` says, in the size that takes seconds where it stands above, or
the pages that name it.

"""
FIGURE_COLUMNS = ("figure", "source", "shows", "outcome")


def write(
    folder: str | pathlib.Path, claims: Sequence[Claim], rows: Sequence[Row], command: str
) -> pathlib.Path:
    """Writes evidence.md and its figures; files of these names are replaced.

    Args:
      folder: made if missing.
      claims, rows: one row per claim, in order.
      command: what made the numbers, printed on the page.

    Returns:
      The page.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    subjects: dict[str, list[tuple[Claim, Row]]] = {}
    for claim, row in zip(claims, rows, strict=True):
        subjects.setdefault(claim.name.partition(".")[0], []).append((claim, row))
    shown = {
        name: _figures(name, [claim for claim, _ in checked]) for name, checked in subjects.items()
    }
    findings = draw(folder, [figure for names in shown.values() for figure in names])
    parts = [HEAD, summary(claims, rows, command)]
    for subject, checked in subjects.items():
        parts.append(f"\n## {subject.replace('_', ' ').capitalize()}\n\n")
        parts += [f"![{name}](figures/{name}.png)\n\n" for name in shown[subject]]
        parts += _table(COLUMNS, [_cells(claim, row) for claim, row in checked])
    asked = questions.asked({claim.name for claim in claims})
    if asked:
        parts += [questions.HEAD, *_table(questions.COLUMNS, asked)]
    parts += [FIGURES, *_table(FIGURE_COLUMNS, outcomes(folder, findings))]
    path = folder / PAGE
    write_text(path, "".join(parts))
    return path


def summary(claims: Sequence[Claim], rows: Sequence[Row], command: str) -> str:
    """What all rows together say."""
    failed = [row.claim for row in rows if not row.holds]
    return (
        f"Made by `{command}`. {origins(claims)} "
        f"{sum(row.violations for row in rows)} violations, "
        f"{sum(row.control_caught for row in rows)} controls caught. {_instances(rows)}\n"
        + (f"\n**Failed:** {', '.join(failed)}.\n" if failed else "")
    )


def origins(claims: Sequence[Claim]) -> str:
    """How many claims there are, and what became of the printed ones.

    Example:
      >>> from linear_theory import registry
      >>> origins([registry()["perturbation.weyl"]])
      '1 claims: 1 of documents (1 as printed), 0 new, proved or observed here.'
    """
    counts = {name: sum(claim.status == name for claim in claims) for name in STATUS}
    new = counts.pop("new")
    words = [f"{n} {STATUS[name].removeprefix('holds ')}" for name, n in counts.items() if n]
    printed = f" ({', '.join(words)})" if words else ""
    old = sum(counts.values())
    return f"{len(claims)} claims: {old} of documents{printed}, {new} {STATUS['new']}."


def _instances(rows: Sequence[Row]) -> str:
    """Which claims have few instances (drawn, or meeting the premises), and what others have."""
    few = {row.claim: row.premises_met for row in rows if 2 * row.premises_met < row.trials}
    least = min((row.premises_met for row in rows if row.claim not in few), default=None)
    text = (
        "" if least is None else f"At least {least} of {rows[0].trials} instances meet the premises"
    )
    if not few:
        return f"{text}."
    named = ", ".join(f"`{name}` {count}" for name, count in few.items())
    text += ", but" if text else "Instances:"
    return f"{text} of {len(few)} claims fewer are drawn or do: {named}."


def outcomes(folder: pathlib.Path, findings: Mapping[str, str]) -> list[tuple[str, ...]]:
    """A row per registered figure; see `FIGURE_COLUMNS`.

    Args:
      folder: of the page; notebooks in it and the README above it are searched for the figures.
      findings: what the figures of the page say, by name.
    """
    pages = [*sorted(folder.glob("*.ipynb")), folder.parent / "README.md"]
    texts = {page: page.read_text(encoding="utf-8") for page in pages if page.is_file()}
    rows = []
    for name, recipe in figure_sources.registry().items():
        named = re.compile(rf'(--name=|"){name}\b')
        links = [
            f"[{page.name}]({os.path.relpath(page, folder)})"
            for page, text in texts.items()
            if named.search(text)
        ]
        said = "; ".join(findings.get(name, "").splitlines())
        shown = [f"above{': ' if said else ''}{said}"] if name in findings else []
        where = "; ".join([*shown, *links]) or f"none yet: `launch.figures --name={name}`"
        rows.append((f"`{name}`", recipe.source, recipe.shows, where))
    return rows


def draw(folder: pathlib.Path, names: Sequence[str]) -> dict[str, str]:
    """Draws figures in the size that takes seconds, as PNG; returns what each of them says."""
    (folder / "figures").mkdir(exist_ok=True)
    recipes = figure_sources.registry()
    names, findings = list(dict.fromkeys(names)), {}
    # Figures of one study share its seeds, which are worth nothing beside the page.
    with tempfile.TemporaryDirectory() as seeds:
        for name in waiting.progress(names, len(names), "figures"):
            figure, _ = figure_sources.drawn(recipes[name], recipes[name].scale("quick"), seeds)
            files.save(figure, folder / "figures" / name, endings=("png",))
            findings[name] = figure.get_supxlabel()
    return findings


def _figures(subject: str, claims: list[Claim]) -> list[str]:
    own = [claim.figure for claim in claims if claim.figure is not None]
    return list(dict.fromkeys([*own, *SHOWN.get(subject, ())]))


def _cells(claim: Claim, row: Row) -> list[str]:
    caught = "" if row.control_caught else " **not caught**"
    sharp = [row.tightness_min, row.tightness_median]
    return [
        f"`{claim.name}`",
        f"{claim.statement} `{claim.formula}`",
        claim.source,
        STATUS[claim.status],
        f"{row.premises_met} of {row.trials}",
        str(row.violations),
        " / ".join("-" if value != value else f"{value:.3g}" for value in sharp),
        f"{claim.control.statement}: {row.control_share:.0%}{caught}",
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [_line(cells) for cells in (columns, ["---"] * len(columns), *rows)]


def _line(cells: Sequence[str]) -> str:
    # A bar would end the cell, in code as well.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
