"""A comparison: its runs, then the table, the picture and the files."""

from __future__ import annotations

import pathlib

from launch.comparing import presets, standings
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
    legend = comparison.LEGEND.format(reference=rows[0][1])
    folder = pathlib.Path(config.workdir)
    write_json(folder / "compare.json", records)
    write_text(folder / "compare.csv", comparison.comma_separated(rows))
    lines = standings.standings(rows)
    about = standings.LEGEND.format(reference=rows[0][1])
    text = comparison.markdown(rows) + f"\n{legend}\n"
    if lines:
        text += "\n" + comparison.markdown(lines, standings.HEADER) + f"\n{about}\n"
    text += preset.markdown(rows)
    write_text(folder / "compare.md", text)
    # Matplotlib takes as long to import as all else, and is needed by this line alone.
    from launch.comparing import picture
    from rankwise.plots.files import save

    save(picture.scores(records, rows), folder / "compare")
    save(picture.curves(records), folder / "curves")
    print(table(comparison.HEADER, rows))
    print(legend)
    if lines:
        print("\n" + table(standings.HEADER, lines) + "\n" + about)
    print(preset.text(rows))
    drawn = sorted({name for record in records for name in record.get("drawn", ())})
    if drawn:
        print(training.DRAWN.format(", ".join(drawn)))
