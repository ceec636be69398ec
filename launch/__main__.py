"""`rankwise COMMAND` and `python -m launch COMMAND`: all commands under one name.

rankwise check --claims=cascade
rankwise train --task=digits --method=adapad --workdir=runs/digits
"""

from __future__ import annotations

import runpy
import sys

COMMANDS = {
    "check": "hold every theorem against random instances",
    "figures": "draw the figures of the papers",
    "decompose": "take a matrix apart into rank-one components",
    "regress": "fit a reduced-rank regression to a table",
    "train": "fine-tune a network with rank-one components",
    "predict": "predict the rows of a table",
    "generate": "write with a language model that was trained",
    "evaluate": "score, or predict with, what was trained",
    "compare": "train several methods under one protocol",
    "export": "write an adapter or a merged model for others to load",
    "adapter": "inspect, resize, merge and extract adapters",
    "compress": "make a language model or an encoder smaller, without training",
    "benchmark": "time the solvers and a training step beside their peers",
}
ABOUT = "`rankwise COMMAND --help` lists the flags of one."


def main() -> None:
    """Runs the named command with the arguments after its name.

    Raises:
      SystemExit: with the command's status; 2 for an unknown command.
    """
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("--help", "-h", "help"):
        lines = [f"  {command:<10}  {text}" for command, text in COMMANDS.items()]
        # In one piece: a reader such as head may go before the last line.
        print("\n".join(["usage: rankwise COMMAND [--flag=value ...]\n", *lines, "", ABOUT]))
        return
    if name not in COMMANDS:
        print(
            f"rankwise: there is no command {name!r}; allowed are {', '.join(COMMANDS)}",
            file=sys.stderr,
        )
        raise SystemExit(2)
    sys.argv[:2] = [f"rankwise {name}"]
    runpy.run_module(f"launch.{name}", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
