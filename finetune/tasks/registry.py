"""Tasks by name, and the one record of options that a launcher fills from its flags."""

from __future__ import annotations

import dataclasses
from typing import Any

from finetune.tasks import glue, gsm8k, humaneval, images, tables, text, text_to_text
from finetune.tasks.language import LanguageTask
from finetune.tasks.own_text import examples, instructions, plain_text
from finetune.tasks.squad import extractive
from finetune.tasks.squad import task as squad
from finetune.tasks.squad.spans import SpanTask
from finetune.tasks.task import Task
from finetune.tasks.tokens.tokenizer import Tokenizer, load_tokenizer
from rankwise import checks

TABLE = "table"
# What a language model writes an answer to, and an encoder marks it in the text.
SQUAD = ("squad", "squad_v2")
SPANS = ("stride", "n_best", "null_threshold")
# Tasks that only a language model can do, or can do too.
WRITTEN = ("gsm8k", "humaneval", *SQUAD)
OWN_TEXT = ("instructions", "text")
INSTRUCTIONS = (
    *("prompt_column", "completion_column", "messages_column"),
    *("chat", "loss_on_prompt", "cut_long"),
)
FORMS = ("classes", "text_to_text")


@dataclasses.dataclass(frozen=True)
class TaskConfig:
    """What is to be loaded; plain values, so that it can be written as JSON beside the results.

    Attributes:
      name: one of `names()`.
      data_dir: folder (table: or file) with the data; None for the Hub, and for digits.
      max_length: tokens per row (text).
      lengths: what batches of text are padded to, see `text.buckets`.
      window: batches of text sorted by length together, see `batches.shuffled`.
      test: read GLUE's unlabelled test splits too.
      classes: "all", "first" or "second" half (images).
      texts: one or two column names (table), or one (text).
      label: column name (table); None of rows to predict, see `tables.load`, and of questions to be
        answered (squad of encoders).
      regression: the label is a number (table).
      label_names: the classes by number, where a network has them already (table).
      heldout: share of the training rows held out for evaluation (table, instructions, text).
      prompt_column, completion_column, messages_column, chat: see
        `finetune.tasks.own_text.examples.Columns`; None for its defaults (instructions).
      loss_on_prompt, cut_long: see `finetune.tasks.own_text.instructions.load`.
      form: "classes", or "text_to_text" for a language model (GLUE).
      kind: of the model, "encoder", "causal" or "encoder_decoder".
      likelihood: see `gsm8k.load`.
      target_length: tokens of an answer (gsm8k, humaneval, squad); None for the task's own default.
      stride, n_best: see `finetune.tasks.squad.extractive.load` (squad of encoders).
      null_threshold: see `finetune.tasks.squad.spans.SpanTask` (squad_v2 of encoders).
      samples, temperature, top_p, seed: of what is written (humaneval).
      run_generated_code: run it (humaneval).
    """

    name: str
    data_dir: str | None = None
    max_length: int = 128
    lengths: tuple[int, ...] = text.LENGTHS
    window: int = 1
    test: bool = False
    classes: str = "all"
    texts: tuple[str, ...] = ()
    label: str | None = "label"
    regression: bool = False
    label_names: tuple[str, ...] | None = None
    heldout: float = 0.0
    prompt_column: str | None = None
    completion_column: str | None = None
    messages_column: str | None = None
    chat: bool = False
    loss_on_prompt: bool = False
    cut_long: bool = False
    form: str = "classes"
    kind: str = "encoder"
    likelihood: bool = False
    target_length: int | None = None
    stride: int | None = None
    n_best: int | None = None
    null_threshold: float = 0.0
    samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    run_generated_code: bool = False

    def __post_init__(self):
        # Lists, when the configuration comes back from JSON.
        object.__setattr__(self, "lengths", tuple(self.lengths))
        object.__setattr__(self, "texts", tuple(self.texts))


def names() -> tuple[str, ...]:
    """All task names: digits, MNIST and CIFAR, GLUE's eight, WRITTEN, "table", and OWN_TEXT."""
    return (*images.NAMES, *glue.GLUE, *WRITTEN, TABLE, *OWN_TEXT)


def needs_tokenizer(name: str) -> bool:
    """True for tasks of text, which are encoded with the model's tokenizer.

    Raises:
      ValueError: an unknown task.
    """
    checks.choice("task", name, names())
    return name not in images.NAMES


def for_language(name: str, form: str = "classes") -> bool:
    """True for a `LanguageTask`, whose model has logits over the vocabulary; SQuAD's may be one."""
    return name in (*WRITTEN, *OWN_TEXT) or form == "text_to_text"


def of_spans(name: str, kind: str) -> bool:
    """True for a `SpanTask`, whose model has two logits per token."""
    return name in SQUAD and kind == "encoder"


