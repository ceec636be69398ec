"""The suites of the benchmark, by name."""

from launch.bench import config, suites


def test_every_suite_has_its_flag():
    assert tuple(suites.SUITES) == config.SUITES
