"""The choice of a learning rate from the scores of a search."""

import pytest

from launch.comparing import cells


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 0.1), ("loss", 0.01)])
def test_the_best_score_is_the_least_loss(metric, best):
    scores = {0.001: 2.0, 0.01: 1.0, 0.1: 3.0, 1.0: None}
    tried = {rate: {"metric": metric, "score": score} for rate, score in scores.items()}
    assert cells.ranked(tried)[0] == best and cells.ranked(tried)[-1] == 1.0
