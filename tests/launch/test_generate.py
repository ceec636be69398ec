"""Text from a run or a model, from prompts to lines."""

import json

import pytest

from finetune.tasks.own_text import completions
from finetune.tasks.tokens.tokenizer import load_tokenizer
from launch.training import problem
from launch.training.problem_config import ProblemConfig
from tests.finetune.tasks.own_text.test_instructions import jsonl
from tests.finetune.tasks.talk import greedy
from tests.launch.commands import command
from tests.launch.test_own_text import ROWS, folder, run  # noqa: F401

LENGTH = "--max_new_tokens=8"


def written(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_goes_on_with_a_file_of_prompts(run, tmp_path):  # noqa: F811
    jsonl(tmp_path / "new.jsonl", [{"id": r["id"], "prompt": r["prompt"]} for r in ROWS[:5]])
    given = [f"--workdir={run}", f"--prompts={tmp_path}/new.jsonl", LENGTH, "--batch_size=2"]
    assert command("generate", *given, f"--output={tmp_path}/out.jsonl") == 0
    rows = written(tmp_path / "out.jsonl")
    assert [row["id"] for row in rows] == [0, 1, 2, 3, 4]
    assert list(rows[0]) == ["id", "prompt", "completion", "tokens", "finish_reason"]
    assert all((row["finish_reason"] == "length") == (row["tokens"] == 8) for row in rows)
    # An exported adapter writes the same, in batches of another size.
    assert command("export", f"--workdir={run}", f"--output={tmp_path}/peft") == 0
    model = json.loads((run / "config.json").read_text())["model"]
    given = [f"--model={model}", f"--adapter={tmp_path}/peft", *given[1:3], "--batch_size=5"]
    assert command("generate", *given, f"--output={tmp_path}/peft.jsonl") == 0
    assert written(tmp_path / "peft.jsonl") == rows


@pytest.mark.thorough  # a run writes above, a stop word below
def test_a_model_writes_the_likeliest_tokens(folder, tmp_path, capsys):  # noqa: F811
    base = folder / "llama"
    assert command("generate", f"--model={base}", "--prompt=Add 3 and 4:", LENGTH) == 0
    shown = capsys.readouterr().out
    tokenizer = load_tokenizer(base)
    task = completions.load(["Add 3 and 4:"], tokenizer, "causal", length=8)
    config = ProblemConfig(task="instructions", model=str(base))
    network = problem.network_for(config, task)
    batch = next(task.in_order("prompts", 1))
    assert batch["input_ids"][0, : len("Add") // 3].tolist() == [0]  # what every text begins with
    expected = greedy(network, batch, 8, tokenizer.vocabulary.end_id)[0]
    assert shown == tokenizer.vocabulary.decode(expected) + "\n"


@pytest.mark.thorough  # tasks/test_generation.py
def test_draws_are_those_of_their_seed(folder, tmp_path):  # noqa: F811
    (tmp_path / "new.txt").write_text("Add 3\n\nSay it\n")
    drawn = ["--temperature=1", "--top_p=0.9", "--samples=2", "--batch_size=2", LENGTH]
    given = [f"--model={folder}/llama", f"--prompts={tmp_path}/new.txt", *drawn]
    rows = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        file = tmp_path / f"{name}.jsonl"
        assert command("generate", *given, f"--seed={seed}", f"--output={file}") == 0
        rows.append(written(file))
    assert rows[0] == rows[1] != rows[2]
    assert [(row["prompt"], row["sample"]) for row in rows[0]] == [
        (prompt, sample) for prompt in ("Add 3", "Say it") for sample in (0, 1)
    ]


def test_a_stop_word_cuts_before_it(folder, capsys):  # noqa: F811
    given = [f"--model={folder}/llama", "--prompt=Say", LENGTH]
    assert command("generate", *given) == 0
    whole = capsys.readouterr().out[:-1]
    word = whole[3:5]
    assert command("generate", *given, f"--stop={word}") == 0
    assert capsys.readouterr().out == whole[: whole.index(word)] + "\n"


def test_chats_are_rendered(folder, tmp_path):  # noqa: F811
    chat = [{"role": "user", "content": "Add 3 and 4:"}]
    jsonl(tmp_path / "chats.jsonl", [{"messages": chat}])
    jsonl(tmp_path / "texts.jsonl", [{"prompt": "Add 3 and 4:"}])
    result = []
    for name, more in (("chats", []), ("texts", ["--chat"]), ("texts", [])):
        given = [f"--model={folder}/llama", f"--prompts={tmp_path}/{name}.jsonl", LENGTH, *more]
        assert command("generate", *given, f"--output={tmp_path}/out.jsonl") == 0
        result.append(written(tmp_path / "out.jsonl")[0]["completion"])
    assert result[0] == result[1] != result[2]


@pytest.mark.thorough  # chats are rendered in the test above
def test_a_run_on_chats_is_asked_in_a_chat(folder, tmp_path, capsys):  # noqa: F811
    rows = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"]},
                {"role": "assistant", "content": row["completion"]},
            ]
        }
        for row in ROWS
    ]
    jsonl(tmp_path / "chats.jsonl", rows)
    flags = [f"--model={folder}/llama", "--task=instructions", f"--data={tmp_path}/chats.jsonl"]
    given = [*flags, "--method=lora", "--steps=1", "--max_length=160", "--heldout=0.2"]
    assert command("train", *given, "--batch_size=4", f"--workdir={tmp_path}/run") == 0
    shown = []
    for more in ([], ["--chat"]):
        capsys.readouterr()
        asked = ["--prompt=Add 3 and 4:", LENGTH, *more]
        assert command("generate", f"--workdir={tmp_path}/run", *asked) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--prompt=a", "--model=x", "--workdir=y"], "one of --workdir and --model is needed"),
        (["--model=x"], "one of --prompt and --prompts is needed"),
        (["--model=x", "--prompt=a", "--samples=2"], "--samples is 2 with --temperature=0"),
        (["--model=x", "--prompt=a", "--output=a.csv"], "the allowed suffix is .jsonl"),
        (["--model=LLAMA", "--prompts=missing.jsonl"], "does not exist"),
        (["--model=LLAMA", "--prompts=ROWS", "--prompt_column=ask"], "column 'ask' is not in"),
        (["--model=LLAMA", "--prompt=a", "--stop=,"], "a stop word is empty"),
        (
            ["--model=LLAMA", "--prompt=a", "--max_new_tokens=99999"],
            "tokens with --max_new_tokens=99999; allowed are",
        ),
        (["--model=mlp", "--prompt=a"], "is no language model"),
    ],
)
def test_mistakes_are_one_line(folder, capsys, flags, word):  # noqa: F811
    places = {"LLAMA": folder / "llama", "ROWS": folder / "rows.jsonl"}
    for name, place in places.items():
        flags = [flag.replace(name, str(place)) for flag in flags]
    assert command("generate", *flags) == 2
    err = capsys.readouterr().err
    assert word in err and err.count("\n") == 1
