"""Runs a training in a child per line of input, so that a test can kill it without new imports.

Input: a folder. Output: the child's process id, and when it has ended, how.
"""

import os
import pathlib
import sys
import warnings

from finetune.methods import MethodConfig
from finetune.training import adapter_files, metrics
from finetune.training.checkpoints import Checkpoints
from tests.finetune.training import small


def train(folder):
    run = small.Run(MethodConfig("adapad", rank=2, every=20, grow=1), steps=96)
    saved = Checkpoints(folder / "checkpoints", {"test": 1})
    restored = saved.restore(run.first)
    options = {} if restored is None else {"state": restored.state, "extra": restored.extra}
    done = 0 if restored is None else int(restored.state.step)
    lines = metrics.JsonLines(folder / "metrics.jsonl", upto=done)
    outcome = run.fit(checkpoints=saved, report=lines.write, **options)
    adapter = adapter_files.exported(run.method, outcome.state, run.kernels, {})
    adapter_files.save(folder / "adapter.safetensors", adapter)


def main():
    # The children start JAX themselves; here it is only imported.
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                train(pathlib.Path(line.strip()))
            except BaseException as error:
                print(f"child: {error!r}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
