"""Methods by name, from one record of options that a launcher fills from its flags."""

from __future__ import annotations

import dataclasses

import jax

from deflation import budgets, checks
from finetune.methods.adapad import AdapadConfig, adapad
from finetune.methods.deflation import ParallelConfig, parallel
from finetune.methods.full import full
from finetune.methods.lora import LoraConfig, lora
from finetune.methods.method import Method
from finetune.methods.sequential import SequentialConfig, path_steps, sequential
from finetune.training.optimisers import OptimiserConfig, direction, optimiser, rate

NAMES = ("lora", "rslora", "sequential", "parallel", "adapad", "full")


@dataclasses.dataclass(frozen=True)
class MethodConfig:
    """A method by name with its options; those of other methods must be left at their defaults.

    Attributes:
      name: one of `NAMES`.
      rank: components per module (the largest number for adapad); None is 4, or the length of
        `path`; full has none.
      alpha: of lora and rslora.
      scale: of every component, of the others.
      std: of the first factors; None is the method's own.
      order: of sequential, alpha of `deflation.budgets.alpha_family`: > 0 gives more steps to the
        first components.
      path: of sequential, relative steps of the components, as (1, 3, 5).
      stagger: of parallel.
      advance, way: of parallel and adapad.
      budget, phase, every, grow, score, score_every, beta, cycle: of adapad.
    """

    name: str
    rank: int | None = None
    alpha: float = 16.0
    scale: float = 1.0
    std: float | None = None
    order: float = 0.0
    path: tuple[float, ...] = ()
    stagger: int = 1
    advance: bool = True
    way: str = "in_turn"
    budget: int | None = None
    phase: str = "parallel"
    every: int | None = None
    grow: int | None = None
    score: str = "effective"
    score_every: int = 5
    beta: float = 0.85
    cycle: int = 10

    def __post_init__(self):
        checks.choice("method", self.name, NAMES)
        object.__setattr__(self, "path", tuple(self.path))
        if self.rank is not None:
            checks.integer("rank", self.rank, 1)
        for field in dataclasses.fields(self)[1:]:
            value = getattr(self, field.name)
            if value != field.default and self.name not in OWNERS[field.name]:
                raise ValueError(
                    f"{field.name} is {value!r}; allowed with method {self.name!r} is "
                    f"{field.default!r}"
                )
        if self.path and self.rank not in (None, len(self.path)):
            raise ValueError(
                f"path has {len(self.path)} entries; allowed are {self.rank}, the rank"
            )


_DEFLATION = ("sequential", "parallel", "adapad")
OWNERS = {
    "rank": ("lora", "rslora", *_DEFLATION),
    "alpha": ("lora", "rslora"),
    **dict.fromkeys(("scale", "std"), _DEFLATION),
    **dict.fromkeys(("order", "path"), ("sequential",)),
    "stagger": ("parallel",),
    **dict.fromkeys(("advance", "way"), ("parallel", "adapad")),
    **dict.fromkeys(
        ("budget", "phase", "every", "grow", "score", "score_every", "beta", "cycle"), ("adapad",)
    ),
}
"""Which methods read an option."""


def make(
    config: MethodConfig,
    options: OptimiserConfig,
    total: int,
    *,
    mesh: jax.sharding.Mesh | None = None,
) -> Method:
    """The method that a configuration describes, for a run of `total` steps.

    Args:
      mesh: with an axis "level", deals the levels of parallel and adapad out on it.

    Raises:
      ValueError: an option outside its range, or too few steps.

    Example:
      >>> make(MethodConfig("sequential", path=(1, 3, 5)), OptimiserConfig(), total=90).name
      'sequential'
    """
    total = checks.integer("steps", total, 1)
    if config.name == "full":
        return full()
    rank = config.rank or len(config.path) or 4
    std = {} if config.std is None else {"std": config.std}
    if config.name in ("lora", "rslora"):
        chosen = LoraConfig(rank, config.alpha, stabilised=config.name == "rslora")
        return lora(chosen, optimiser(options, total))
    if config.name == "sequential":
        steps = _steps(config, rank, total)
        return sequential(SequentialConfig(steps, config.scale, **std), options)
    parts = (direction(options), lambda step: rate(options, step, total))
    if mesh is not None and "level" not in mesh.axis_names:
        mesh = None
    common = {"scale": config.scale, "advance": config.advance, "way": config.way, **std}
    if config.name == "parallel":
        if rank * config.stagger > total:
            raise ValueError(
                f"stagger is {config.stagger} with rank {rank}; "
                f"allowed are at most {total} steps until all are published"
            )
        chosen = ParallelConfig(rank, stagger=config.stagger, **common)
        return parallel(chosen, *parts, clip=options.clip, mesh=mesh)
    own = {name: getattr(config, name) for name, users in OWNERS.items() if users == ("adapad",)}
    chosen = AdapadConfig(rank, **common, **own)
    return adapad(chosen, *parts, total, clip=options.clip, mesh=mesh)


def _steps(config: MethodConfig, rank: int, total: int) -> tuple[int, ...]:
    if config.path:
        return path_steps(config.path, total)
    least = min(2, max(total // rank, 1))
    return budgets.alpha_family(rank, total, config.order, minimum=least).steps
