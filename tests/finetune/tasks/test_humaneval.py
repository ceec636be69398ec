"""HumanEval: completions are cut, counted without bias, and run only when that was asked for."""

import itertools

import jax
import numpy as np
import pytest

from finetune.models.parts.ops import PLAIN
from finetune.tasks import humaneval
from finetune.tasks.execution import sandbox
from finetune.tasks.humaneval import Completions, cut, pass_at
from tests.finetune.tasks import made, vocabularies
from tests.finetune.tasks.talk import talker

RIGHT = "    return first + second\n"
WRONG = "    return first - second\n"


def problems(count):
    prompt = 'def add{}(first, second):\n    """ The sum. """\n'
    test = "\n\ndef check(candidate):\n    assert candidate(1, 2) == 3\n"
    return {
        "task_id": [f"made/{i}" for i in range(count)],
        "prompt": [prompt.format(i) for i in range(count)],
        "canonical_solution": [RIGHT] * count,
        "test": [test] * count,
        "entry_point": [f"add{i}" for i in range(count)],
    }


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return vocabularies.llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture
def data(tmp_path):
    made.write_parquet(tmp_path / "humaneval/test.parquet", problems(4))
    return tmp_path


def written(task, rows):
    """What `run` gives for a model that writes these texts: (n, samples, length)."""
    vocabulary = task.reading.vocabulary
    out = np.full((len(rows), len(rows[0]), task.reading.length), task.pad_id, np.int32)
    for (row, sample), _ in np.ndenumerate(np.zeros(out.shape[:2])):
        # Behind a line break, as the model writes it: sentencepiece begins texts with a space.
        before = vocabulary.plain(["x\n"])[0]
        ids = vocabulary.plain(["x\n" + rows[row][sample]])[0][len(before) :]
        out[row, sample, : len(ids) + 1] = [*ids, vocabulary.end_id]
    return out


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (RIGHT, RIGHT),
        (RIGHT + "\ndef other():\n    pass", RIGHT),
        (RIGHT + "\nclass A:\n    pass", RIGHT),
        (RIGHT + "\nprint(add(1, 2))", RIGHT),
        (RIGHT + '\nif __name__ == "__main__":\n    pass', RIGHT),
        (RIGHT + "\n# Tests\n", RIGHT),
        (RIGHT + "```\nThat is it.", RIGHT),
        ("    x = 1\n```\nThat is it.", "    x = 1"),
        # Inside of the function all that may stand.
        (
            "    def inner():\n        pass\n    if first:\n        print(1)\n    # so\n" + RIGHT,
            "    def inner():\n        pass\n    if first:\n        print(1)\n    # so\n" + RIGHT,
        ),
        ("", ""),
    ],
)
def test_where_completions_are_cut(text, kept):
    assert cut(text).rstrip("\n") == kept.rstrip("\n")


@pytest.mark.parametrize(("samples", "correct"), [(1, 0), (1, 1), (5, 0), (5, 2), (5, 5), (6, 1)])
def test_pass_at_k_is_the_mean_over_all_choices_of_k(samples, correct):
    marks = [1] * correct + [0] * (samples - correct)
    for k in range(1, samples + 1):
        choices = list(itertools.combinations(marks, k))
        expected = sum(any(choice) for choice in choices) / len(choices)
        assert pass_at(k, samples, correct) == pytest.approx(expected)
    with pytest.raises(ValueError, match="k is"):
        pass_at(samples + 1, samples, correct)


def test_the_task(data, llama):
    task = humaneval.load(llama, "causal", data)
    assert task.metrics == ("pass@1",) and task.evaluation == "test"
    assert task.majority("test") == {"pass@1": 0.0}
    ids = task.split("test").inputs["source"][np.array([1])].values.tolist()
    assert ids[0] == 1 and ids[-1] != 2
    assert llama.vocabulary.decode(ids).lstrip() == problems(4)["prompt"][1]
    with pytest.raises(ValueError, match="split is 'train'; allowed are 'test'"):
        task.steps("train", 4)
    many = humaneval.load(llama, "causal", data, samples=10, temperature=0.8)
    assert many.metrics == ("pass@1", "pass@10")


def test_nothing_runs_unless_it_is_asked_for(data, llama, monkeypatch):
    def never(*arguments):
        raise AssertionError("run")

    monkeypatch.setattr(sandbox, "run", never)
    task = humaneval.load(llama, "causal", data)
    assert "allowed with --run_generated_code only" in task.refusal
    result = task.predict(written(task, [[RIGHT]] * 4))
    assert result == Completions([[RIGHT]] * 4, None)
    with pytest.raises(ValueError, match="allowed with --run_generated_code only"):
        task.score(result, task.labels("test"))
    assert task.reading.records(result, None)[2] == {"task_id": "made/2", "completion": RIGHT}


def test_right_and_wrong_completions(data, llama):
    if sandbox.refusal():
        pytest.skip(sandbox.refusal())
    task = humaneval.load(llama, "causal", data, run=True)
    endless = RIGHT + "\nimport sys\nsys.exit(0)\n"
    rows = [[RIGHT + "\nprint(add)"], [WRONG], [endless], ["    return ("]]
    result = task.predict(written(task, rows))
    assert result.texts[0] == [RIGHT]
    assert result.passed == [[True], [False], [False], [False]]
    assert task.score(result, task.labels("test")) == {"pass@1": 0.25}
    assert task.reading.records(result, None)[1] == {
        "task_id": "made/1",
        "completion": WRONG,
        "passed": False,
    }


def test_several_samples(data, llama):
    task = humaneval.load(llama, "causal", data, samples=10, temperature=0.8, run=True)
    passed = [[True] * 5 + [False] * 5, [False] * 10, [True] * 10, [True] + [False] * 9]
    scores = task.score(Completions([], passed), task.labels("test"))
    assert scores == pytest.approx({"pass@1": (0.5 + 0 + 1 + 0.1) / 4, "pass@10": 0.75})


def test_a_model_is_asked(data, llama):
    pytest.importorskip("finetune.tasks.generation", reason="text generation is not there")
    task = humaneval.load(llama, "causal", data, target_length=6)
    network = talker("causal", llama.size)
    answer = jax.jit(lambda batch: task.answer(network, network.params, PLAIN, batch))
    result = task.predict(task.run(answer, "test", 3))
    assert len(result.texts) == 4 and result.passed is None


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("encoder_decoder", {}, "kind of a model for humaneval is 'encoder_decoder'; allowed are"),
        ("causal", {"max_length": 8}, "max_length is 8; allowed with the prompts of humaneval are"),
        ("causal", {"samples": 3}, "temperature is 0; allowed for 3 samples are numbers above"),
    ],
)
def test_refused(data, llama, kind, options, message):
    with pytest.raises(ValueError, match=message):
        humaneval.load(llama, kind, data, **options)


@pytest.mark.parametrize("each", [9, pytest.param(1, marks=pytest.mark.thorough)])
def test_the_published_solutions_pass_and_empty_ones_do_not(llama, each):
    if sandbox.refusal():
        pytest.skip(sandbox.refusal())
    root = made.shared()
    task = humaneval.load(llama, "causal", root, max_length=2048, run=True)
    from finetune.tasks.files import sources

    solutions = sources.read(made.shared("humaneval", "test.parquet")).column("canonical_solution")
    reading = task.reading
    assert len(solutions) == 164
    chosen = list(zip(reading.problems, solutions, strict=True))[::each]
    assert all(reading._passes(problem, cut(solution)) for problem, solution in chosen)
    assert not any(reading._passes(problem, "    pass\n") for problem, _ in chosen)
