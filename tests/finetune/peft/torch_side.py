"""The other side of a comparison with torch; its fixtures are in conftest."""

import pytest

LOGITS = 1e-5

# PEFT 0.21.2 reads a name that transformers 5.23 calls deprecated.
QUIET = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing.:FutureWarning")


def logits(torch, model, inputs):
    fed = {k: torch.tensor(v).long() for k, v in inputs.items()}
    if "distilbert" in model.config.model_type:
        del fed["token_type_ids"]
    with torch.no_grad():
        return model(**fed).logits.numpy()
