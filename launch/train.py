"""Fine-tune a network with rank-one components, trained together, in turn or in parallel.

python -m launch.train --task=digits --method=adapad --workdir=runs/digits
python -m launch.train --task=sst2 --data_dir=data/glue/sst2 --model=MODEL_FOLDER --method=lora

A language model, on GLUE's labels in words, or on school mathematics:

python -m launch.train --task=mrpc --form=text_to_text --data_dir=data/glue --model=T5_FOLDER \\
    --method=lora --rank=8 --epochs=1 --schedule=cosine --warmup=0.03
python -m launch.train --task=gsm8k --data_dir=data --model=LLAMA_FOLDER --method=lora \\
    --max_length=512 --target_length=512 --batch_size=32 --accumulate=32 --eval_batch_size=16

An encoder that marks the answers to questions in their paragraphs, in windows of 384 tokens:

python -m launch.train --task=squad_v2 --data_dir=data --model=BERT_FOLDER --method=lora \\
    --max_length=384 --workdir=runs/squad

A language model on your own text, a prompt and a completion a line, or chats; then it can be asked:

python -m launch.train --task=instructions --data=mine.jsonl --heldout=0.1 --model=LLAMA_FOLDER \\
    --method=lora --max_length=512 --workdir=runs/mine
python -m launch.generate --workdir=runs/mine --prompt='What is rank one?'

A network pretrained on half of the classes, as a model folder, and adapted to the others:

python -m launch.train --task=mnist --classes=first --method=full --workdir=runs/base
python -m launch.export --workdir=runs/base --format=merged --output=models/base
python -m launch.train --task=mnist --classes=second --model=models/base \\
    --method=sequential --path=1,3,5 --head=freeze --modules=fc

The same command with the same --workdir goes on where an earlier run stopped, or was killed, and
ends with bitwise the same adapter; on another --mesh, with the same one to rounding. With a larger
--steps or --epochs it is prolonged; --overwrite starts anew.
"""

from __future__ import annotations

from launch.shell import app, distributed, earlier, supervise, waiting
from launch.shell.locks import one_writer
from launch.training import job as training
from launch.training import problem, run
from launch.training.config import FORMER, TrainConfig


def main(config: TrainConfig) -> int | None:
    """Trains, prints the scores and writes the files."""
    going_on(config)  # here for the supervised too: before processes are started
    if supervise.parent(config.distributed):
        saved = None if config.workdir is None else training.folder(config.workdir)
        return supervise.run("launch.train", config.distributed, saved)
    distributed.join(config.distributed)
    with one_writer(config.workdir if distributed.is_main_process() else None):
        going_on(config)
        with waiting.stage("loading data and model"):
            job = training.prepare(config)
        if distributed.is_main_process():
            run.print_start(config, job, mean=problem.pooling(config) == "mean")
        record = run.train(config, job)
    if distributed.is_main_process():
        run.print_result(record)


def going_on(config: TrainConfig) -> bool:
    """Whether the folder holds a run that this one continues; ValueError for another one."""
    free = (*training.FREE, *training.LENGTH, "mesh")
    former = FORMER.get(config.method)
    return not config.overwrite and earlier.same_run(config.workdir, config, free, former)


if __name__ == "__main__":
    app.run(main, TrainConfig)
