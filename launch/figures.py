"""Run the experiments behind the figures and draw them.

python -m launch.figures                                      all, in a size that takes seconds
python -m launch.figures --name=best_rank --scale=paper --workdir=runs/paper
python -m launch.figures --name=vision_order --scale=paper --data_dir=data/images
python -m launch.figures --name=known_ranks --setting='{"steps": 1600}'
python -m launch.figures --list                               what there is to draw

The figures vision_* and survey_* train networks, on the images in --data_dir or else on
scikit-learn's digits; of vision_* every finished seed, and of known_ranks every finished method, is
kept in the folder and not run again, but of vision_budgets and vision_bases, which train the paths
of a budget one by one.
survey_factor_rates and survey_deep_lora adapt the BERT in --model where --data_dir has STS-B; it is
the base of known_ranks, in place of a drawn one.
pretraining reads the text files and tables in --data_dir (or that file), else Python's help texts.

Writes for every figure NAME.png, NAME.svg, NAME.npz (the arrays that it shows) and NAME.json (the
setting that they were measured in).
"""

from __future__ import annotations

from launch.evidence.drawing import FiguresConfig, draw_figures, scale_of, select
from launch.shell import app, earlier
from launch.shell.locks import one_writer
from launch.shell.tables import table

LISTED = ("name", "source", "shows")


def main(config: FiguresConfig) -> None:
    """Draws the figures, or lists them."""
    chosen = select(config.name)
    if config.list:
        print(table(LISTED, [[getattr(recipe, name) for name in LISTED] for recipe in chosen]))
        return
    for recipe in chosen:  # what is refused is refused before anything runs
        scale_of(recipe, config)
    with one_writer(config.workdir):
        earlier.require_own(config.workdir, config)
        draw_figures(chosen, config)


if __name__ == "__main__":
    app.run(main, FiguresConfig)
