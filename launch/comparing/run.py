"""A comparison: its runs, then the table, the picture and the files."""

from __future__ import annotations

import pathlib

from launch.comparing import across, lengths, presets, standings
from launch.comparing import table as comparison
from launch.comparing.cells import Runner
from launch.comparing.config import CompareConfig
from launch.comparing.grid import Grid
from launch.comparing.joining import joined, read
from launch.shell import waiting
from launch.shell.tables import table
from launch.training import job as training
from rankwise.files import write_json, write_text


def compare(config: CompareConfig, grid: Grid, preset: presets.Preset) -> None:
    """Runs the grid in its folder."""
    # All of them first: a mistake in the last file is known before the first run.
    runner, before = Runner(grid.cells(), grid.held_out), [(f, read(f)) for f in config.join]
    joined(before)
    records = list(waiting.progress(runner.records(), runner.total, "runs"))
    records = [record for record in records if not record["search"]]
    records = joined([*before, (config.workdir, records)]) if before else records
    rows = comparison.rows(records)
    folder = pathlib.Path(config.workdir)
    write_json(folder / "compare.json", records)
    write_text(folder / "compare.csv", comparison.comma_separated(rows))
    parts = _parts(rows)
    text = "\n".join(comparison.markdown(*own) + f"\n{legend}\n" for *own, legend in parts)
    notes = "".join(f"\n{line}\n" for line in lengths.notes(records))
    write_text(folder / "compare.md", text + preset.markdown(rows) + notes)
    # Matplotlib takes as long to import as all else, and is needed by this line alone.
    from launch.comparing import picture
    from rankwise.plots.files import save

    save(picture.scores(records, rows), folder / "compare")
    save(picture.curves(records), folder / "curves")
    print("\n\n".join(f"{table(header, lines)}\n{legend}" for lines, header, legend in parts))
    print(preset.text(rows))
    print(notes, end="")
    drawn = sorted({name for record in records for name in record.get("drawn", ())})
    if drawn:
        print(training.DRAWN.format(", ".join(drawn)))


def _parts(rows: list[tuple]) -> list[tuple]:
    """(lines, header, legend) of every table that is shown: of several tasks also side by side."""
    parts = [(rows, comparison.HEADER, comparison.LEGEND)]
    if len({row[0] for row in rows}) > 1:
        parts.append((*across.across(rows), across.LEGEND))
    if lines := standings.standings(rows):
        parts.append((lines, standings.HEADER, standings.LEGEND))
    return [(own, header, legend.format(reference=rows[0][1])) for own, header, legend in parts]
