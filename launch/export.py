"""Write the adapter of a finished `launch.train` run for PEFT, or merged into its base.

python -m launch.export --workdir=runs/cola --format=peft|merged --output=adapters/cola
python -m launch.export --workdir=runs/galore --truncate=0.1 --output=adapters/galore
"""

from __future__ import annotations

from launch.exporting.config import ExportConfig
from launch.exporting.formats import write
from launch.shell import app


def main(config: ExportConfig) -> None:
    """Writes the run in the format."""
    write(config)


if __name__ == "__main__":
    app.run(main, ExportConfig)
