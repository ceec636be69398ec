"""What is learnt and with which network: the part of the flags that training and scoring share."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from absl import flags

from finetune import models, tasks
from finetune.models.mlp import MLPConfig
from finetune.models.registry import ARCHITECTURES
from finetune.tasks import class_names, holding
from finetune.tasks.glue import GLUE
from finetune.tasks.registry import FORMS, TABLE
from finetune.training import adapter_files, network, sharding
from finetune.training.devices import ONE_DEVICE, Devices
from finetune.training.network import HEADS
from finetune.weights.files import read_json
from launch.shell import help_page
from launch.shell.path_flags import define_path
from launch.training import classes as run_classes

TEXT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
RANDOM = "the base network is random, not pretrained"


@dataclasses.dataclass(frozen=True)
class ProblemConfig:
    """One field per flag of `define_flags`."""

    task: str
    data_dir: str | None
    classes: str
    max_length: int
    window: int
    texts: list[str]
    label: str
    regression: bool
    heldout: float
    train_rows: int | None
    form: str
    target_length: int | None
    samples: int
    temperature: float
    run_generated_code: bool
    model: str | None
    revision: str | None
    pooling: str | None
    dtype: str
    hidden_size: int
    model_seed: int
    head: str

    def task_config(
        self, test: bool = False, classes: tuple[str, ...] | None = None
    ) -> tasks.TaskConfig:
        """What is learnt; options for text only where the task is text."""
        text = {"max_length": self.max_length, "window": self.window}
        text = text if tasks.needs_tokenizer(self.task) else {}
        if self.task in GLUE:
            text["test"] = test
        if text and tasks.for_language(self.task, self.form):
            text["kind"] = kind(self)
        written = ("form", "target_length", "samples", "temperature", "run_generated_code")
        text |= {name: getattr(self, name) for name in written}
        given = {n: getattr(self, n) for n in ("data_dir", "classes", "label", "regression")}
        if self.task == TABLE:
            given["label_names"] = classes
        return tasks.TaskConfig(
            self.task, texts=tuple(self.texts), heldout=self.heldout, **given, **text
        )

    def base(self) -> str:
        """The model's name, with the default for the kind of task."""
        return self.model or (TEXT_MODEL if tasks.needs_tokenizer(self.task) else "mlp")

    def note(self, task: tasks.Task) -> str:
        """What has to be said beside a score."""
        return "; ".join(filter(None, (task.note, RANDOM if self.base() == "mlp" else "")))


class Problem(NamedTuple):
    """A task and a network for it.

    Attributes:
      base: fingerprint of the network's parameters.
    """

    task: tasks.Task | tasks.LanguageTask
    network: network.Network
    base: str


def define_flags() -> None:
    """The flags of `ProblemConfig`, in its order."""
    with help_page.group("task and data"):
        _of_task()
    with help_page.group("model"):
        _of_model()


def _of_task() -> None:
    flags.DEFINE_enum("task", "digits", tasks.names(), "what is learnt")
    define_path("data_dir", None, "folder (table: or file) with the data; else the Hub")
    flags.DEFINE_enum("classes", "all", ("all", "first", "second"), "half of an image task")
    flags.DEFINE_integer("max_length", 128, "tokens per text", lower_bound=8)
    flags.DEFINE_integer("window", 16, "batches of text sorted by length together", lower_bound=1)
    flags.DEFINE_list("texts", [], "of the task table: one or two columns of text")
    flags.DEFINE_string("label", "label", "of the task table: the column of labels")
    flags.DEFINE_bool("regression", False, "of the task table: labels are numbers")
    flags.DEFINE_float("heldout", 0.0, "of the task table: share of the rows to score on")
    flags.DEFINE_enum("form", "classes", FORMS, "of GLUE: one output per class, or words")
    flags.DEFINE_integer("target_length", None, "gsm8k, humaneval: tokens written", lower_bound=8)
    flags.DEFINE_integer("samples", 1, "humaneval: completions per problem", lower_bound=1)
    flags.DEFINE_float("temperature", 0.0, "humaneval: of samples; 0 is greedy", lower_bound=0)
    flags.DEFINE_bool(
        "run_generated_code", False, "humaneval: run what the model writes, in a sandbox"
    )
    flags.DEFINE_integer("train_rows", None, "as few, drawn by --model_seed", lower_bound=1)


