"""The pickle machine builds tensors and refuses everything that runs or builds something else."""

import collections
import io
import os
import pickle

import numpy as np
import pytest

from finetune.weights.pickled import Refused, Storage, Tensor, read_pickle
from tests.finetune.weights.torch_bytes import (
    dictionary,
    name,
    number,
    numbers,
    storage,
    tensor,
    text,
)

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def read(data):
    return read_pickle(io.BytesIO(data))


class Call:
    """Pickles as the call of a function, as an attacker would write it."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def test_a_dictionary_of_tensors():
    stored = storage("7", "float16", 12)
    got = read(dictionary({"a": tensor(stored, 2, (2, 3), (1, 2)), "b": tensor(stored, 0, (), ())}))
    kept = Storage("7", "float16", 12)
    assert got == {"a": Tensor(kept, 2, (2, 3), (1, 2)), "b": Tensor(kept, 0, (), ())}


def test_the_stream_is_left_behind_the_pickle():
    file = io.BytesIO(pickle.dumps({"a": 1}, 2) + b"rest")
    assert read_pickle(file) == {"a": 1}
    assert file.read() == b"rest"


@pytest.mark.parametrize("protocol", PROTOCOLS[2:])
def test_plain_values(protocol):
    shared = [1, 2]
    value = {"a": [None, True, False, -3, 2**40, 1.5], "b": (1, (2,), ()), "c": [shared, shared]}
    assert read(pickle.dumps(value, protocol)) == value
    # A state dictionary is ordered and carries version numbers as an attribute.
    ordered = collections.OrderedDict(value)
    ordered._metadata = {"": {"version": 1}}
    assert read(pickle.dumps(ordered, protocol)) == value


def malicious(marker):
    """Attacks by what they try; every one of them would leave `marker` behind or return code."""
    command = f"touch {marker}"
    touch = Call(os.system, command)
    return {
        "os.system": touch,
        "eval": Call(eval, f"__import__('os').system({command!r})"),
        "exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "getattr": Call(getattr, "a", "upper"),
        "open": Call(open, str(marker), "w"),
        "import": Call(__import__, "os"),
        "in a list": {"weight": [touch]},
        "nested call": Call(collections.OrderedDict, [("k", touch)]),
        "in the state": Call(collections.OrderedDict, state={"x": touch}),
        "as a key": {Call(str, "k"): 1},
        "numpy array": np.arange(3),
        "numpy objects": np.array([touch], dtype=object),
        "numpy scalar": np.float64(1.0),
        "exception": ValueError("x"),
        "bytes": b"abc",
        "set": {1},
        "bytearray": bytearray(b"x"),
        "complex": 1j,
    }


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_malicious_pickles_are_refused(protocol, tmp_path):
    marker = tmp_path / "ran"
    for title, attack in malicious(marker).items():
        with pytest.raises(Refused) as error:
            read(pickle.dumps({"weight": attack}, protocol))
        assert "\n" not in str(error.value), title
        assert not marker.exists(), title


def test_names_are_words():
    # Python's machine would hand out the class; here a name alone is a pair of strings.
    got = read(pickle.dumps(collections.OrderedDict, 2))
    assert got == ("collections", "OrderedDict")
    assert not callable(got)


INERT = name("collections", "OrderedDict")


@pytest.mark.parametrize(
    "body",
    [
        name("posix", "system") + text("true") + b"\x85R.",
        name("builtins", "eval") + text("1") + b"\x85R.",
        name("collections", "OrderedDict.__init__") + b".",
        name("torch._utils", "_rebuild_tensor_v2.__globals__") + b".",
        name("torch", "load") + b".",
        name("torch.storage", "_load_from_bytes") + b".",
        # Calls of what is allowed by name, with arguments torch never writes.
        INERT + numbers([1]) + b"R.",
        INERT + b"(" + b"]" + b"t" + b"R.",
        name("torch", "FloatStorage") + b")R.",
        name("torch._utils", "_rebuild_parameter") + b"(" + number(1) + b"tR.",
        # State on what is no dictionary: Python would set attributes of the class.
        INERT + b"}" + text("x") + number(1) + b"sb.",
        # Other ways to make objects, and the extension registry.
        INERT + b")\x81.",
        INERT + b")}\x92.",
        b"(" + INERT + b"o.",
        b"(icollections\nOrderedDict\n.",
        b"\x82\x01.",
        # Calls of a value, persistent references to other things, protocol 0 of the same.
        text("x") + b")R.",
        text("storage") + b"Q.",
        b"P0\n.",
        b"(" + text("module") + INERT + b"tQ.",
    ],
)
def test_byte_code_that_is_refused(body):
    with pytest.raises(Refused):
        read(b"\x80\x02" + body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02}",
        b"R.",
        b"u.",
        b"\x85.",
        b"h\x01.",
        b"\xff",
        b"}" + number(1) + b".",
        b"]" + number(1) + number(2) + b"s.",
        number(1) + number(2) + b"a.",
        b"}(" + text("a") + b"u.",
        b"}(]" + number(1) + b"u.",
        b"}}" + b"\x93.",
        b"X\xff\xff\xff\x7fab.",
        b"X\x02\x00\x00\x00\xff\xff.",
    ],
)
def test_damaged_byte_code(body):
    with pytest.raises(Refused):
        read(body)


FLOATS = storage("0", "float32", 10)


@pytest.mark.parametrize(
    "bad",
    [
        tensor(FLOATS, 0, (3, 4), (4, 1)),
        tensor(FLOATS, 10, (), ()),
        tensor(FLOATS, -1, (2,), (1,)),
        tensor(FLOATS, 5, (3,), (-1,)),
        tensor(FLOATS, 0, (-2,), (1,)),
        tensor(FLOATS, 0, (2, 2), (1,)),
        tensor(storage("0", "float32", -5), 0, (2,), (1,)),
    ],
)
def test_views_stay_inside_their_storage(bad):
    with pytest.raises(Refused):
        read(dictionary({"a": bad}))


def test_empty_tensors():
    got = read(dictionary({"a": tensor(storage("0", "float32", 0), 0, (0, 3), (3, 1))}))
    assert got["a"].shape == (0, 3)


def test_deeply_shared_values_cost_nothing():
    # Forty levels of pairs that share: 2^40 leaves if anything walked or printed them.
    body = number(1) + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(40))
    with pytest.raises(Refused):
        read(b"\x80\x02" + body + text("x") + b"\x93.")
