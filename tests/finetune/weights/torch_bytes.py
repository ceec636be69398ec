"""Writes files as torch.save does, byte by byte, so that the reader is tested without torch."""

import io
import struct
import zipfile

import numpy as np

STORAGE = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def numbers(values) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(key: str, dtype: str, count: int, old: bool = False) -> bytes:
    kind = name("torch", STORAGE[dtype])
    tail = b"N" if old else b""
    return b"(" + text("storage") + kind + text(key) + text("cpu") + number(count) + tail + b"tQ"


def tensor(stored: bytes, offset: int, shape, strides) -> bytes:
    hooks = name("collections", "OrderedDict") + b")R"
    arguments = stored + number(offset) + numbers(shape) + numbers(strides) + b"\x89" + hooks
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + arguments + b"tR"


def dictionary(items: dict[str, bytes]) -> bytes:
    body = b"".join(text(key) + value for key, value in items.items())
    return b"\x80\x02}(" + body + b"u."


def state(arrays: dict[str, np.ndarray], old: bool = False) -> bytes:
    """The pickle of a dictionary of contiguous tensors, each with a storage of its own."""
    items = {}
    for key, (title, array) in enumerate(arrays.items()):
        strides = [step // array.itemsize for step in array.strides]
        stored = storage(str(key), array.dtype.name, array.size, old)
        items[title] = tensor(stored, 0, array.shape, strides)
    return dictionary(items)


def zip_file(path, pickle: bytes, storages, compression=zipfile.ZIP_STORED, byteorder=b"little"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", byteorder)
        for key, array in storages.items():
            archive.writestr(f"archive/data/{key}", array.tobytes())
        archive.writestr("archive/version", b"3\n")
    return path


def stream_file(path, pickle: bytes, storages):
    """The format before torch 1.6."""
    file = io.BytesIO()
    magic = 0x1950A86A20F9469CFC6C.to_bytes(10, "little")
    file.write(b"\x80\x02\x8a" + bytes([len(magic)]) + magic + b".")
    file.write(b"\x80\x02" + number(1001) + b".")
    file.write(b"\x80\x02}(" + text("little_endian") + b"\x88" + b"u.")
    file.write(pickle)
    file.write(b"\x80\x02](" + b"".join(map(text, storages)) + b"e.")
    for array in storages.values():
        file.write(struct.pack("<q", array.size) + array.tobytes())
    path.write_bytes(file.getvalue())
    return path
