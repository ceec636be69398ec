"""A claim refuses words that the report does not know, and does not change; names are unique."""

import dataclasses
import importlib
import types

import numpy as np
import pytest

from linear_theory import Claim, Control, Evidence, registry
from linear_theory.claim import KINDS, STATUSES

CONTROL = Control("changed", lambda batch: Evidence(batch, 0.0))


def make(kind="upper", status="new", name="test.claim"):
    return Claim(
        name=name,
        source="a document, (1)",
        statement="words",
        formula="a <= b",
        kind=kind,
        status=status,
        instances=lambda key, trials: np.ones(trials),
        measure=lambda batch: Evidence(batch, 1.0),
        control=CONTROL,
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", STATUSES)
def test_known_words(kind, status):
    claim = make(kind, status)
    assert (claim.kind, claim.status, claim.figure) == (kind, status, None)
    assert claim.control.instances is None


def test_unknown_kind():
    with pytest.raises(ValueError, match=r"kind of claim test\.claim is 'equal'; allowed are"):
        make(kind="equal")


def test_unknown_status():
    with pytest.raises(ValueError, match=r"status of claim test\.claim is 'proved'; allowed are"):
        make(status="proved")


def test_claims_and_controls_are_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().kind = "lower"
    with pytest.raises(dataclasses.FrozenInstanceError):
        CONTROL.statement = "another"
    assert dataclasses.replace(make(), name="test.other").name == "test.other"


def test_evidence_holds_everywhere_unless_told_otherwise():
    evidence = Evidence(np.ones(2), 1.0)
    assert evidence.premise is True and evidence.tolerance is None


def test_registry_refuses_a_name_used_twice(monkeypatch):
    # `linear_theory.registry` is the function; the module of the same name is asked for by name.
    module = importlib.import_module("linear_theory.registry")
    first, second = make(name="a.b"), make(name="a.c")
    result = [types.SimpleNamespace(CLAIMS=(first, second))]
    monkeypatch.setattr(module, "modules", lambda kind: result)
    assert list(registry()) == ["a.b", "a.c"]
    result = [types.SimpleNamespace(CLAIMS=(first, first))]
    monkeypatch.setattr(module, "modules", lambda kind: result)
    with pytest.raises(ValueError, match=r"claim name 'a\.b' is used twice"):
        registry()


def test_every_claim_is_complete():
    for name, claim in registry().items():
        assert claim.name == name
        module, _, statement = name.partition(".")
        assert module and statement, f"{name} is not module.statement"
        for field in ("source", "statement", "formula"):
            assert getattr(claim, field).strip(), f"{name} has no {field}"
        assert claim.control.statement.strip(), f"the control of {name} says nothing"
