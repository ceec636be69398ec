"""Make a network of text smaller: every linear map gets a rank, chosen on what the map reads.

python -m launch.compress --model=MODEL --data=mine.jsonl --ratio=0.8 --output=SMALLER
python -m launch.compress --model=ENCODER --data=stsb --texts=sentence1,sentence2 --label=label \\
    --ratio=0.6 --output=SMALLER
python -m launch.compress --model=MODEL --data=a.jsonl,b.txt --other=c.txt --ratio=0.9 \\
    --ratios=0.9,0.8,0.6 --power=2 --form=pivot --output=SMALLER
python -m launch.compress --model=MODEL --residual_of=QUANTISED|nf4|int4 --rank=32 \\
    --data=mine.jsonl --output=ADAPTER

For causal language models (perplexity before and after) and encoders (how far the vectors of texts
have turned, and with --label their rank correlation with it). No training, one pass over the data.
--output holds the model, compression.json and a picture, and is what --model takes in train,
evaluate, generate and compress. Who else loads it: a folder of --form=dense loads wherever the
model does, and saves nothing; factors and pivot load here, where they are multiplied out, and in
transformers with trust_remote_code=True, where they are computed in their parts, by the file
modeling_rankwise.py in the folder. Every other program refuses their model_type.

The error of single maps is a proxy: judge by the held-out score, and by one on --other text. Below
a ratio of .8 a small language model needs training afterwards, as launch.train --model=SMALLER.

--residual_of writes an adapter instead, PEFT's, on top of the rounded weights: the best of its rank
for the outputs on --data, or without --data a plain singular value decomposition of what rounding
changed. With nf4 its base is --model in 4 bits as bitsandbytes loads it, without double rounding.
"""

from __future__ import annotations

from launch.compressing.config import CompressConfig
from launch.compressing.repairing import repair
from launch.compressing.run import compress
from launch.shell import app


def main(config: CompressConfig) -> None:
    """Compresses, measures, prints and writes."""
    (repair if config.residual_of else compress)(config)


if __name__ == "__main__":
    app.run(main, CompressConfig)
