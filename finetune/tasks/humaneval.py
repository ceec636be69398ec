"""HumanEval: functions completed by a language model and run against tests (Chen et al., 2021).

arXiv 2107.03374: 164 problems, the prompt as it is (imports, signature, docstring), the completion
cut where the function ends, and pass@k estimated without bias from n samples (equation 1). Running
what a model wrote is asked for explicitly and happens in `finetune.tasks.execution.sandbox` only.
"""

from __future__ import annotations

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from finetune.tasks import prompts, text
from finetune.tasks.execution import sandbox
from finetune.tasks.execution.sandbox import Limits
from finetune.tasks.files import columns, sources
from finetune.tasks.generated_text import GeneratedText
from finetune.tasks.language import LanguageTask
from finetune.tasks.splits import Split
from finetune.tasks.text_to_text import vocabulary_of
from finetune.tasks.tokens.tokenizer import Tokenizer
from rankwise import checks

REPOSITORY = "openai/openai_humaneval"
LENGTH = 512
"""Tokens of a completion at most."""
PASSES = (1, 10, 100)
# What begins a line behind a function's body.
STOPS = ("\nclass ", "\ndef ", "\n@", "\n#", "\nif ", "\nprint", "\n```", "\nassert ")
FLAG = "--run_generated_code"
LIMITS = Limits()


class Problem(NamedTuple):
    """One function to complete; `test` defines `check(candidate)`."""

    task_id: str
    prompt: str
    entry_point: str
    test: str

    def program(self, completion: str) -> str:
        """The whole program, which ends where all assertions held."""
        return f"{self.prompt}{completion}\n{self.test}\ncheck({self.entry_point})\n"


class Completions(NamedTuple):
    """Predictions of n rows: per row its samples, cut, and whether they pass (None: not run)."""

    texts: list[list[str]]
    passed: list[list[bool]] | None


@dataclasses.dataclass(frozen=True, eq=False)
class Passes(GeneratedText):
    """A `Reading` of code; labels are numbers of problems, int (n,).

    Attributes:
      problems: of the benchmark.
      run: run what the model writes.
      limits: of each program.
    """

    problems: tuple[Problem, ...] = ()
    run: bool = False
    limits: Limits = LIMITS

    @property
    def metrics(self) -> tuple[str, ...]:
        """pass@1, and pass@10 and pass@100 where there are as many samples."""
        return tuple(f"pass@{k}" for k in PASSES if k <= self.samples)

    @property
    def refusal(self) -> str:
        """Why nothing can be scored; "" if it can."""
        if not self.run:
            return f"scoring runs code that the model has written; allowed with {FLAG} only"
        return sandbox.refusal()

    def predict(self, answers: np.ndarray) -> Completions:
        """The completions of all rows in order, and their verdicts if they may be run.

        Raises:
          ValueError: other rows than all problems in order.
        """
        checks.integer("rows of completions", len(answers), len(self.problems), len(self.problems))
        texts = [[cut(sample) for sample in row] for row in self.texts(answers)]
        if self.refusal:
            return Completions(texts, None)
        pairs = zip(self.problems, texts, strict=True)
        return Completions(texts, [[self._passes(p, one) for one in row] for p, row in pairs])

    def score(self, predictions: Completions, labels: np.ndarray) -> dict[str, float]:
        """The mean over problems of the estimated pass@k.

        Raises:
          ValueError: the code has not been run.
        """
        del labels
        if predictions.passed is None:
            raise ValueError(self.refusal or "the completions have not been run")
        counts = [(len(row), sum(row)) for row in predictions.passed]
        return {
            f"pass@{k}": float(np.mean([pass_at(k, n, c) for n, c in counts]))
            for k in PASSES
            if k <= self.samples
        }

    def majority(self, labels: np.ndarray) -> dict[str, float]:
        """0: no completion is right for several problems."""
        del labels
        return dict.fromkeys(self.metrics, 0.0)

    def records(self, predictions: Completions, labels: np.ndarray | None) -> list[dict[str, Any]]:
        """task_id and completion, one entry per sample, and passed where it was run."""
        del labels
        rows = []
        for number, (problem, texts) in enumerate(
            zip(self.problems, predictions.texts, strict=True)
        ):
            for sample, completion in enumerate(texts):
                row = {"task_id": problem.task_id, "completion": completion}
                if predictions.passed is not None:
                    row["passed"] = predictions.passed[number][sample]
                rows.append(row)
        return rows

    def _passes(self, problem: Problem, completion: str) -> bool:
        return sandbox.run(problem.program(completion), self.limits).passed


def load(
    tokenizer: Tokenizer,
    kind: str,
    data_dir: str | pathlib.Path | None = None,
    max_length: int = 512,
    target_length: int = LENGTH,
    lengths: Sequence[int] = text.LENGTHS,
    samples: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    run: bool = False,
) -> LanguageTask:
    """The benchmark, with the split test alone.

    Args:
      tokenizer: of the model; its `vocabulary` must be there.
      kind: "causal".
      data_dir: folder with humaneval/test.parquet (or .jsonl), or with the file itself; None for
        the Hub.
      max_length: tokens of a prompt.
      target_length: tokens of a completion at most.
      lengths: what prompts are padded to, see `text.buckets`.
      samples, temperature, top_p, seed: see `GeneratedText`; one sample without a
        temperature is greedy.
      run: run what the model writes; without it completions can be written and not scored.

    Raises:
      FileNotFoundError, ConnectionError: the data are not there.
      ValueError: a model that is not causal, a missing column, a row that is no text, a prompt that
        is longer than max_length.

    Example:
      load(load_tokenizer("models/llama"), "causal", "data", run=True)
    """
    checks.choice("kind of a model for humaneval", kind, ("causal",))
    vocabulary = vocabulary_of(tokenizer)
    table = sources.of_task("humaneval", REPOSITORY, None, ("test",), data_dir)["test"]
    given = zip(*(columns.texts(table, name) for name in Problem._fields), strict=True)
    problems = tuple(Problem(*row) for row in given)
    source = [[*vocabulary.before, *row] for row in vocabulary.plain([p.prompt for p in problems])]
    prompts.require_room("humaneval", source, max_length)
    # The benchmark is not for training: the targets are empty.
    inputs = prompts.paired(source, [[vocabulary.end_id]] * len(source))
    drawn = (target_length, samples, temperature, top_p, seed)
    return LanguageTask(
        name="humaneval",
        splits={"test": Split(inputs, np.arange(len(problems)))},
        kind=kind,
        reading=Passes(vocabulary, *drawn, problems=problems, run=run),
        pad_id=tokenizer.pad_id,
        lengths=text.buckets(max_length, lengths),
        target_lengths=(1,),
    )


def pass_at(k: int, samples: int, correct: int) -> float:
    """1 - C(n - c, k) / C(n, k): the chance that one of k of n samples, c of them right, passes.

    Raises:
      ValueError: k outside 1..n, c outside 0..n.

    Example:
      >>> pass_at(1, 4, 1)
      0.25
    """
    checks.integer("samples", samples, 1)
    checks.integer("k", k, 1, samples)
    checks.integer("correct", correct, 0, samples)
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def cut(completion: str) -> str:
    """A completion without what follows the function: the first line that begins outside of it.

    Example:
      >>> cut("    return x\\n\\ndef g():\\n    pass")
      '    return x\\n'
    """
    ends = [completion.find(stop) for stop in STOPS]
    return completion[: min((end for end in ends if end >= 0), default=len(completion))]
