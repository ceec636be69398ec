"""The sizes of the survey's figures: one that takes seconds, and the published protocol.

What the survey does not publish (lengths of training, depths of the dense networks, patches, the
data's augmentation, which this has none of) is chosen here, and so is everything at the quick size.

Source: arXiv 2503.19859.
"""

from __future__ import annotations

import os

from finetune.studies.pretraining import corpus
from finetune.studies.pretraining.pretraining import PretrainingSetting
from finetune.studies.survey.deep_factors import FactorsSetting
from finetune.studies.survey.dropout_images import ImageDropoutSetting
from finetune.studies.survey.dropout_rank import DropoutSetting
from finetune.studies.survey.image_training import ImageSetting
from finetune.tasks import images

DATA = {
    "dln": "mnist",
    "mlp": "mnist",
    "vgg": "cifar10",
    "vit": "cifar10",
    "resnet": "cifar10",
}
PANELS = ("dln", "mlp", "vgg", "vit")
QUICK = {
    "dln": {"loss": "squared", "learning_rate": 0.05, "batch_size": 64, "epochs": 15},
    "mlp": {"learning_rate": 0.3, "batch_size": 64, "epochs": 15},
    "vgg": {
        "sizes": {"stages": ((8,), (16,)), "classifier_sizes": (64,)},
        **{"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "cosine": True},
        **{"epochs": 6, "snapshots": 10, "batch_size": 64},
    },
    "vit": {
        "sizes": {
            **{"patch_size": 2, "hidden_size": 32, "num_hidden_layers": 4},
            **{"num_attention_heads": 4, "intermediate_size": 64},
            "initializer_range": 0.1,  # 0.02 is right for 768 features, and too small for 32
        },
        **{"optimiser": "adam", "learning_rate": 3e-3, "cosine": True, "epochs": 10},
        **{"batch_size": 64, "snapshots": 10},
    },
    "resnet": {
        "sizes": {"depths": (1, 1), "hidden_sizes": (8, 16)},
        **{"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "cosine": True},
        **{"epochs": 4, "batch_size": 64, "snapshots": 4, "rows": 1024},
    },
}
PAPER = {
    "dln": {"loss": "squared", "learning_rate": 0.01, "epochs": 20},
    "mlp": {"learning_rate": 0.01, "epochs": 20},
    "vgg": {
        "sizes": {"classifier_sizes": (512,)},
        **{"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "cosine": True},
        "epochs": 200,
    },
    "vit": {
        "sizes": {"patch_size": 4},
        **{"optimiser": "adam", "learning_rate": 1e-5, "cosine": True, "epochs": 200},
        "batch_size": 512,
    },
    # Plain SGD, as published for all experiments with dropout.
    "resnet": {"learning_rate": 0.01, "epochs": 200, "batch_size": 768},
}
"""The published rates, batches and schedules; lengths, depth and patches are not given there."""
LONG_PRETRAINING = {
    "runs": ("full", "galore", "adarankgrad", "relora+warm", "relora", "lora"),
    **{"layers": 2, "width": 96, "rank": 24, "size": 20_000_000},
    **{"steps": 500, "snapshots": 10, "gap": 50, "restart": 100},
}
SOME_ROWS = 1024  # of real images at the quick size


def dropout(scale: str, seed: int | None, *folders) -> DropoutSetting:
    """Figures 2 and 9 on the linear teacher."""
    seeds = {} if seed is None else {"seeds": (seed,)}
    if scale == "paper":
        return DropoutSetting(**seeds)
    # The sum over 20 outputs in place of their mean: 20 times the step, 4000 steps are enough.
    return DropoutSetting(batch_size=128, steps=4000, loss="sum", **({"seeds": (0,)} | seeds))


def dropout_images(scale: str, seed: int | None, data_dir, model) -> ImageDropoutSetting:
    """Figures 2 and 9, the ResNet."""
    return ImageDropoutSetting(network("resnet", scale, seed, data_dir))


def factors(scale: str, seed: int | None, *folders) -> FactorsSetting:
    """Figure 3."""
    return FactorsSetting(seed=seed or 0)  # the published size takes a second


def adaptation(scale: str, seed: int | None, data_dir, model) -> FactorsSetting:
    """Figure 4."""
    size, steps = (64, 200) if scale == "quick" else (768, 1000)
    return FactorsSetting(
        size=size,
        rank=4 if scale == "quick" and model is None else 8,
        optimiser="adam",
        learning_rate=1e-3,
        change=True,
        steps=steps + 1,
        snapshots=20,
        model=None if model is None else os.fspath(model),
        made=True,
        seed=seed or 0,
    )


def networks(scale, seed, data_dir, model) -> tuple[ImageSetting, ...]:
    """Figure 1: a setting per panel."""
    return tuple(network(name, scale, seed, data_dir) for name in PANELS)


def pretraining(scale: str, seed: int | None, data_dir, model) -> PretrainingSetting:
    """A small Llama from scratch, on the folder's text where it has some.

    The published sizes are days of a GPU; the larger one here is minutes of a core.
    """
    there = data_dir is not None and corpus.has_text(data_dir)
    text = os.fspath(data_dir) if there else None
    options = {} if scale == "quick" else LONG_PRETRAINING
    return PretrainingSetting(text=text, seed=seed or 0, **options)


def network(name: str, scale: str, seed: int | None, data_dir) -> ImageSetting:
    """One network on the published data set where the folder has it, else on digits."""
    options = dict((QUICK if scale == "quick" else PAPER)[name], network=name, seed=seed or 0)
    if data_dir is not None and images.has(data_dir, DATA[name]):
        options |= {"task": DATA[name], "data_dir": os.fspath(data_dir)}
        if scale == "quick":
            options |= {"rows": SOME_ROWS}
            wide = {"hidden_size": 128} if name in ("dln", "mlp") else {}
            wide = {"patch_size": 8} if name == "vit" else wide
            options["sizes"] = {**options.get("sizes", {}), **wide}
            if name in ("dln", "mlp"):
                options["learning_rate"] = 0.01 if name == "dln" else 0.1
    elif name == "vit":
        options["sizes"] = {**options["sizes"], "patch_size": 2}
    return ImageSetting(**options)