def load(config: TaskConfig | str, tokenizer: Any = None) -> Task | LanguageTask | SpanTask:
    """The task that a configuration, or a name with all defaults, describes.

    Args:
      config: a TaskConfig or a name.
      tokenizer: for tasks of text, what `load_tokenizer` takes: a folder, a name on the Hub.

    Raises:
      FileNotFoundError, ConnectionError: the data are not there.
      ValueError: an unknown task, an option that belongs to tasks of another kind, no tokenizer
        for a task of text, or data that do not fit the task.

    Example:
      >>> load("digits").num_labels
      10
    """
    config = TaskConfig(config) if isinstance(config, str) else config
    name = config.name
    checks.choice("task", name, names())
    checks.choice("form", config.form, FORMS)
    _only_its_own(config)
    if not needs_tokenizer(name):
        return images.load(name, config.data_dir, config.classes)
    if tokenizer is None:
        raise ValueError(f"tokenizer is None; allowed for task {name!r} is that of the model")
    padding = {
        "max_length": config.max_length,
        "lengths": config.lengths,
        "window": config.window,
    }
    tokenizer = load_tokenizer(tokenizer)
    if name in (TABLE, *OWN_TEXT) and config.data_dir is None:
        raise ValueError(f"data_dir is None; allowed for task {name!r} is a file or a folder")
    if of_spans(name, config.kind):
        return _of_spans(config, tokenizer, padding)
    if for_language(name, config.form):
        return _of_language(config, tokenizer, padding)
    if name != TABLE:
        return glue.load(name, tokenizer, config.data_dir, test=config.test, **padding)
    return tables.load(
        config.data_dir,
        tokenizer,
        config.texts,
        config.label,
        config.regression,
        config.heldout,
        label_names=config.label_names,
        **padding,
    )


def _of_language(config: TaskConfig, tokenizer: Tokenizer, padding: dict) -> LanguageTask:
    if config.name in OWN_TEXT:
        return _of_own_text(config, tokenizer, padding)
    given = (tokenizer, config.kind, config.data_dir)
    if config.name not in WRITTEN:
        return text_to_text.load(config.name, *given, test=config.test, **padding)
    if config.target_length is not None:
        padding["target_length"] = config.target_length
    if config.name == "gsm8k":
        return gsm8k.load(*given, **padding, likelihood=config.likelihood)
    if config.name in SQUAD:
        return squad.load(config.name, *given, **padding)
    del padding["window"]  # the rows are never shuffled
    drawn = {name: getattr(config, name) for name in ("samples", "temperature", "top_p", "seed")}
    return humaneval.load(*given, run=config.run_generated_code, **padding, **drawn)


def _of_spans(config: TaskConfig, tokenizer: Tokenizer, padding: dict) -> SpanTask:
    given = {"n_best": config.n_best, "longest": config.target_length}
    return extractive.load(
        config.name,
        tokenizer,
        config.data_dir,
        stride=config.stride,
        threshold=config.null_threshold,
        answers=config.label is not None,
        **{name: value for name, value in given.items() if value is not None},
        **padding,
    )


def _of_own_text(config: TaskConfig, tokenizer: Tokenizer, padding: dict) -> LanguageTask:
    given = (config.data_dir, tokenizer, config.kind)
    if config.name == "text":
        if len(config.texts) > 1:
            raise ValueError(f"texts is {config.texts}; allowed for task 'text' is one column")
        del padding["lengths"]  # all blocks have one
        return plain_text.load(*given, *config.texts, heldout=config.heldout, **padding)
    named = {
        "prompt": config.prompt_column,
        "completion": config.completion_column,
        "messages": config.messages_column,
    }
    named = {name: column for name, column in named.items() if column is not None}
    return instructions.load(
        *given,
        examples.Columns(**named, chat=config.chat),
        loss_on_prompt=config.loss_on_prompt,
        cut=config.cut_long,
        heldout=config.heldout,
        **padding,
    )


def _only_its_own(config: TaskConfig) -> None:
    """An option without effect is a mistake that should not look like success."""
    picture = config.name in images.NAMES
    code = config.name == "humaneval"
    spans = of_spans(config.name, config.kind)
    kinds = {
        "data_dir": config.name != "digits",
        "classes": picture,
        **dict.fromkeys(("max_length", "lengths", "window"), not picture),
        "test": config.name in glue.GLUE,
        "label": config.name == TABLE or (spans and config.label is None),
        **dict.fromkeys(("regression", "label_names"), config.name == TABLE),
        "texts": config.name in (TABLE, "text"),
        "heldout": config.name in (TABLE, *OWN_TEXT),
        **dict.fromkeys(INSTRUCTIONS, config.name == "instructions"),
        "form": config.name in glue.GLUE,
        "kind": for_language(config.name, config.form),
        "target_length": config.name in WRITTEN,
        "likelihood": config.name == "gsm8k",
        **dict.fromkeys(("stride", "n_best"), spans),
        "null_threshold": spans and config.name == "squad_v2",
        **dict.fromkeys(("samples", "temperature", "top_p", "seed", "run_generated_code"), code),
    }
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if not kinds.get(field.name, True) and value != field.default:
            kind = f" of kind {config.kind!r}" if config.name in SQUAD else ""
            raise ValueError(
                f"{field.name} is {value!r}; allowed with task {config.name!r}{kind} is "
                f"{field.default!r}"
            )
