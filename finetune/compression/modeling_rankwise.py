"""How transformers reads a folder of linear maps of low rank, in which a copy of this file lies.

AutoModelForCausalLM.from_pretrained(FOLDER, trust_remote_code=True), for encoders AutoModel: the
maps stay in their parts and are computed in them, so that they are smaller in memory too. The parts
are those of `finetune.weights.low_rank`.
"""

KIND = "rankwise_"


class RankwiseConfig:
    """The configuration of the network before its maps were compressed."""

    @staticmethod
    def register_for_auto_class(*_):
        """Asked for by transformers; there is nothing to register."""

    @staticmethod
    def from_pretrained(folder, **options):
        """A configuration of transformers' own class, with `low_rank` and `auto_map` beside."""
        import transformers

        both = options.pop("return_unused_kwargs", False)
        entries, options = transformers.PretrainedConfig.get_config_dict(folder, **options)
        kind = entries.pop("model_type").removeprefix(KIND)
        names = [name.removeprefix(KIND) for name in entries.pop("architectures", None) or ()]
        config = transformers.AutoConfig.for_model(kind, architectures=names, **entries)
        return (config, options) if both else config


class RankwiseModel:
    """The network without a head of its own."""

    auto = "AutoModel"

    @staticmethod
    def register_for_auto_class(*_, **__):
        """Asked for by transformers; there is nothing to register."""

    @classmethod
    def from_pretrained(cls, folder, *_, config, dtype=None, torch_dtype=None, **options):
        """A model of transformers' own class, its maps of low rank in place of whole ones.

        Parameters have the dtype that is asked for, or else the file's.

        Raises:
          ValueError: parameters that the folder does not hold.
        """
        import copy

        import torch
        import transformers
        from safetensors.torch import load_file
        from transformers.utils import cached_file

        where = {n: options[n] for n in ("revision", "token", "cache_dir") if n in options}
        tensors = load_file(cached_file(folder, "model.safetensors", **where))
        plain = copy.deepcopy(config)
        ranks = plain.__dict__.pop("low_rank")
        plain.__dict__.pop("auto_map", None)
        model = getattr(transformers, cls.auto).from_config(plain)
        start = "" if cls.auto == RankwiseForCausalLM.auto else f"{model.base_model_prefix}."
        tensors = {name.removeprefix(start): value for name, value in tensors.items()}
        for path in (name.removeprefix(start) for name in ranks):
            owner, _, leaf = path.rpartition(".")
            owner = model.get_submodule(owner)
            setattr(owner, leaf, _map(getattr(owner, leaf), tensors, path))
        missing, _ = model.load_state_dict(tensors, strict=False)
        model.tie_weights()
        tied = {"lm_head.weight"} if plain.tie_word_embeddings else set()
        if lacking := sorted(set(missing) - tied):
            raise ValueError(f"{folder} has no {lacking[0]}; allowed is a folder that is whole")
        kind = dtype or torch_dtype
        if kind in (None, "auto"):
            kind = next(value.dtype for value in tensors.values() if value.is_floating_point())
        kind = getattr(torch, kind) if isinstance(kind, str) else kind
        for parameter in model.parameters():  # not buffers: frequencies stay float32
            parameter.data = parameter.data.to(kind)
        return model.eval()


class RankwiseForCausalLM(RankwiseModel):
    """The network as a language model."""

    auto = "AutoModelForCausalLM"


def _map(linear, tensors, path):
    """y = ((x a^T) b^T) + c, or y = (x[order[:r]] + x[order[r:]] rest^T) columns^T + c."""
    from torch import nn
    from torch.nn.functional import linear as apply

    parts = {n.removeprefix(f"{path}."): v for n, v in tensors.items() if n.startswith(f"{path}.")}
    kind = "low_rank" if "low_rank.a" in parts else "pivot"

    class LowRank(nn.Module):
        def __init__(self):
            super().__init__()
            held = nn.Module()
            for name, value in parts.items():
                if name.startswith(f"{kind}."):
                    name = name.removeprefix(f"{kind}.")
                    if value.is_floating_point():
                        held.register_parameter(name, nn.Parameter(value.clone()))
                    else:
                        held.register_buffer(name, value.clone())
            self.add_module(kind, held)
            self.bias = linear.bias

        def forward(self, x):
            if kind == "low_rank":
                return apply(apply(x, self.low_rank.a), self.low_rank.b, self.bias)
            order, rest = self.pivot.order.long(), self.pivot.rest
            chosen, others = x[..., order[: len(rest)]], x[..., order[len(rest) :]]
            return apply(chosen + apply(others, rest), self.pivot.columns, self.bias)

    return LowRank()
