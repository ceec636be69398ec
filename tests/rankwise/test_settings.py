"""Settings with other values: what is read, what is refused, and that reading undoes writing."""

import dataclasses
import json

import pytest

from launch.evidence.sources import registry
from rankwise.files import to_json
from rankwise.settings import changed


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int = 4
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Outer:
    inner: Inner = dataclasses.field(default_factory=Inner)
    rate: float = 0.5
    few: tuple[int, ...] = (1, 2)
    pair: tuple[int, int] = (1, 2)
    exact: bool = False
    limit: int | None = 3

    def __post_init__(self):
        if self.rate <= 0:
            raise ValueError(f"rate is {self.rate}; allowed are positive numbers")


def test_values_of_every_kind():
    given = {"inner": {"name": "a"}, "rate": 1, "few": [], "exact": True, "limit": None}
    new = changed(Outer(), given)
    assert new == Outer(Inner(4, "a"), 1.0, (), exact=True, limit=None)
    assert isinstance(new.rate, float)
    assert changed(Outer(), {}) == Outer()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rte": 1}, "there is no field 'rte'; allowed are inner, rate, few"),
        ({"inner": {"sise": 1}}, "there is no field 'sise'; allowed are size, name"),
        ({"inner": 3}, "inner is 3; allowed is an object of its fields"),
        ({"rate": True}, "rate is True; allowed is float"),
        ({"rate": float("nan")}, "rate is nan; allowed is float"),
        ({"rate": None}, "rate is None; allowed is float"),
        ({"rate": -1}, r"rate is -1.0; allowed are positive numbers"),
        ({"few": [1, 2.5]}, r"few is \[1, 2.5\]; allowed is a list of int"),
        ({"few": 1}, "few is 1; allowed is a list of int"),
        ({"exact": 1}, "exact is 1; allowed is bool"),
        ({"limit": "3"}, "limit is '3'; allowed is int or null"),
        ({"pair": [1, 2]}, r"pair is \[1, 2\]; allowed is the value that it has"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        changed(Outer(), changes)


def test_something_without_fields():
    with pytest.raises(ValueError, match="has no fields to change"):
        changed((Outer(), Outer()), {"rate": 1})


@pytest.mark.parametrize("name", ["best_rank", "known_ranks", "survey_dropout", "survey_deep_lora"])
def test_a_setting_that_was_written_reads_as_itself(name):
    setting = registry()[name].scale("paper").setting
    assert changed(setting, json.loads(json.dumps(to_json(setting)))) == setting
