"""The flags of `python -m launch.compress`."""

from __future__ import annotations

import dataclasses

from finetune.compression.forms import FORMS
from finetune.compression.maps import ORDERS
from finetune.compression.plans import PLANS
from finetune.compression.rounding import BLOCK, ROUNDINGS
from rankwise.options import option

POWERS = (1.0, 1.5, 2.0)
"""What --power=auto chooses from."""


@dataclasses.dataclass(frozen=True)
class TextFlags:
    """What the network is calibrated and judged on."""

    GROUP = "texts"

    data: tuple[str, ...] = option(
        (),
        "files or folders of texts for calibration, separated by commas and mixed in equal shares: "
        ".jsonl, .csv, .parquet, or .txt; has to be given",
        path=True,
    )
    texts: tuple[str, ...] = option(
        ("text",), "columns of texts; of a causal model those of a row follow each other"
    )
    label: str | None = option(
        None, "encoders with two --texts: column of numbers that say how alike the two are"
    )
    heldout: float = option(
        0.1,
        "share of the rows to judge by, between 0 and 1, of data without validation or test split",
    )
    other: tuple[str, ...] = option(
        (),
        "texts of another kind to judge by as well, with the same --texts or a column text",
        path=True,
    )
    tokens: int = option(16384, "tokens for calibration; a quarter of it to judge by", lower=2)
    max_length: int = option(256, "tokens of a text, or of a block of a causal model", lower=8)
    batch_size: int = option(16, "texts of a forward pass", lower=1)
    seed: int = option(0, "seed of the choice of texts", lower=0)


@dataclasses.dataclass(frozen=True)
class SizeFlags:
    """How small, and by which rule."""

    GROUP = "size and method"

    ratio: float = option(0.9, "share of the numbers in linear maps that is left, between 0 and 1")
    ratios: tuple[str, ...] = option(
        (), "further ratios at which every plan is measured, for the table and the picture"
    )
    plan: str = option(
        "uniform",
        "ranks: the same share everywhere (uniform), one relative error everywhere (threshold), or "
        "the least sum of relative errors (lagrangian)",
        PLANS,
    )
    form: str = option(
        "dense",
        "how maps are stored: multiplied out (dense), as two factors, or as the rows that span the "
        "others (pivot, which has the larger ranks at a ratio)",
        FORMS,
    )
    order: str = option(
        "once",
        "maps are fitted all at once, to inputs that those before have changed (sequential), or to "
        "these inputs and the old outputs (anchored); the last two run the network once per step",
        ORDERS,
    )
    power: str = option(
        "1",
        "metric S^power of the inputs' second moments S, a number from 0 to 4: 1 has the least "
        "output error, 2 keeps strong directions more, 0 ignores the data; or auto, the one of "
        f"{', '.join(map('{:g}'.format, POWERS))} with the best score on half of the held-out text",
    )
    shrink: str = option(
        "auto",
        "what is added to the second moments, in units of their mean: a number, or auto for .1 "
        "of maps with less than 8 tokens per input, .01 of others, and .03 of --order=anchored",
    )
    modules: str | None = option(
        None,
        "regular expression: compress the linear maps whose name contains it; by default all but "
        "those of heads and poolers",
    )


@dataclasses.dataclass(frozen=True)
class RepairFlags:
    """An adapter for a network of rounded weights, instead of a smaller network."""

    GROUP = "repair of rounded weights"

    residual_of: str | None = option(
        None,
        "write an adapter that repairs rounded weights: a folder or GGUF file of --model with "
        f"quantised weights, or {', '.join(ROUNDINGS)} to round --model's own here, in blocks of "
        f"{BLOCK}",
        path=True,
    )
    rank: int | None = option(
        None, "of --residual_of: components per module, has to be given", lower=1
    )


@dataclasses.dataclass(frozen=True)
class CompressConfig(RepairFlags, SizeFlags, TextFlags):
    """Which network, how small, and where it goes."""

    GROUP = "model and output"

    model: str | None = option(
        None, "a model folder, a GGUF file, or a name on the Hub; has to be given", path=True
    )
    revision: str | None = option(
        None, "branch, tag or commit of a model on the Hub; by default its main branch"
    )
    output: str | None = option(
        None, "new folder for the model; by default it is measured and not written", written="new"
    )
    json: str | None = option(None, "file for the table, an object", written="file")
    grams: str | None = option(
        None,
        "file for the second moments X^T X / n of every map's inputs, .safetensors by module, "
        "which launch.adapter takes as --gram",
        written="file",
    )

    def __post_init__(self):
        if not self.model or not (self.data or self.residual_of):
            raise ValueError("--model and --data are needed")
        self._check_repair()
        for name, texts in (("ratio", (self.ratio,)), ("ratios", self.ratios)):
            for text in texts:
                if not 0 < _number(name, text) < 1:
                    raise ValueError(
                        f"--{name} is {text}; allowed are numbers between 0 and 1, the share of "
                        "the numbers in linear maps that is left: 0.9 takes a tenth away"
                    )
        if self.shrink != "auto" and _number("shrink", self.shrink) < 0:
            raise ValueError(f"--shrink is {self.shrink}; allowed are auto and numbers from 0 on")
        if not 0 < self.heldout < 1:
            raise ValueError(f"--heldout is {self.heldout}; allowed are numbers between 0 and 1")
        if self.label is not None and len(self.texts) != 2:
            raise ValueError(f"--label needs two --texts, of which there are {len(self.texts)}")
        if self.grams is not None and not self.grams.endswith(".safetensors"):
            raise ValueError(f"--grams is {self.grams}; the allowed suffix is .safetensors")
        self._check_power()

    def _check_power(self):
        if self.power != "auto" and not 0 <= _number("power", self.power) <= 4:
            raise ValueError(f"--power is {self.power}; allowed are auto and numbers from 0 to 4")
        if self.order == "anchored" and (self.power == "auto" or float(self.power) != 1):
            raise ValueError(f"--power is {self.power} with --order=anchored; allowed is 1 there")
        if self.power == "auto" and (self.order != "once" or self.residual_of):
            other = f"--order={self.order}" if self.order != "once" else "--residual_of"
            raise ValueError(f"--power is auto with {other}; allowed are numbers there")

    def _check_repair(self):
        if (self.rank is None) != (self.residual_of is None):
            raise ValueError("--residual_of and --rank need each other; give both or none")
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        lacking = () if self.data else ("power", "shrink", "label", "other", "grams")
        unread = ("ratio", "ratios", "plan", "form", "order", *lacking) if self.residual_of else ()
        for name in unread:
            if getattr(self, name) != defaults[name]:
                why = "without --data" if name in lacking else "with --residual_of"
                raise ValueError(f"--{name} is not read {why}; leave it out")


def _number(name: str, text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--{name} has {text!r}; allowed are numbers") from None
