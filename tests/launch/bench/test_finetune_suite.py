"""What is worked out of the times of AdaPaD's steps."""

import pytest

from launch.bench import finetune_suite


def test_a_step_on_average_has_its_parts_of_the_run():
    # Three of five steps while ranks grow, of which every second trains in private too.
    average = finetune_suite._on_average(growing=1.0, private=3.0, grown=0.5)
    assert average == pytest.approx(0.6 * 2 + 0.4 * 0.5)
