"""What is said of an adapter's ranks."""

import numpy as np
import pytest

from finetune.algebra.spectra import Spectrum
from launch.adapting import report


@pytest.mark.parametrize(("values", "true"), [([3, 1e-3], 2), ([0.2, 0.1, 8e-9], 2), ([], 0)])
def test_rounding_is_no_component(values, true):
    one = np.eye(3)[: len(values)]
    assert report._true(Spectrum(one.T, one, one, np.array(values), one)) == true