def _of_model() -> None:
    define_path("model", None, "'mlp' (random), a model folder, or a name on the Hub")
    flags.DEFINE_string("revision", None, "branch, tag or commit on the Hub")
    flags.DEFINE_enum("pooling", None, ("cls", "mean"), "what the head sees")
    flags.DEFINE_enum("dtype", "float32", ("float32", "bfloat16"), "of the activations")
    flags.DEFINE_integer("hidden_size", 512, "of --model=mlp", lower_bound=1)
    flags.DEFINE_integer("model_seed", 0, "of new weights: the mlp, a new head", lower_bound=0)
    flags.DEFINE_enum("head", "train", HEADS, "trained: as read or new; or left: as read or random")


def load(
    config: ProblemConfig,
    devices: Devices = ONE_DEVICE,
    test: bool = False,
    remat: bool = False,
    classes: tuple[str, ...] | None = None,
) -> Problem:
    """Reads data and weights; the weights go to the devices leaf by leaf.

    Args:
      test: also the unlabelled test split of a GLUE task.
      remat: gradient checkpointing, see `finetune.training.network.from_module`.
      classes: their names by number, of a network that is trained already; () of one that numbers
        them as the data do. None takes those of the model's config.json, if the data have these.

    Raises:
      ValueError: data with other classes than `classes`, and what the readers refuse.
    """
    task = tasks.load(config.task_config(test, classes), tokenizer(config))
    if config.train_rows is not None and "train" in task.splits:
        task = holding.few(task, config.train_rows, config.model_seed)
    if classes is None:
        task = run_classes.begun(task, classes_of_model(config), config.base())
    else:
        task = run_classes.fixed(task, classes)
    net = _network(config, task, devices, remat)
    return Problem(task, net, network.digest(net.params))


def classes_of_model(config: ProblemConfig) -> tuple[str, ...] | None:
    """The classes of the head that is read from the base model, where its config.json names any."""
    if config.base() == "mlp" or config.head in network.DRAWN_HEADS:
        return None
    return class_names.of_config(_raw(config))


def pooling(config: ProblemConfig) -> str:
    """What the head of a model of text sees: "cls" or "mean"."""
    of_model = None if config.base() == "mlp" else _raw(config).get("pooling")
    return config.pooling or of_model or "cls"


def shape(base: str, revision: str | None = None) -> network.Network:
    """The network with shapes in place of arrays: what modules it has, before weights are read."""
    if base == "mlp":
        sizes: models.Config = MLPConfig(num_labels=2, input_size=1)
    else:
        sizes = models.read_config(models.resolve(base, revision=revision), labels=2)
    return network.from_module(models.abstract(sizes))


def adapter_of(run: pathlib.Path, config: ProblemConfig, base: Problem) -> adapter_files.Adapter:
    """The adapter that a run of `launch.train` left.

    Raises:
      ValueError: no adapter there, or that of another base model.
    """
    found = adapter_files.load(run / "adapter.safetensors")
    if found.about["base"] != base.base:
        raise ValueError(f"{config.base()} is another base model than the one of {run}")
    return found


def kind(config: ProblemConfig) -> str:
    """What kind of language model the base is, as its config.json tells.

    Raises:
      ValueError: it is none.
    """
    if config.base() == "mlp":
        raise ValueError(f"--model=mlp is no language model, which --task={config.task} needs")
    architecture = ARCHITECTURES.get(_raw(config).get("model_type"))
    found = getattr(architecture, "kind", "encoder")
    if found == "encoder":
        raise ValueError(f"--model={config.base()} is no language model, as T5 and Llama are")
    return found


