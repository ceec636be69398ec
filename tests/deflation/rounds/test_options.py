"""Options by name, and the records that a run holds them in."""

import dataclasses
import inspect

import pytest

import deflation
from deflation.rounds.options import METHODS, RECORDS, records
from tests.deflation.problems import from_matrix

FIELDS = {field.name: field for record in RECORDS for field in dataclasses.fields(record)}


@pytest.mark.parametrize("method", METHODS)
def test_a_way_takes_the_options_that_it_reads_with_their_defaults(method):
    taken = inspect.signature(getattr(deflation, method)).parameters
    for name, field in FIELDS.items():
        reads = method in field.metadata["methods"]
        if name == "axis_name":  # which `start` takes for all, but names nothing without a mesh
            reads = method == "sharded"
        assert (name in taken) == reads, name
        assert not reads or taken[name].default == field.default


def test_a_run_holds_the_records_as_they_are():
    chosen = {"tolerance_of": "error", "staggered": False, "staleness": 2, "orthogonal": True}
    state = deflation.start(from_matrix(), 2, **chosen)
    _, publish, extensions, devices = records("parallel", chosen)
    assert state.controls.stop.tolerance_of == "error"
    plan = state.plan
    assert (plan.publish, plan.extensions, plan.devices) == (publish, extensions, devices)


def test_a_name_that_is_no_option_is_refused_as_python_does():
    with pytest.raises(TypeError, match="unexpected keyword argument 'stagered'"):
        deflation.start(from_matrix(), 2, stagered=False)
