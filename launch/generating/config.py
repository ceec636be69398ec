"""The flags of `python -m launch.generate`."""

from __future__ import annotations

import dataclasses

from rankwise.options import option


@dataclasses.dataclass(frozen=True)
class Decoding:
    """How the text is written."""

    GROUP = "decoding"

    max_new_tokens: int = option(128, "tokens of a completion at most", lower=1)
    temperature: float = option(
        0.0, "temperature that tokens are drawn at; 0 takes the likeliest one (greedy)", lower=0
    )
    top_p: float = option(
        1.0, "draw from the fewest likeliest tokens of this probability together", lower=0, upper=1
    )
    samples: int = option(1, "completions per prompt; several need a temperature", lower=1)
    stop: tuple[str, ...] = option((), "texts before which a completion ends")
    seed: int = option(0, "seed of the draws", lower=0)
    batch_size: int = option(16, "prompts that are gone on with together", lower=1)


@dataclasses.dataclass(frozen=True)
class GenerateConfig(Decoding):
    """Which model writes, what it goes on with, and where that goes."""

    GROUP = "model, prompts and output"

    workdir: str | None = option(None, "folder of a finished run of launch.train", path=True)
    model: str | None = option(
        None,
        "a language model, in place of --workdir: a model folder, or a name on the Hub",
        path=True,
    )
    revision: str | None = option(
        None, "branch, tag or commit of a --model on the Hub; by default its main branch"
    )
    adapter: str | None = option(
        None, "folder of an adapter of --model in the format of PEFT", path=True
    )
    dtype: str = option("float32", "type of the activations, with --model", ("float32", "bfloat16"))
    prompt: str | None = option(None, "the text to go on with")
    prompts: str | None = option(
        None,
        "in place of --prompt a file: .txt with a prompt per line, or .jsonl, .csv or .parquet "
        "with a column of prompts, or of chats, whose other columns are kept",
        path=True,
    )
    prompt_column: str = option("prompt", "name of the column of prompts")
    messages_column: str = option(
        "messages", "name of the column of chats, read where there is no column of prompts"
    )
    chat: bool = option(
        False, "put prompts into the tokenizer's own chat template, as what the user says"
    )
    output: str | None = option(
        None,
        "write a JSON object per completion to this file; by default texts are printed",
        written="file",
    )

    def __post_init__(self):
        if (self.workdir is None) == (self.model is None):
            raise ValueError("exactly one of --workdir and --model is needed")
        if self.workdir is not None and (self.adapter is not None or self.revision is not None):
            raise ValueError("--adapter and --revision belong to --model; --workdir has its own")
        if (self.prompt is None) == (self.prompts is None):
            raise ValueError("exactly one of --prompt and --prompts is needed")
        if self.top_p == 0:
            raise ValueError("--top_p is 0.0; allowed are numbers above 0 up to 1")
        if self.samples > 1 and self.temperature == 0:
            raise ValueError(
                f"--samples is {self.samples} with --temperature=0, which writes them all alike; "
                "allowed with several samples is a temperature above 0"
            )
        if self.output is not None and not self.output.endswith(".jsonl"):
            raise ValueError(f"--output is {self.output!r}; the allowed suffix is .jsonl")
