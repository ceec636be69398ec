"""What transformers makes of our class names, and of a network that it has no class for."""

import numpy as np

from finetune.models.bert import BertConfig
from finetune.peft import export, export_merged, merged
from finetune.tasks import class_names
from finetune.weights import saving
from tests.finetune.models.tiny import BERT, batch, random_model, run
from tests.finetune.peft import made, torch_side

pytestmark = torch_side.QUIET
NAMES = ("sad", "even", "glad")


def test_transformers_gets_the_names_of_an_adapter(theirs, tmp_path):
    torch, transformers, peft = theirs
    model, changes, heads = made.model("bert"), made.adapters("bert"), made.heads("bert")
    saving.save(tmp_path / "base", model)
    about = {"base": str(tmp_path / "base"), "classes": NAMES, "entries": {"pad_token_id": 0}}
    export(tmp_path / "x", changes, heads, model.config, **about)
    assert class_names.of_folder(tmp_path / "x") == NAMES
    config = transformers.AutoConfig.from_pretrained(tmp_path / "x")
    assert config.id2label == dict(enumerate(NAMES)) and config.num_labels == 3
    auto = transformers.AutoModelForSequenceClassification
    plain = auto.from_pretrained(tmp_path / "base", config=config)
    read = peft.PeftModel.from_pretrained(plain, tmp_path / "x").eval()
    expected = run(merged(model, changes, heads), batch()).logits
    assert np.abs(torch_side.logits(torch, read, batch()) - expected).max() < torch_side.LOGITS
    assert read.config.label2id == {name: number for number, name in enumerate(NAMES)}


def test_a_backbone_and_its_head(theirs, tmp_path):
    torch, transformers, _ = theirs
    config = BertConfig(num_labels=3, pooling="mean", **BERT)
    model, inputs = random_model(config), batch()
    heads = {n: leaf for n, leaf in made.heads("bert").items() if n.startswith("classifier")}
    changes = made.adapters("bert")
    export_merged(tmp_path / "x", model, changes, heads, base="b", classes=NAMES)
    backbone = transformers.AutoModel.from_pretrained(tmp_path / "x").eval()
    assert backbone.config.id2label == dict(enumerate(NAMES))
    card = (tmp_path / "x" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path / "x"))
    # The card's own lines.
    names = {}
    exec(code, names)
    with torch.no_grad():
        fed = {name: torch.tensor(leaf).long() for name, leaf in inputs.items()}
        pooled = names["mean"](fed).numpy()
    head = {name: leaf.numpy() for name, leaf in names["head"].items()}
    got = pooled @ head["classifier.weight"].T + head["classifier.bias"]
    expected = run(merged(model, changes, heads), inputs).logits
    assert np.abs(got - expected).max() < torch_side.LOGITS
