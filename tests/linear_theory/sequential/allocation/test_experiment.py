"""The sweep over sizes is the sweep over alpha, problem by problem."""

import numpy as np

from linear_theory.instances.setting import Setting
from linear_theory.sequential.allocation import experiment

TINY = Setting(m=8, d=10, n=25, rank=3, trials=2)
EACH, ALPHAS = 6, (-1.0, 1.0)


def test_the_division_at_several_sizes():
    result = experiment.allocation_sizes(
        TINY, sizes=((8, 10, 25, 3),), alphas=ALPHAS, designs=("column",), each=EACH
    )
    sweep = experiment.alpha_sweep(TINY, alphas=ALPHAS, total=3 * EACH)
    np.testing.assert_allclose(result["reconstruction"][0, 0], sweep["reconstruction"], rtol=1e-9)
