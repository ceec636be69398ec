"""Reads the pickle inside a torch file as data: no class is looked up, no function is called.

Python's own unpickler runs whatever a file names. This is another machine for the same byte code:
it knows the handful of instructions that torch.save writes for a dictionary of tensors, takes the
few names that occur there as words, and refuses everything else. What it can build is numbers,
text, tuples, lists, dictionaries and `Tensor` descriptions of where numbers lie in the file.
"""

from __future__ import annotations

import pickletools
from typing import Any, BinaryIO, NamedTuple

STORAGES = {
    ("torch", "DoubleStorage"): "float64",
    ("torch", "FloatStorage"): "float32",
    ("torch", "HalfStorage"): "float16",
    ("torch", "BFloat16Storage"): "bfloat16",
    ("torch", "LongStorage"): "int64",
    ("torch", "IntStorage"): "int32",
    ("torch", "ShortStorage"): "int16",
    ("torch", "CharStorage"): "int8",
    ("torch", "ByteStorage"): "uint8",
    ("torch", "BoolStorage"): "bool",
}
ORDERED_DICT = ("collections", "OrderedDict")
REBUILD = ("torch._utils", "_rebuild_tensor_v2")
REBUILD_OLD = ("torch._utils", "_rebuild_tensor")
PARAMETER = ("torch._utils", "_rebuild_parameter")


class Refused(ValueError):
    """The pickle is damaged, or holds something that is not a tensor."""


class Word(NamedTuple):
    """A name that the pickle mentions; nothing but a pair of strings."""

    module: str
    name: str


class Storage(NamedTuple):
    """A run of `count` numbers in the file, by its key there."""

    key: str
    dtype: str
    count: int


class Tensor(NamedTuple):
    """A strided view of a storage; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


ALLOWED = {*STORAGES, ORDERED_DICT, REBUILD, REBUILD_OLD, PARAMETER}

# A mark on the stack, below the items that a later instruction gathers.
MARK = object()

CONSTANTS = {
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_LIST": lambda _: [],
    "EMPTY_DICT": lambda _: {},
    "MARK": lambda _: MARK,
    **dict.fromkeys(
        ["BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"],
        lambda argument: argument,
    ),
}


def read_pickle(file: BinaryIO) -> Any:
    """The value of one pickle, read from the file's position up to its end mark.

    Raises:
      Refused: an instruction or a name outside the allowed ones, or damaged byte code.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(file):
            machine.step(opcode.name, argument)
        (value,) = machine.stack
        return value
    except Refused:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"damaged pickle ({error})") from None


class _Machine:
    """The stack and the memo of a pickle, with instructions that only move data."""

    def __init__(self):
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        if name in CONSTANTS:
            self.stack.append(CONSTANTS[name](argument))
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            pair = argument.split(" ", 1) if name == "GLOBAL" else self.pop(2)
            self.stack.append(_word(*pair))
        elif name in _ACTIONS:
            _ACTIONS[name](self)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise Refused(
                f"pickle instruction {name}; allowed are those of a dictionary of tensors"
            )

    def pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise Refused("damaged pickle (stack underflow)")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def pop_to_mark(self) -> list[Any]:
        place = max(i for i, item in enumerate(self.stack) if item is MARK)
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items

    def make_tuple(self, count: int | None) -> None:
        items = self.pop_to_mark() if count is None else self.pop(count)
        self.stack.append(tuple(items))

    def append(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise Refused("damaged pickle (append to what is no list)")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise Refused("damaged pickle (entries for what is no dictionary)")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) not in (str, int):
                raise Refused(f"a dictionary key of type {type(key).__name__}")
            target[key] = value

    def reduce(self) -> None:
        function, arguments = self.pop(2)
        self.stack.append(_call(function, arguments))

    def build(self) -> None:
        # torch attaches version numbers (_metadata) to a state dictionary; they say nothing here.
        target, _ = self.stack[-1], self.pop(1)
        if type(self.stack[-1]) is not dict:
            raise Refused(f"state for a {type(target).__name__}")

    def persistent(self) -> None:
        (identity,) = self.pop(1)
        self.stack.append(_storage(identity))


_ACTIONS = {
    "TUPLE": lambda machine: machine.make_tuple(None),
    "TUPLE1": lambda machine: machine.make_tuple(1),
    "TUPLE2": lambda machine: machine.make_tuple(2),
    "TUPLE3": lambda machine: machine.make_tuple(3),
    "APPEND": lambda machine: machine.append(machine.pop(1)),
    "APPENDS": lambda machine: machine.append(machine.pop_to_mark()),
    "SETITEM": lambda machine: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine: machine.set_items(machine.pop_to_mark()),
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}


def _word(module: Any, name: Any) -> Word:
    if not (isinstance(module, str) and isinstance(name, str)):
        raise Refused("damaged pickle (a name that is no text)")
    if (module, name) not in ALLOWED:
        raise Refused(f"it asks for {module}.{name}; allowed are tensors")
    return Word(module, name)


def _storage(identity: Any) -> Storage:
    # ("storage", type, key, device, count), and in old files a view or None at the end.
    match identity:
        case ("storage", Word() as kind, str(key), str(), int(count)) if kind in STORAGES:
            return Storage(key, STORAGES[kind], count)
        case ("storage", Word() as kind, str(key), str(), int(count), None) if kind in STORAGES:
            return Storage(key, STORAGES[kind], count)
    raise Refused("a reference to something that is not a storage of numbers")


def _call(function: Any, arguments: Any) -> Any:
    """The value that a named function would build, for the four names that are understood."""
    match function, arguments:
        case Word("collections", "OrderedDict"), ():
            return {}
        case (
            Word("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"),
            (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ):
            return _view(storage, offset, shape, strides)
        case Word("torch._utils", "_rebuild_parameter"), (Tensor() as tensor, *_):
            return tensor
    name = ".".join(function) if isinstance(function, Word) else type(function).__name__
    raise Refused(f"a call of {name} with other arguments than torch writes")


def _view(storage: Storage, offset: int, shape: tuple, strides: tuple) -> Tensor:
    numbers = (offset, *shape, *strides)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise Refused("a tensor with negative or non-integer sizes")
    if len(shape) != len(strides):
        raise Refused("a tensor with as many sizes as strides expected")
    last = offset + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if 0 not in shape and last >= storage.count:
        raise Refused("a tensor that reaches beyond its storage")
    return Tensor(storage, offset, shape, strides)
