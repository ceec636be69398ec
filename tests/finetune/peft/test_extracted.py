"""An adapter that was taken out of a tuned model makes PEFT's model of the base that one."""

from finetune.peft import standalone
from tests.finetune.models.tiny import BERT
from tests.finetune.peft.torch_side import QUIET
from tests.launch.commands import command


@QUIET
def test_a_classifier_from_its_bare_base(theirs, tmp_path):
    torch, transformers, peft = theirs
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**BERT)).save_pretrained(tmp_path / "base")
    with_head = transformers.BertForSequenceClassification.from_pretrained
    tuned = with_head(tmp_path / "base", num_labels=3).eval()
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if name.endswith(("query.weight", "pooler.dense.weight")):
                weight += torch.randn(len(weight), 2) @ torch.randn(2, weight.shape[1])
            elif name.endswith(("query.bias", "value.bias", "1.output.LayerNorm.weight")):
                weight += torch.randn(len(weight))
    tuned.save_pretrained(tmp_path / "tuned")
    flags = [f"--{name}={tmp_path}/{name}" for name in ("base", "output")]
    flags += [f"--model={tmp_path}/tuned", "--rank=exact", "--outside=save"]
    assert command("adapter", "extract", *flags) == 0
    plain = with_head(tmp_path / "base", num_labels=3)
    adapted = peft.PeftModel.from_pretrained(plain, tmp_path / "output").eval()
    ids = torch.arange(18).reshape(2, 9)
    with torch.no_grad():
        difference = adapted(input_ids=ids).logits - tuned(input_ids=ids).logits
    assert difference.abs().max() < 1e-5
    own = standalone.read(tmp_path / "output")  # and is one that is read here
    assert len(own.modules) == 3 and "bert.encoder.layer.1.attention.self.query.bias" in own.heads
