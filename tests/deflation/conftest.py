"""Compiled programs are dropped after every module of tests."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Every program that is held maps memory, and Linux kills a process with 65 530 maps."""
    yield
    jax.clear_caches()
