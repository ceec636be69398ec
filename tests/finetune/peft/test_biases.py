"""Adapters with biases of the base that were trained beside, as PEFT writes them."""

import json

import numpy as np
import pytest

from finetune.peft import load
from finetune.peft.merging import merged
from tests.finetune.models.tiny import batch, run
from tests.finetune.peft import made, torch_side

pytestmark = torch_side.QUIET


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_what_peft_makes_is_read(bias, theirs, base, tmp_path):
    torch, _, peft = theirs
    torch.manual_seed(0)
    settings = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, target_modules=["query", "output.dense"], bias=bias
    )
    model = peft.get_peft_model(base(made.model("bert")), settings).eval()
    with torch.no_grad():
        for leaf in model.parameters():
            if leaf.requires_grad:
                leaf.add_(0.2 * torch.randn(leaf.shape))
    model.save_pretrained(tmp_path / "x")
    read = load(tmp_path / "x", made.CONFIG["bert"])
    name = "bert.encoder.layer.0.attention.self.{}.bias"
    assert name.format("query") in read.heads
    assert (name.format("key") in read.heads) == (bias == "all")
    got = torch_side.logits(torch, model, batch())
    ours = run(merged(made.model("bert"), read.adapters, read.heads), batch()).logits
    assert np.abs(ours - got).max() < torch_side.LOGITS
    # Without its word for them they are strangers.
    config = json.loads((tmp_path / "x" / "adapter_config.json").read_text())
    (tmp_path / "x" / "adapter_config.json").write_text(json.dumps({**config, "bias": "none"}))
    with pytest.raises(ValueError, match=r"\.bias is in none of modules_to_save"):
        load(tmp_path / "x", made.CONFIG["bert"])
