import jax

from linear_theory.structure.deep_linear.instances import draw_networks


def test_group_sizes():
    networks = draw_networks(jax.random.key(0), 7, wide=True)
    assert [len(network.target) for network in networks] == [2, 2, 1, 1, 1]
    assert networks[0].layers[-1].shape == (2, 3, 9)
    assert len(draw_networks(jax.random.key(0), 2)) == 2
