"""Costs by hand, and comparisons on made-up accuracies whose answer is known."""

import numpy as np
import pytest

from finetune.studies.vision import comparisons, cost

SHAPES = [(784, 512), (512, 512), (512, 10)]


def made_up(final, joint=(0.5, 0.8, 1.0)):
    final = np.asarray(final, float)
    return {
        "epochs": np.array([1, 3]),
        "component_3": final,
        "joint": np.tile(joint, (len(final), 1)),
        "stage_flops": np.array([1, 2, 3]),
        "joint_flops": np.array(10),
        "rows": np.array(2),
    }


def by_path(score):
    epochs = np.array([1, 3])
    return score(epochs[:, None, None], epochs[:, None], epochs)[None] + np.zeros((2, 1, 1, 1))


def test_flops_by_hand():
    # Every product with a factor of one component costs 2 (in or out) flops.
    whole, first = 784 + 512 + 512 + 512 + 512 + 10, 784 + 512
    assert cost.stage_flops(SHAPES, 1) == 2 * whole + 2 * (whole - first) + 2 * whole == 14460
    assert cost.stage_flops(SHAPES, 3) == 6 * whole + 6 * (whole - first) + 2 * whole
    assert cost.joint_flops(SHAPES, 3) == 3 * cost.joint_flops(SHAPES, 1) == 3 * 14460
    # The released code's formula, but for the first layer's input.
    assert cost.lora_flops(SHAPES, 2, 1) == (4 * 2 + 2 * 1) * whole - 4 * first


def test_flops_of_paths_and_of_the_joint_run():
    arrays = made_up(np.zeros((1, 2, 2, 2)))
    flops = cost.path_flops(arrays)
    assert flops[0, 0, 0] == 2 * (1 + 2 + 3) and flops[1, 0, 1] == 2 * (3 + 2 + 9)
    assert cost.joint_curve_flops(arrays).tolist() == [20, 40, 60]


def test_the_order_of_a_path():
    later_is_better = made_up(by_path(lambda a, b, c: (a + 2 * b + 3 * c) / 100))
    result = comparisons.orders(later_is_better)
    assert result.paths.tolist() == [[3, 1, 1], [3, 3, 1]]
    assert result.front.shape == (2, 2) and (result.difference < 0).all()
    np.testing.assert_allclose(result.difference, -0.04)
    order_is_nothing = made_up(by_path(lambda a, b, c: (a + b + c) / 100))
    np.testing.assert_allclose(comparisons.orders(order_is_nothing).difference, 0, atol=1e-12)


def test_the_published_choices_make_sixteen_comparisons():
    result = comparisons.orders(
        {"epochs": np.array([1, 3, 5, 10]), "component_3": np.ones((1, 4, 4, 4))}
    )
    assert result.paths.shape == (16, 3) and [10, 3, 1] in result.paths.tolist()


def test_the_length_of_each_stage():
    result = comparisons.stages(made_up(by_path(lambda a, b, c: a + 10 * b + 100.0 * c)))
    assert result.shape == (2, 3, 2)
    np.testing.assert_allclose(result[0, :, 1] - result[0, :, 0], [2, 20, 200])


def test_the_cheapest_within_five_per_cent():
    arrays = made_up(by_path(lambda a, b, c: np.where((b == 3) & (c == 1), 0.96, 0.1) + 0 * a))
    result = comparisons.within(arrays)
    assert result.target == pytest.approx(0.95) and result.path.tolist() == [1, 3, 1]
    assert result.path_flops == 2 * (1 + 6 + 3) and (result.epochs, result.joint_flops) == (3, 60)
    assert comparisons.within(arrays, reference=2).epochs == 2
    never = comparisons.within(made_up(np.zeros((1, 2, 2, 2))))
    assert never.path.tolist() == [0, 0, 0] and never.path_flops == np.inf


def test_against_the_joint_adapter_at_equal_flops():
    result = comparisons.at_equal_flops(made_up(np.full((1, 2, 2, 2), 0.9)))[0]
    # 1-1-1 costs less than one joint epoch, 3-3-3 lies between the first and the second.
    assert np.isnan(result[0, 0, 0])
    np.testing.assert_allclose(result[1, 1, 1], 0.9 - (0.5 + 0.3 * (36 - 20) / 20))


def test_pairs_of_like_flops():
    arrays = made_up(np.full((1, 2, 2, 2), 0.9))
    # 1-3-1 costs 20 as one joint epoch, 3-3-3 costs 36 where two cost 40.
    np.testing.assert_allclose(comparisons.at_like_flops(arrays), [0.9 - 0.5])
    np.testing.assert_allclose(np.sort(comparisons.at_like_flops(arrays, 0.11)), [0.1, 0.4])
