"""What is learnt and with which network: the flags that training and scoring share.

A flag that is None leaves the choice to the code.
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from typing import Any, TypeVar

from finetune import models, tasks
from finetune.models.parts.heads import NONE
from finetune.models.registry import ARCHITECTURES
from finetune.tasks.glue import GLUE
from finetune.tasks.own_text import examples
from finetune.tasks.registry import FORMS, INSTRUCTIONS, SPANS, SQUAD, TABLE
from finetune.tasks.squad.spans import N_BEST
from finetune.training.network import HEADS
from finetune.weights.files import read_json
from launch.shell import config_flags
from rankwise.options import option

TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
LATER = frozenset([*INSTRUCTIONS, *SPANS, "likelihood", "eval_rows"])
"""Flags that runs of earlier versions lack, and that identify a run only where they are set."""
LACKING = LATER | {"renew_every", "overwrite", "scan"}
"""All that runs of earlier versions may lack; they are without effect by default."""
WHOLE = {"heldout": 0.0, "train_rows": None, "eval_rows": None}
"""Of data that are taken whole."""
RANDOM = "the base network is random, not pretrained"


@dataclasses.dataclass(frozen=True)
class TaskFlags:
    """The task and its data."""

    GROUP = "task and data"

    task: str = option("digits", "name of the task that is learnt", tasks.names())
    data_dir: str | None = option(
        None,
        "folder with the data, of the tasks table, instructions and text also a file; by default "
        "they are downloaded from the Hugging Face Hub",
        path=True,
        alias="data",
    )
    classes: str = option(
        "all", "images: learn all classes, or only one half of them", ("all", "first", "second")
    )
    max_length: int = option(128, "text: tokens that a text is cut to", lower=8)
    window: int = option(
        16, "text: number of batches whose texts are sorted by length together", lower=1
    )
    texts: tuple[str, ...] = option(
        (), "table: names of the one or two columns of text; text: of one, by default text"
    )
    label: str = option("label", "table: name of the column of labels")
    regression: bool = option(False, "table: the labels are numbers, not classes")
    heldout: float = option(
        0.0,
        "table, instructions, text: share of the rows to score on, between 0 and 1, where there is "
        "no such split",
    )
    prompt_column: str | None = option(
        None, f"instructions: name of the column of prompts; by default {examples.PROMPT}"
    )
    completion_column: str | None = option(
        None, f"instructions: name of the column of completions; by default {examples.COMPLETION}"
    )
    messages_column: str | None = option(
        None,
        "instructions: name of a column of chats, lists of messages with role and content, in "
        f"place of prompts and completions; by default {examples.MESSAGES} of a file without the "
        "column of prompts",
    )
    chat: bool = option(
        False, "instructions: put prompts and completions into the tokenizer's own chat template"
    )
    loss_on_prompt: bool = option(
        False, "instructions: learn the tokens of the prompts too, not of the completions alone"
    )
    cut_long: bool = option(
        False, "instructions: cut rows of more tokens than --max_length, and do not leave them out"
    )
    form: str = option(
        "classes", "GLUE: predict a class, or write it in words with a language model", FORMS
    )
    likelihood: bool = option(
        False,
        "gsm8k: score the loss per token of the given answers, not the numbers that are written",
    )
    target_length: int | None = option(
        None, "gsm8k, humaneval, squad: tokens of an answer; by default the task's own", lower=8
    )
    stride: int | None = option(
        None,
        "squad with an encoder: tokens that windows of a long paragraph share with the one before; "
        "by default a third of --max_length, 128 of 384",
        lower=0,
    )
    n_best: int | None = option(
        None,
        f"squad with an encoder: starts and ends of an answer that are tried; by default {N_BEST}",
        lower=1,
    )
    null_threshold: float = option(
        0.0,
        "squad_v2 with an encoder: a span is the answer where the score of saying nothing is "
        "larger than its own by at most this",
    )
    samples: int = option(1, "humaneval: completions written per problem", lower=1)
    temperature: float = option(
        0.0, "humaneval: temperature that completions are sampled at; 0 is greedy", lower=0
    )
    run_generated_code: bool = option(
        False, "humaneval: run the code that the model writes, in a sandbox"
    )
    train_rows: int | None = option(
        None, "train on this many rows, drawn by --model_seed; by default on all", lower=1
    )
    eval_rows: int | None = option(
        None,
        "score on this many rows of the split that training scores, drawn by --model_seed; by "
        "default on all",
        lower=1,
    )

    @functools.cached_property
    def text(self) -> bool:
        """Whether the task is text, so that it needs a tokenizer."""
        return tasks.needs_tokenizer(self.task)

    def task_config(
        self, kind: str | None, test: bool = False, classes: tuple[str, ...] | None = None
    ) -> tasks.TaskConfig:
        """What is learnt; options for text only where the task is text.

        Args:
          kind: of the language model, where it is one that learns.
          test: also the unlabelled test split of a GLUE task.
          classes: of a table, where the network has them already.
        """
        names = ["data_dir", "classes", "label", "regression", "heldout", "form"]
        names += ["likelihood", "target_length", "samples", "temperature", "run_generated_code"]
        names += [*INSTRUCTIONS, *SPANS]
        options = {name: getattr(self, name) for name in names}
        if self.text:
            options |= {"max_length": self.max_length, "window": self.window}
        if self.task in GLUE:
            options["test"] = test
        if kind is not None:
            options["kind"] = kind
        if self.task == TABLE:
            options["label_names"] = classes
        return tasks.TaskConfig(self.task, texts=tuple(self.texts), **options)


@dataclasses.dataclass(frozen=True)
class ModelFlags:
    """The base network."""

    GROUP = "model"

    model: str | None = option(
        None,
        "base model: a model folder, a GGUF file, a name on the Hub, or mlp for a random network; "
        "by default "
        f"{TEXT_MODEL} for text and mlp for images",
        path=True,
    )
    revision: str | None = option(
        None, "branch, tag or commit of a model on the Hub; by default its main branch"
    )
    pooling: str | None = option(
        None,
        "what the head reads: the first token's vector or the mean over tokens; by default as the "
        "model's config.json says, else cls",
        ("cls", "mean"),
    )
    dtype: str = option("float32", "type of the activations", ("float32", "bfloat16"))
    hidden_size: int = option(512, "width of the random network, of --model=mlp", lower=1)
    model_seed: int = option(
        0, "seed of weights that are drawn: of the mlp, of a new head", lower=0
    )
    head: str = option(
        "train",
        "the head: trained from the checkpoint's (train) or from a new one (new), or left as it is "
        "in the checkpoint (freeze) or drawn (frozen_random)",
        HEADS,
    )


@dataclasses.dataclass(frozen=True)
class ProblemConfig(ModelFlags, TaskFlags):
    """A task and a network for it."""

    def base(self) -> str:
        """The model's name, with the default for the kind of task."""
        return self.model or (TEXT_MODEL if self.text else "mlp")

    @functools.cached_property
    def base_config(self) -> dict[str, Any]:
        """The base model's config.json; {} of the random network."""
        if self.base() == "mlp":
            return {}
        return models.read_entries(models.resolve(self.base(), revision=self.revision))

    @functools.cached_property
    def kind(self) -> str:
        """Of the base network: "encoder", "causal" or "encoder_decoder"."""
        return getattr(ARCHITECTURES.get(self.base_config.get("model_type")), "kind", "encoder")

    @functools.cached_property
    def of_spans(self) -> bool:
        """Whether the network marks an answer in a text, as an encoder does for SQuAD."""
        return self.task in SQUAD and self.base() != "mlp" and self.kind == "encoder"

    @property
    def head_pooling(self) -> str | None:
        """What the head reads, "none" for every token; None as the model's config.json says."""
        return NONE if self.of_spans else self.pooling

    def note(self, task: tasks.Task) -> str:
        """What has to be said beside a score."""
        return "; ".join(filter(None, (task.note, RANDOM if self.base() == "mlp" else "")))


Config = TypeVar("Config", bound=ProblemConfig)


def of_run(path: pathlib.Path, config_type: type[Config] = ProblemConfig) -> Config:
    """The configuration in a run's config.json.

    Args:
      config_type: `TrainConfig` for all of it, or the part that is the problem.

    Raises:
      ValueError: that of another version, or of something else.
    """
    record = read_json(path)
    names = {field.name for field in dataclasses.fields(config_type)}
    known = set(record) & names if config_type is ProblemConfig else set(record)
    if not names - LACKING <= known <= names:
        raise ValueError(f"{path} is no configuration of this version of launch.train")
    return config_flags.from_json(config_type, {name: record[name] for name in known})
