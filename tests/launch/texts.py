"""A table of made sentences and a tiny BERT, as files."""

from finetune.models.bert import BertConfig
from finetune.weights import saving
from tests.finetune.models.tiny import BERT, random_model
from tests.finetune.tasks.made import backend, sentences

ROWS = 12


def made(folder, layers=2):
    """The flags of `launch.train` for the problem that is written into `folder`."""
    sizes = {**BERT, "num_hidden_layers": layers}
    saving.save(folder / "base", random_model(BertConfig(num_labels=2, **sizes)))
    backend().save(str(folder / "base" / "tokenizer.json"))
    rows = zip(sentences(ROWS), range(ROWS), strict=True)
    table = "text,label\n" + "".join(f"{words},{'ab'[i % 2]}\n" for words, i in rows)
    (folder / "data.csv").write_text(table)
    flags = ["--task=table", f"--data_dir={folder}/data.csv", "--texts=text", "--heldout=0.3"]
    return [*flags, f"--model={folder}/base", "--max_length=8"]
