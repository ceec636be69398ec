"""The flags of `python -m launch.adapter`."""

from __future__ import annotations

import dataclasses

from rankwise.options import option

NEEDS = {
    "inspect": ("adapter",),
    "resize": ("adapter", "output"),
    "merge": ("adapters", "output"),
    "extract": ("model", "base", "output"),
}
SIZES = ("rank", "energy", "budget")
# Flags that only some actions read.
ONLY = {
    "adapter": ("inspect", "resize"),
    "adapters": ("merge",),
    "weights": ("merge",),
    "heads": ("merge",),
    "force": ("merge",),
    "component": ("inspect", "resize", "merge"),
    "model": ("extract",),
    "base": ("extract",),
    "outside": ("extract",),
    "gram": ("resize", "extract"),
    "grams": ("merge",),
    "shrink": ("resize", "merge", "extract"),
    "pad": ("resize", "merge", "extract"),
    "keep_magnitude": ("resize",),
    "output": ("resize", "merge", "extract"),
    **dict.fromkeys(SIZES, ("resize", "merge", "extract")),
}


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """What is done to which adapters, and how small the result is."""

    ARGUMENT = "action"

    action: str | None = option(
        None, "what to do; also the first argument without --action=", tuple(NEEDS)
    )
    adapter: str | None = option(
        None,
        "of inspect and resize: folder of an adapter in PEFT's format, or a .safetensors file in "
        "that of kohya's scripts",
        path=True,
    )
    adapters: tuple[str, ...] = option(
        (), "of merge: folders or files, separated by commas", path=True
    )
    component: str | None = option(
        None, "which network of a file in kohya's format that holds several, as unet or te"
    )
    weights: tuple[str, ...] = option(
        (), "of merge: a factor for each adapter, of any sign; 1 each by default"
    )
    model: str | None = option(
        None, "of extract: folder or GGUF file of the tuned model", path=True
    )
    base: str | None = option(
        None, "of extract: folder or GGUF file of the model it came from", path=True
    )
    rank: str | None = option(
        None,
        "components per module, or exact for all there are; merge keeps all by default, the others "
        "need one of --rank, --energy, --budget",
    )
    energy: float | None = option(
        None,
        "share of the squared Frobenius norm that every module keeps, above 0 and up to 1",
        lower=0,
        upper=1,
    )
    budget: float | None = option(
        None,
        "numbers in all factors together, shared among the modules for the least total error",
        lower=1,
    )
    heads: str = option(
        "refuse",
        "of merge: refuse whole parameters that differ, or take their weighted mean",
        ("refuse", "mean"),
    )
    force: bool = option(False, "of merge: also adapters that name different base models")
    outside: str = option(
        "refuse",
        "of extract: refuse changes outside of linear maps (norms, biases, tables), or save these "
        "parameters whole beside the factors",
        ("refuse", "save"),
    )
    gram: str | None = option(
        None,
        "of resize and extract: file of second moments that launch.compress --grams=FILE wrote; "
        "the error then counts on these inputs; needs --rank",
        path=True,
    )
    grams: tuple[str, ...] = option(
        (),
        "of merge: such a file for each adapter, of its own texts: the result is the one adapter "
        "that is nearest to each on its inputs, --weights says how much each counts; needs --rank",
        path=True,
    )
    shrink: float = option(
        0.01,
        "of --gram and --grams: what is added to the diagonal of the second moments, in units of "
        "its mean",
        lower=0,
    )
    pad: bool = option(
        False, "write --rank components of every module, zeros where there are fewer"
    )
    keep_magnitude: bool = option(
        False,
        "of resize: cut the factors of DoRA too and keep its magnitudes, which is approximate",
    )
    output: str | None = option(None, "new folder for the result", written="new")
    json: str | None = option(None, "file for the table and all singular values", written="file")

    def __post_init__(self):
        if self.action is None:
            raise ValueError(f"the first argument is missing; allowed are {', '.join(NEEDS)}")
        if lacking := [name for name in NEEDS[self.action] if not getattr(self, name)]:
            raise ValueError(f"{self.action} needs {' and '.join(f'--{n}' for n in lacking)}")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for name, actions in ONLY.items():
            if self.action not in actions and getattr(self, name) != defaults[name]:
                raise ValueError(f"--{name} is not read by {self.action}; leave it out")
        self._check_sizes()
        if self.weights and len(self.weights) != len(self.adapters):
            raise ValueError(
                f"--weights has {len(self.weights)} numbers and --adapters {len(self.adapters)} "
                "folders; allowed is one each"
            )
        for text in self.weights:
            try:
                float(text)
            except ValueError:
                raise ValueError(f"--weights has {text!r}; allowed are numbers") from None

        self._check_inputs()

    def _check_inputs(self):
        """What belongs to --gram, --grams and --pad."""
        by_rank = self.rank not in (None, "exact")
        if (self.gram or self.grams) and self.rank is None:
            raise ValueError(f"--gram{'' if self.gram else 's'} needs --rank; allowed is no other")
        if self.grams and len(self.grams) != len(self.adapters):
            raise ValueError(
                f"--grams has {len(self.grams)} files and --adapters {len(self.adapters)}; allowed "
                "is one each"
            )
        if self.grams and any(float(text) <= 0 for text in self.weights):
            raise ValueError(
                f"--weights is {','.join(self.weights)} with --grams; allowed are numbers above 0 "
                "there: how much the inputs of each adapter count"
            )
        if self.pad and not by_rank:
            raise ValueError("--pad needs --rank=NUMBER, the components of every module")

    def _check_sizes(self):
        chosen = [name for name in SIZES if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise ValueError(f"--{chosen[0]} and --{chosen[1]} exclude each other; give one")
        if not chosen and self.action in ("resize", "extract"):
            raise ValueError(f"{self.action} needs one of --rank, --energy and --budget")
        if self.rank not in (None, "exact") and not (self.rank.isdecimal() and int(self.rank) >= 1):
            raise ValueError(f"--rank is {self.rank}; allowed are integers >= 1 and exact")
        if self.energy == 0:
            raise ValueError("--energy is 0; allowed are numbers above 0 and up to 1")
