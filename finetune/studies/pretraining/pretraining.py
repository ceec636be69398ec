"""A small Llama from scratch on bytes: what low-rank optimisers cost and save.

Every run starts from the same weights and sees the same batches. The methods act on the kernels of
attention and feed-forward maps; embeddings, norms and the map to the vocabulary are trained by Adam
in all of them. The control, LoRA, trains factors on kernels that stay random.

Measured over training are the loss on held-out windows and, on the same windows, the rank of the
gradient dL/dW of every kernel; and the bytes that the optimiser, the gradients and the method's own
arrays take.

Source: arXiv 2403.03507 (GaLore), 2307.05695 (ReLoRA), 2410.17881 (AdaRankGrad), whose Llamas have
60 million parameters and more and read C4.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

from finetune.adapters.method import Run
from finetune.methods import MethodConfig
from finetune.methods.registry import METHODS
from finetune.models import initialise
from finetune.models.llama import LlamaConfig
from finetune.optimiser import OptimiserConfig, by_rate, rate
from finetune.studies.pretraining import corpus
from finetune.studies.pretraining.probe import Snapshot, make_probe, token_loss
from finetune.studies.snapshots import snapshots
from finetune.training import network, state
from finetune.training.step import StepConfig, train_step
from rankwise import checks

WARM = "+warm"
COMPARED = ("full", "galore", "adarankgrad", "relora", "lora")
# GaLore's update is scaled by .25 and its authors' rate is .01; ReLoRA's is twice that of full
# training. LoRA, the control, does better at full training's.
RATES = (("galore", 1e-2), ("adarankgrad", 1e-2), ("relora", 6e-3))
PARTS = ("optimiser", "gradients", "own")


@dataclasses.dataclass(frozen=True)
class PretrainingSetting:
    """One comparison.

    Attributes:
      runs: what is compared: names of `COMPARED`, with "+warm" for a run whose first `warm` of all
        steps train everything.
      text: a file or folder, see `corpus.load`; None for Python's help texts.
      size: bytes of text at most.
      layers, width, heads: of the Llama; its feed-forward maps have 8/3 of the width.
      length: bytes of a window. batch_size: windows of a step.
      steps: of every run. snapshots: measurements over them, at equal distances.
      rank: of all methods (of AdaRankGrad the largest).
      gap: steps between refreshes of bases; adapters of ReLoRA are restarted every `restart`.
      warm: see `runs`.
      rate: of Adam on all weights, and on what is no kernel in every run.
      rates: name -> of its kernels' optimiser, where it is another one.
      initializer_range: standard deviation of the first weights.
      seed: of weights, batches and methods.

    Raises:
      ValueError: an entry outside its range.
    """

    runs: tuple[str, ...] = ("full", "galore", "adarankgrad", "relora+warm", "lora")
    text: str | None = None
    size: int = 1_000_000
    layers: int = 2
    width: int = 64
    heads: int = 4
    length: int = 64
    batch_size: int = 16
    steps: int = 120
    snapshots: int = 8
    rank: int = 16
    gap: int = 20
    restart: int = 30
    warm: float = 0.25
    rate: float = 3e-3
    rates: tuple[tuple[str, float], ...] = RATES
    initializer_range: float = 0.05
    seed: int = 0

    def __post_init__(self):
        for run in self.runs:
            checks.choice("runs", run.removesuffix(WARM), COMPARED)
        for name in ("layers", "width", "heads", "length", "batch_size", "rank", "gap", "restart"):
            checks.integer(name, getattr(self, name), 1)
        checks.integer("snapshots", self.snapshots, 1)
        checks.integer("steps", self.steps, self.snapshots)
        checks.positive("rate", self.rate)
        if not 0 < self.warm < 1:
            raise ValueError(f"warm is {self.warm}; allowed are numbers in (0, 1)")

    @property
    def sizes(self) -> LlamaConfig:
        """The network."""
        return LlamaConfig(
            num_labels=0,
            vocab_size=corpus.VOCABULARY,
            hidden_size=self.width,
            intermediate_size=-(-8 * self.width // 24) * 8,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            initializer_range=self.initializer_range,
        )

    def method(self, name: str) -> MethodConfig:
        """The method of a run, without its warm start."""
        bases = {"rank": self.rank, "gap": self.gap}
        adapters = {"rank": self.rank, "alpha": float(self.rank)}
        options = {
            "galore": bases,
            "adarankgrad": bases,
            "lora": adapters,
            "relora": {**adapters, "restart_every": self.restart, "store": "sum"},
        }
        return MethodConfig(name, **options.get(name, {}))


def pretraining(
    setting: PretrainingSetting, tick: Callable[[str], None] = lambda run: None
) -> dict[str, np.ndarray]:
    """Loss, memory and rank of the gradients of every run.

    Args:
      tick: called after every run.

    Returns:
      For R runs and S + 1 snapshots: runs (R,), steps (S + 1,), loss, stable_rank, effective_rank
      (R, S + 1), rank (R, S + 1), the mean rank in use by a method (NaN for full training), bytes
      (R, 3, 2) as `PARTS` by (kernels, all else), seconds (R,), largest_rank (the mean smaller side
      of the kernels), parameters (2,) of kernels and all else, heldout_bytes, train_bytes, and the
      string text.

    Raises:
      FileNotFoundError, ValueError: see `corpus.load`.

    Example:
      >>> tiny = PretrainingSetting(runs=("full",), layers=1, width=8, heads=1, length=8, steps=2,
      ...                           snapshots=1, size=2000)
      >>> pretraining(tiny)["loss"].shape
      (1, 2)
    """
    text = corpus.load(setting.text, setting.size)
    net = network.from_module(initialise(setting.sizes, jax.random.key(setting.seed)))
    paths = net.adapted()
    probe = make_probe(net, paths, text.probe(4 * setting.batch_size, setting.length))
    rows, programs = [], {}
    for run in setting.runs:
        started = time.perf_counter()
        one = _run(setting, run, net, text, probe, programs)
        rows.append(one | {"seconds": time.perf_counter() - started})
        tick(run)
    kernels = sum(net.params[f"{path}.weight"].size for path in paths)
    total = sum(leaf.size for leaf in net.params.values())
    sides = [min(net.params[f"{path}.weight"].shape) for path in paths]
    return {
        **{name: np.asarray([one[name] for one in rows]) for name in rows[0]},
        "runs": np.asarray(setting.runs),
        "steps": np.asarray(_stops(setting)),
        "largest_rank": np.asarray(np.mean(sides)),
        "parameters": np.asarray([kernels, total - kernels]),
        "heldout_bytes": np.asarray(len(text.heldout)),
        "train_bytes": np.asarray(len(text.train)),
        "text": np.asarray(text.name),
    }


def _stops(setting: PretrainingSetting) -> list[int]:
    return np.linspace(0, setting.steps, setting.snapshots + 1).astype(int).tolist()


def _run(setting, run: str, net: network.Network, text: corpus.Corpus, probe, programs) -> dict:
    name, stops = run.removesuffix(WARM), _stops(setting)
    switch = int(setting.warm * setting.steps) if run.endswith(WARM) else 0
    # A warm start is the beginning of the run that trains everything.
    first = _Phase(setting, "full" if switch else name, net, 0, programs)

    def train(phase, step):
        if switch and step == switch:
            warmed = dataclasses.replace(net, params=phase.params())
            phase = _Phase(setting, name, warmed, switch, programs)
        return phase, phase.advance(
            text.batch(setting.seed, step, setting.batch_size, setting.length)
        )

    shots, ranks = [probe(net.params)], [first.rank()]
    for phase, _ in snapshots(train, first, range(setting.steps), stops):
        shots.append(probe(phase.params()))
        ranks.append(phase.rank())
    columns = {field: [getattr(shot, field) for shot in shots] for field in Snapshot._fields}
    return columns | {"rank": ranks, "bytes": phase.memory()}


@dataclasses.dataclass(frozen=True)
class _Late(Run):
    """The rest of a run, from step `before` on: its rates go on, its optimisers start anew."""

    before: int = 0

    @property
    def rate(self):
        return lambda step: rate(self.optimiser, step + self.before, self.total + self.before)

    @property
    def tx(self):
        return optax.chain(self.direction, by_rate(self.rate))


class _Phase:
    """A method at work on a network, which it does not change."""

    def __init__(self, setting, name: str, net: network.Network, before: int, programs: dict):
        self.net = net
        self.paths = () if name == "full" else net.adapted()
        self.kernel_names = {f"{path}.weight" for path in net.adapted()}
        options = OptimiserConfig(learning_rate=setting.rate, schedule="cosine", warmup=0.1)
        rates = dict(setting.rates)
        own = dataclasses.replace(options, learning_rate=rates.get(name, setting.rate))
        late = _Late(own, setting.steps - before, before=before)
        self.method = METHODS[name].build(setting.method(name).settings, late)
        head_tx = dataclasses.replace(late, optimiser=options).tx
        adapted = {f"{path}.weight" for path in self.paths}
        rest = {n: leaf for n, leaf in net.params.items() if n not in adapted}
        key = jax.random.fold_in(jax.random.key(setting.seed), 1)
        self.kernels = net.kernels(self.paths)
        self.state = state.start(self.method, self.kernels, rest, head_tx, key)
        if (name, before) not in programs:
            one = train_step(net, self.method, token_loss, head_tx, StepConfig())
            programs[name, before] = jax.jit(one, donate_argnums=0)
        self.step = programs[name, before]

    def advance(self, batch) -> jax.Array:
        """One step; the loss before it."""
        self.state, metrics = self.step(self.state, self.net.params, batch)
        return metrics["loss"]

    def params(self) -> network.Params:
        """The parameters of the network as it is now, with the base's kernels changed."""
        now = {**self.net.params, **self.state.head}
        for path, leaves in self.state.theta.items():
            change = self.method.export(self.kernels[path], leaves, self.state.aux[path])
            now[f"{path}.weight"] = self.kernels[path] + change.delta
        return jax.tree.map(jnp.copy, now)  # the state's buffers are written into

    def rank(self) -> float:
        """The mean rank that the method works in; of a chain that of all its links together."""
        ranks = self.method.ranks(self.state.theta, self.state.aux)
        sides = {path: min(kernel.shape) for path, kernel in self.kernels.items()}
        used = [min(int(rank), sides[path]) for path, rank in ranks.items()]
        return float(np.mean(used)) if used else np.nan

    def memory(self) -> np.ndarray:
        """Bytes (3, 2), see `pretraining`."""
        now = self.state
        of_rest = _split(now.head_opt, self.kernel_names)
        head = _split(now.head, self.kernel_names)
        theta, aux, opt = (sum(_split(tree, ())) for tree in (now.theta, now.aux, now.opt))
        # Backward passes give a gradient for everything that is trained, and nothing else.
        own = theta + aux if self.paths else head[0]
        return np.asarray(
            [[opt + of_rest[0], of_rest[1]], [theta + head[0], head[1]], [own, head[1]]]
        )


def _split(tree, names) -> tuple[int, int]:
    """Bytes of the leaves below a key in `names`, and of the others."""
    sizes = [0, 0]
    for place, leaf in jax.tree_util.tree_leaves_with_path(tree):
        inside = any(getattr(entry, "key", None) in names for entry in place)
        sizes[0 if inside else 1] += leaf.nbytes
    return sizes[0], sizes[1]
