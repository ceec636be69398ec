"""Train every method on every task with every seed, and tabulate scores and costs.

python -m launch.compare --tasks=recipes/minilm/rte.flags,recipes/minilm/mrpc.flags \\
    --methods=lora,dora,recipes/methods/adapad.flags --budget=72 --seeds=0,1,2 \\
    --learning_rates=5e-4,2e-3,8e-3 --workdir=runs/compare --data_dir=data/glue --model=FOLDER

Tasks are files of `launch.train`'s flags, methods such files or names; other flags of that program
hold for every run. With several --learning_rates every method on every task gets the best of them,
found with the first seed on training rows that are held out, or on the reported rows
(--search_on=evaluation, which flatters); --halvings drops the worse half of them early. --budget is
the number of components of all modules together; without it a --preset has its own, and the ranks
that its files of methods say. Each run has a folder in --workdir, as `launch.train` would have
written it. The same command goes on where it was stopped, and repeats nothing.

python -m launch.compare --join=runs/here,runs/there --workdir=runs/both

makes one table of comparisons that ran apart; differences are to the first method of the first.
"""

from __future__ import annotations

from launch.comparing.config import CompareConfig, require_read
from launch.comparing.run import compare
from launch.shell import app
from launch.shell.locks import one_writer
from launch.training.config import TrainConfig


def main(config: CompareConfig) -> None:
    """Runs what is missing; writes compare.json, .csv, .md, and the pictures compare and curves."""
    grid, preset = config.grid(), config.chosen()
    require_read(grid)
    with one_writer(config.workdir):
        compare(config, grid, preset)


if __name__ == "__main__":
    app.run(main, CompareConfig, beside=TrainConfig)
