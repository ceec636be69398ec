"""Look into an adapter, make it smaller, add adapters up, take one out of a tuned model.

python -m launch.adapter inspect --adapter=FOLDER
python -m launch.adapter resize --adapter=FOLDER --rank=8|--energy=0.99|--budget=1e6 --output=NEW
python -m launch.adapter merge --adapters=A,B --weights=0.7,0.3 --rank=16|exact --output=NEW
python -m launch.adapter extract --model=TUNED --base=BASE --rank=32 --output=NEW
python -m launch.adapter resize --adapter=FOLDER --rank=8 --gram=INPUTS.safetensors --output=NEW
python -m launch.adapter merge --adapters=A,B --grams=INPUTS_A,INPUTS_B --rank=16 --output=NEW

In factors and float64, without torch: every prefix of a written file is the best adapter of its
rank (of extract by --rank close to it, with the error measured). Folders are PEFT's, LoRA of any
ranks and scales, of convolutions and with biases too, and AdaLoRA, or files of kohya's scripts
(--component says which network of several); models are folders or GGUF files. What is written is a
plain LoRA of scale one, which PEFT, transformers and the servers that read it load. --gram takes
second moments of inputs, which launch.compress --grams=FILE writes: errors are then those of
outputs, and a merge is nearest to every adapter on its own inputs.
"""

from __future__ import annotations

from launch.adapting.config import AdapterConfig
from launch.shell import app


def main(config: AdapterConfig) -> None:
    """Does what the first argument says."""
    # Not for a --help or a bad flag: flax takes a second.
    from launch.adapting.run import ACTIONS

    ACTIONS[config.action](config)


if __name__ == "__main__":
    app.run(main, AdapterConfig)
