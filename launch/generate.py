"""Write with a language model: that of a launch.train run, or any with an adapter of PEFT.

python -m launch.generate --workdir=runs/mine --prompt='The capital of France is'
python -m launch.generate --workdir=runs/mine --prompts=new.jsonl --output=answers.jsonl
python -m launch.generate --model=MODEL --adapter=ADAPTER_FOLDER --chat --prompt='Who are you?' \\
    --temperature=0.7 --top_p=0.9 --seed=1
python -m launch.generate --model=MODEL --prompts=prompts.txt --stop='###' --output=out.jsonl

Prompts are gone on with as they stand; with --chat, as of a run that was trained on chats, they are
what the user says in a chat of the tokenizer's own template. A completion ends with the token that
ends a text or an answer, before a --stop text, or after --max_new_tokens. The file has a line per
completion: the columns of the prompts' file, completion, tokens and finish_reason.
"""

from __future__ import annotations

import json

from finetune.tasks.own_text.completions import SPLIT
from finetune.tasks.predictions import write_lines
from launch.generating import prompts, writer
from launch.generating.config import GenerateConfig
from launch.shell import app, waiting


def main(config: GenerateConfig) -> None:
    """Writes a completion of every prompt."""
    asked = prompts.read(config)
    with waiting.stage("loading the model"):
        task, write = writer.load(config, asked.prompts)
    passes = task.steps(SPLIT, config.batch_size)
    batches = waiting.progress(task.in_order(SPLIT, config.batch_size), passes, "batches")
    completions = task.predict(task.gathered(SPLIT, map(write, batches)))
    lines = [
        {**row, **({"sample": n} if config.samples > 1 else {}), **one}
        for row, samples in zip(asked.rows, completions, strict=True)
        for n, one in enumerate(samples)
    ]
    if config.output is not None:
        print(write_lines(config.output, lines))
        return
    for line in lines:
        # One prompt's answer is for reading; several need to be told apart.
        print(line["completion"] if len(lines) == 1 else json.dumps(line, ensure_ascii=False))


if __name__ == "__main__":
    app.run(main, GenerateConfig)
