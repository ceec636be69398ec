"""A problem that trains in milliseconds: a tiny MLP on made-up classes."""

import functools

import jax
import numpy as np

from finetune import optimiser
from finetune.methods import MethodConfig, make
from finetune.models import initialise
from finetune.models.mlp import MLPConfig
from finetune.tasks import Split, Task
from finetune.training import gradient_pass, network, step
from finetune.training.loop import LoopConfig, fit

FEATURES, CLASSES, ROWS = 6, 3, 40
OPTIMISER = optimiser.OptimiserConfig(learning_rate=0.02, warmup=2)


def collate(inputs, indices):
    return {"pixels": inputs["pixels"][indices]}


@functools.cache
def task(seed=0):
    generator = np.random.default_rng(seed)
    pixels = generator.normal(size=(ROWS, FEATURES)).astype(np.float32)
    labels = (pixels @ generator.normal(size=(FEATURES, CLASSES))).argmax(1).astype(np.int32)
    split = Split({"pixels": pixels}, labels)
    names = tuple(map(str, range(CLASSES)))
    return Task("made", {"train": split, "test": split}, names, ("accuracy",), collate)


@functools.cache
def net(seed=0, head="train"):
    sizes = MLPConfig(num_labels=CLASSES, input_size=FEATURES, hidden_size=5)
    key = jax.random.key(seed)
    return network.from_module(initialise(sizes, key), head, jax.random.fold_in(key, 1))


class Run:
    """A method on the problem; compiled, with the number of its traces."""

    def __init__(self, config, steps=12, options=OPTIMISER, settings=None, method=None, seed=0):
        self.net, self.task, self.steps, self.traces = net(), task(), steps, 0
        if isinstance(config, str):
            config = MethodConfig(config)
        self.method = method or make(config, options, steps)
        self.paths = () if self.method.beside != "head" else self.net.adapted()
        head_tx = self.head_tx = optimiser.optimiser(options, steps)
        self.kernels = self.net.kernels(self.paths)
        head = self.net.trained(True, self.method.beside)
        problem = (self.method, self.net, self.task, self.paths, head, head_tx)
        self.first = gradient_pass.start(*problem, seed).state
        settings = settings or step.StepConfig()
        self.plain = step.train_step(self.net, self.method, self.task.loss, head_tx, settings)
        self.step = jax.jit(self._counted)
        self.predict = jax.jit(step.predict(self.net, self.method))
        self._states = [self.first]

    def _counted(self, *arguments):
        self.traces += 1
        return self.plain(*arguments)

    def batch(self, number, size=8):
        return self.task.batch("train", 0, number, size)

    def states(self, count=None):
        """The states after 0, 1, ... steps, each computed once."""
        count = self.steps if count is None else count
        for number in range(len(self._states) - 1, count):
            last = self._states[-1]
            self._states.append(self.step(last, self.net.params, self.batch(number))[0])
        return self._states[: count + 1]

    def fit(self, **options):
        settings = {"batch_size": 8, "evaluate_every": 4, "checkpoint_every": 4, "log_every": 2}
        settings |= options.pop("settings", {})
        return fit(
            self.step,
            self.predict,
            options.pop("state", self.first),
            self.net.params,
            self.task,
            LoopConfig(self.steps, **settings),
            ranks=lambda now: self.method.ranks(now.theta, now.aux),
            **options,
        )


def same(left, right):
    """Bitwise equality of two trees."""
    left, right = (jax.tree.leaves(tree) for tree in (left, right))
    for x, y in zip(left, right, strict=True):
        if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        if x.dtype != y.dtype or not np.array_equal(np.asarray(x), np.asarray(y)):
            return False
    return True
