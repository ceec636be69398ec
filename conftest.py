"""Eight host devices, a compilation cache outside the tree, tests that run only when asked for."""

import itertools
import os
import pathlib
import tempfile

# Before jax is imported anywhere: small matrices run faster on few threads, and workers of
# pytest-xdist must not fight over the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Tests compile far more than they compute: without XLA's optimisations, its newer emitters of fused
# loops and its pool of compiling threads they compile in a third of the time. The notebooks and the
# benchmark run with all three.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
    " --xla_cpu_parallel_codegen_split_count=1",
)

import jax
import pytest

CACHE = pathlib.Path(
    os.environ.get(
        "RANKWISE_TEST_CACHE", pathlib.Path(tempfile.gettempdir()) / "rankwise-xla-cache"
    )
)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def pytest_addoption(parser):
    """The flag that runs all tests."""
    parser.addoption(
        "--thorough",
        action="store_true",
        help="run all tests, also those that repeat a faster one at length or on further models",
    )


def pytest_collection_modifyitems(config, items):
    """Thorough tests are left out unless asked for, and counted as deselected."""
    if config.getoption("--thorough"):
        return
    thorough = [item for item in items if item.get_closest_marker("thorough")]
    config.hook.pytest_deselected(items=thorough)
    items[:] = [item for item in items if not item.get_closest_marker("thorough")]


def pytest_collection_finish():
    """After the imports, and before the first test."""
    from rankwise.compiling import collect_rarely

    collect_rarely()


MAPS = pathlib.Path("/proc/self/maps")
counted = itertools.count(1)


@pytest.fixture(autouse=True, scope="module")
def few_programs():
    """Every program that is held maps memory, and Linux kills a process with 65 530 maps."""
    yield
    jax.clear_caches()


@pytest.fixture(autouse=True)
def few_programs_of_a_file():
    """The same within a file of many tests, now and then, as counting takes milliseconds."""
    yield
    if next(counted) % 10 == 0 and MAPS.exists():
        with MAPS.open() as lines:
            held = sum(1 for _ in lines)
        if held > 30_000:
            jax.clear_caches()