def tokenizer(config: ProblemConfig) -> tasks.Tokenizer | None:
    """The base model's tokenizer, where the task is text.

    Raises:
      ValueError: one with an id that the model does not know.
    """
    if not tasks.needs_tokenizer(config.task):
        return None
    # By its name: of a model on the Hub the weights' download has no tokenizer.
    found = tasks.load_tokenizer(config.base(), config.revision)
    rows = _raw(config).get("vocab_size", found.size)
    if found.size > rows:
        raise ValueError(
            f"tokenizer of --model={config.base()} has ids up to {found.size - 1}; allowed are 0 "
            f"to {rows - 1}, as the model's vocab_size is {rows}: take the tokenizer that the "
            "model was trained with, or give its embedding a row for each id"
        )
    return found


def _raw(config: ProblemConfig) -> dict:
    """The base model's config.json."""
    return read_json(models.resolve(config.base(), revision=config.revision) / "config.json")


def _network(
    config: ProblemConfig, task: tasks.Task, devices: Devices, remat: bool
) -> network.Network:
    key, dtype = jax.random.key(config.model_seed), jnp.dtype(config.dtype)
    if config.base() == "mlp":
        sizes = MLPConfig(
            num_labels=task.num_labels, input_size=_pixels(task), hidden_size=config.hidden_size
        )
        model = models.initialise(sizes, key, dtype)
    else:
        sizes, model = models.load(
            config.base(),
            labels=task.num_labels,
            key=key,
            dtype=dtype,
            sharding=devices.of_parameter,
            pooling=config.pooling,
            revision=config.revision,
            fresh_head=config.head in network.DRAWN_HEADS,
        )
        _require_fit(config, task, sizes)
        _require_tables(config, task, sizes)
    net = network.from_module(model, config.head, jax.random.fold_in(key, 1), remat)
    if config.base() == "mlp":
        net = dataclasses.replace(net, drawn=tuple(net.params))
    # Also what was drawn and not read.
    return sharding.network(devices, net)


def _pixels(task: tasks.Task) -> int:
    """Numbers in one image."""
    return task.batch("train", 0, 0, 1)["pixels"].size


def _require_fit(config: ProblemConfig, task: tasks.Task, sizes: models.Config) -> None:
    """Refuses a pretrained model for other inputs, before anything is written."""
    takes = getattr(sizes, "input_size", None)  # of networks for images
    given = None if tasks.needs_tokenizer(config.task) else _pixels(task)
    if takes != given:
        raise ValueError(
            f"--model={config.model} takes {takes or 'no'} numbers of an image; "
            f"--task={config.task} gives {given or 'none'}"
        )


def _require_tables(config: ProblemConfig, task: tasks.Task, sizes: models.Config) -> None:
    """Refuses texts, in any split, that reach beyond the model's tables of positions and segments.

    A look-up would silently repeat the last row.
    """
    most, kinds = (getattr(sizes, name, None) for name in ("positions", "type_vocab_size"))
    if most is None:
        return
    for name, split in task.splits.items():
        last = int(split.inputs["token_type_ids"].values.max())
        if kinds is not None and last >= kinds:
            raise ValueError(
                f"--texts has {last + 1} columns; allowed with --model={config.base()} is "
                f"{kinds}, its type_vocab_size"
            )
        lengths = split.inputs["input_ids"].lengths
        row = int(np.argmax(lengths))
        # What the batch of the longest text is padded to.
        padded = next(length for length in task.lengths if length >= lengths[row])
        if padded > most:
            raise ValueError(
                f"row {split.index[row]} of split {name!r} has {lengths[row]} tokens, padded to "
                f"{padded}; allowed are {most}, the positions of --model={config.base()}: "
                f"use --max_length={most}"
            )
