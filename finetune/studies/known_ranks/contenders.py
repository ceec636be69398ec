"""Who takes part: methods at one budget, variants of AdaPaD, and oracles that know the ranks."""

from __future__ import annotations

from typing import Any, NamedTuple

from finetune.methods import MethodConfig

# The size of the first factors and the scale as in recipes/methods/adapad.flags.
_ADAPAD = {"scale": 8.0, "std": 0.03}


class Contender(NamedTuple):
    """One of them.

    Attributes:
      method: its name.
      options: of the method, beside rank and budget.
      shares: "budget" where the method deals components out by itself, "rank" where every module
        has as many, "most" where only the largest rank is given.
      given: whether it starts with the teacher's ranks.
      steps: in units of those of the others.
      about: what it is there for.
      own_rates: every component has a schedule of its own, see `training.with_own_rates`.
    """

    method: str
    options: dict[str, Any]
    shares: str
    given: bool
    steps: float
    about: str
    own_rates: bool = False

    def config(self, budget: int, modules: int, most: int) -> MethodConfig:
        """Its settings; `most` is the largest rank of a module.

        Raises:
          ValueError: a budget that the same rank in every module does not spend.
        """
        if budget % modules:
            raise ValueError(
                f"ranks of {modules} modules add up to {budget}; allowed are multiples of "
                f"{modules}, as contenders with the same rank everywhere have as many"
            )
        own = {
            "budget": {"budget": budget, "rank": most},
            "rank": {"rank": budget // modules},
            "most": {"rank": most},
        }
        return MethodConfig(self.method, **self.options, **own[self.shares])


def _adapad(about: str, given: bool = False, shares: str = "budget", **options) -> Contender:
    return Contender("adapad", {**_ADAPAD, **options}, shares, given, 1.0, about)


JOINT = {"phase": "joint", "score": "decrease", "private_every": 1}
"""What all variants share that say nothing else."""

CONTENDERS = {
    "oracle": Contender("lora", {}, "most", True, 1.0, "LoRA that is given the ranks"),
    "lora": Contender("lora", {}, "rank", False, 1.0, "the same rank in every module"),
    "adapad": _adapad(
        "joint, grown by the decrease of the loss, with private components in every second step",
        **JOINT | {"private_every": 2},
    ),
    "adapad_every_1": _adapad("private components train in every step", **JOINT),
    "adapad_effective": _adapad("another score", **JOINT | {"score": "effective"}),
    "adapad_parallel": _adapad("a loss per level", phase="parallel", score="decrease"),
    "adapad_former": _adapad("both, as until now", phase="parallel", score="effective"),
    "adalora": Contender("adalora", {}, "budget", False, 1.0, "prunes"),
    "increlora": Contender("increlora", {}, "budget", False, 1.0, "grows"),
    "sora": Contender("sora", {}, "most", False, 1.0, "prunes, to no budget"),
    "sora_weak": Contender(
        "sora", {"sparsity": 1e-3}, "most", False, 1.0, "the weight of its other published example"
    ),
    "sequential": Contender("sequential", _ADAPAD, "rank", False, 1.0, "one level after the other"),
    "lora_long": Contender("lora", {}, "rank", False, 2.0, "LoRA with twice the steps"),
    "lora_equal": Contender("lora", {}, "rank", False, 1.3, "LoRA with adapad's passes"),
    "lora_equal_1": Contender("lora", {}, "rank", False, 1.6, "LoRA with adapad_every_1's passes"),
    "adapad_given": _adapad("adapad_every_1 with the ranks", True, **JOINT),
    "adapad_parallel_given": _adapad(
        "adapad_parallel with the ranks", True, phase="parallel", score="decrease"
    ),
    "adapad_stop": _adapad("no budget, stops by itself", shares="most", significance=0.05, **JOINT),
    "adapad_early": _adapad("growth ends at 8% of the run", every=5, **JOINT),
    "adapad_sooner": _adapad("growth ends at 30% of the run", every=20, **JOINT),
    "adapad_later": _adapad("growth ends at 90% of the run", every=60, **JOINT),
    "adapad_start": _adapad("new components ten times as large", **JOINT | {"std": 0.3}),
    "adapad_split": _adapad("levels in turn", phase="split", score="decrease"),
    "adapad_no_private": _adapad(
        "no private component", advance=False, **JOINT | {"score": "effective"}
    ),
    "adapad_reserve": _adapad("size of the private component", **JOINT | {"score": "reserve"}),
    "adapad_unit": _adapad("scale 1", **JOINT | {"scale": 1.0}),
    **{
        f"adapad_every_{often}": _adapad(
            f"private components train in every step number {often}",
            **JOINT | {"private_every": often},
        )
        for often in (3, 4, 8)
    },
    "adapad_own_rates": _adapad("a schedule per component, from its first step", **JOINT)._replace(
        own_rates=True
    ),
}
