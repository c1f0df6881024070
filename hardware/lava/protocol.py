"""Messages between client and worker over a stream socket: JSON and raw arrays, within limits; nothing is pickled.

A message is four bytes with the header's length (big endian), the header (JSON, an object; its ``arrays`` say name, dtype and shape of
what follows), and the arrays' bytes in that order, C-contiguous.
"""

import json
import math
import socket
import struct
from typing import Any, NamedTuple

import numpy as np

MAX_HEADER_BYTES = 2**20
# Of all arrays of a message: 10,000 samples of 2,312 packed channels and 300 steps take a third of it.
MAX_ARRAY_BYTES = 2**31
_DTYPES = ("bool", "uint8", "int32")
_LENGTH = struct.Struct(">I")


class ProtocolError(ValueError):
    """What arrived is no message."""


class Message(NamedTuple):
    """``fields``: plain values; ``arrays``: by name."""

    fields: dict[str, Any]
    arrays: dict[str, np.ndarray]


def send(to: socket.socket, fields: dict[str, Any], arrays: dict[str, np.ndarray] | None = None) -> None:
    """Send one message.

    Raises:
        ProtocolError: it would be larger than is read.
        OSError: nobody is there to read it.
    """
    whole = {name: np.ascontiguousarray(array) for name, array in (arrays or {}).items()}
    described = [[name, array.dtype.name, list(array.shape)] for name, array in whole.items()]
    header = json.dumps({**fields, "arrays": described}).encode()
    size = sum(array.nbytes for array in whole.values())
    if len(header) > MAX_HEADER_BYTES or size > MAX_ARRAY_BYTES:
        raise ProtocolError(f"a message has {len(header)} + {size} bytes: at most {MAX_HEADER_BYTES} + {MAX_ARRAY_BYTES} are read")
    to.sendall(_LENGTH.pack(len(header)) + header)
    for array in whole.values():
        if array.nbytes:
            to.sendall(array.data.cast("B"))


def receive(source: socket.socket) -> Message:
    """Wait for one message.

    Raises:
        ProtocolError: anything else; nothing is allocated before its size is known to be within the limits.
        EOFError: the other side is gone.
        OSError: nothing within the socket's timeout, or a broken socket.
    """
    (length,) = _LENGTH.unpack(_exactly(source, _LENGTH.size))
    if length > MAX_HEADER_BYTES:
        raise ProtocolError(f"a header has {length} bytes, at most {MAX_HEADER_BYTES} are read")
    try:
        fields = json.loads(_exactly(source, length))
        described = [(name, dtype, shape) for name, dtype, shape in fields.pop("arrays")]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"a header is unreadable ({type(error).__name__})") from None
    sizes = [_size(*array) for array in described]
    if sum(sizes) > MAX_ARRAY_BYTES:
        raise ProtocolError(f"arrays of a message have {sum(sizes)} bytes, at most {MAX_ARRAY_BYTES} are read")
    arrays = {
        name: np.frombuffer(_exactly(source, size), dtype).reshape(shape)
        for (name, dtype, shape), size in zip(described, sizes, strict=True)
    }
    return Message(fields, arrays)


def _size(name: Any, dtype: Any, shape: Any) -> int:
    """Bytes of an array so described; ProtocolError if none like it is ever sent."""
    sizes = isinstance(shape, list) and len(shape) <= 3 and all(type(n) is int and 0 <= n < 2**40 for n in shape)
    if not isinstance(name, str) or dtype not in _DTYPES or not sizes:
        raise ProtocolError(f"no array is called {str(name)[:20]!r}, {str(dtype)[:20]}, {str(shape)[:40]}")
    return np.dtype(dtype).itemsize * math.prod(shape)


def _exactly(source: socket.socket, size: int) -> bytearray:
    buffer = bytearray(size)
    view, filled = memoryview(buffer), 0
    while filled < size:
        count = source.recv_into(view[filled:])
        if not count:
            raise EOFError("the other side is gone")
        filled += count
    return buffer
