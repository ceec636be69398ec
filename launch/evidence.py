"""The evidence table as one page of Markdown with its figures, for people who will cite it."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from launch import app, figure_sources
from launch.outputs import write_text
from linear_theory import Claim, Row, figures

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
    "cascade": ("sequential_allocation", "sequential_noise"),
    "self_correction": ("parallel_errors", "parallel_warm_up"),
    "generalization": ("noise_floor", "best_rank"),
    "alignment": ("alignment_over_time",),
    "subtracted_start": ("starts_over_time",),
    "toys": ("toy_paths",),
    "deep_linear": ("survey_factors",),
    "dropout": ("survey_dropout",),
}
"""Figures by subject, beside those that claims name themselves."""


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
        name: _figures(name, [claim for claim, _ in found]) for name, found in subjects.items()
    }
    draw(folder, [figure for names in shown.values() for figure in names])
    parts = [HEAD, summary(claims, rows, command)]
    for subject, found in subjects.items():
        parts.append(f"\n## {subject.replace('_', ' ').capitalize()}\n\n")
        parts += [f"![{name}](figures/{name}.png)\n\n" for name in shown[subject]]
        parts += [_line(COLUMNS), _line(["---"] * len(COLUMNS))]
        parts += [_line(_cells(claim, row)) for claim, row in found]
    path = folder / PAGE
    write_text(path, "".join(parts))
    return path


def summary(claims: Sequence[Claim], rows: Sequence[Row], command: str) -> str:
    """What all rows together say."""
    counts = {name: sum(claim.status == name for claim in claims) for name in STATUS}
    kinds = ", ".join(
        f"{count} {STATUS[name].removeprefix('holds ')}" for name, count in counts.items() if count
    )
    failed = [row.claim for row in rows if not row.holds]
    return (
        f"Made by `{command}`. {len(rows)} claims: {kinds}. "
        f"{sum(row.violations for row in rows)} violations, "
        f"{sum(row.control_caught for row in rows)} controls caught.\n"
        + (f"\n**Failed:** {', '.join(failed)}.\n" if failed else "")
    )


def draw(folder: pathlib.Path, names: Sequence[str]) -> None:
    """Draws figures in the size that takes seconds, as PNG."""
    (folder / "figures").mkdir(exist_ok=True)
    recipes = figure_sources.registry()
    names = list(dict.fromkeys(names))
    for name in app.progress(names, len(names), "figures"):
        scale = figure_sources.sized(recipes[name], "quick", None, None)
        figure, _ = figure_sources.drawn(recipes[name], scale, folder)
        figures.save(figure, folder / "figures" / name, endings=("png",))


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


def _line(cells: Sequence[str]) -> str:
    # A bar would end the cell, in code as well.
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"
