"""Hold every theorem against random instances and print the bound beside the observation.

python -m launch.check                                              all claims
python -m launch.check --claims='^cascade' --trials=1000 --json=evidence.json
python -m launch.check --report=evidence                            a page with figures
python -m launch.check --list                                       what there is to check

Exit status 0: every claim held and every control, its neighbour that must fail, was caught.
1: some claim was violated or had no instance that meets its premises, or a control was not caught.
2: the command line was wrong.
"""

from __future__ import annotations

import contextlib

from launch.evidence.checking import CheckConfig, check_claims, select
from launch.shell import app, earlier
from launch.shell.locks import one_writer
from launch.shell.tables import table

LISTED = ("name", "kind", "status", "source", "statement")


def main(config: CheckConfig) -> int:
    """Checks the claims, or lists them; returns the exit status."""
    claims = select(config.claims)
    if config.list:
        print(table(LISTED, [[getattr(claim, name) for name in LISTED] for claim in claims]))
        return 0
    with contextlib.ExitStack() as locks:
        places = {config.workdir: "--workdir", config.report: "--report"}
        for folder, flag in places.items():  # one that is both is locked once
            locks.enter_context(one_writer(folder, flag))
        earlier.require_own(config.workdir, config)
        return check_claims(config, claims)


if __name__ == "__main__":
    app.run(main, CheckConfig)
