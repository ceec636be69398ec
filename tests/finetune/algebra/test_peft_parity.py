"""The same sums and cuts by PEFT, which multiplies out and takes full decompositions."""

import numpy as np
import pytest

from finetune.algebra.cutting import cut
from finetune.algebra.merging import merged
from finetune.algebra.ranks import of_rank
from finetune.algebra.spectra import spectrum
from finetune.peft import standalone
from tests.finetune.peft import torch_side
from tests.finetune.peft.conftest import theirs  # noqa: F401  a fixture

pytestmark = torch_side.QUIET
PATHS = ("first", "second")


@pytest.fixture
def pair(theirs, tmp_path):  # noqa: F811
    """A PEFT model of two adapters of ranks 3 and 2, and their folders."""
    torch, _, peft = theirs
    torch.manual_seed(0)

    def network():
        return torch.nn.ModuleDict({path: torch.nn.Linear(12, 10) for path in PATHS})

    settings = {"target_modules": list(PATHS), "init_lora_weights": False}
    model = peft.PeftModel(network(), peft.LoraConfig(r=3, lora_alpha=6, **settings), "a")
    model.add_adapter("b", peft.LoraConfig(r=2, lora_alpha=2, **settings))
    model.save_pretrained(tmp_path)
    return peft, network, model, tmp_path


def changes(model, name):
    layers = model.base_model.model
    return {p: layers[p].get_delta_weight(name).detach().numpy().T for p in PATHS}


@pytest.mark.parametrize("rank", [2, 5])
def test_merge(pair, rank):
    peft, network, model, folder = pair
    model.add_weighted_adapter(["a", "b"], [0.7, 0.3], "m", combination_type="svd", svd_rank=rank)
    both = merged([standalone.read(folder / name) for name in "ab"], [0.7, 0.3])
    spectra = {path: spectrum(factors) for path, factors in both.modules.items()}
    cuts = cut(spectra, of_rank(spectra, rank))
    small = both._replace(modules={path: one.factors for path, one in cuts.items()})
    standalone.write(folder / "new", small)
    again = peft.PeftModel.from_pretrained(network(), folder / "new")
    expected = changes(model, "m")
    for path, got in changes(again, "default").items():
        u, values, vt = np.linalg.svd(both.modules[path].a @ both.modules[path].b)
        best = (u[:, :rank] * values[:rank]) @ vt[:rank]
        size = np.linalg.norm(best)
        assert np.linalg.norm(got - best) < 2e-7 * size  # float32 of the file
        # Theirs is a decomposition in float32, of which vectors turn by rounding over the gap.
        assert np.linalg.norm(got - expected[path]) < 2e-6 * size
        assert again.base_model.model[path].scaling["default"] == 1
