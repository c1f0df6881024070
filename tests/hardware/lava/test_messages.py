"""What a client and Lava's worker say to each other, and what is no message. Needs no Lava."""

import socket
import threading

import numpy as np
import pytest

from polystep_snn.hardware.lava import protocol


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    other.settimeout(5)
    yield one, other
    one.close()
    other.close()


def test_messages_arrive_as_they_were_sent(pair):
    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(1, 2, 3)[..., ::2],
        "b": np.zeros((0, 4), np.bool_),
        "c": np.array([[255]], np.uint8),
    }
    threading.Thread(target=protocol.send, args=(pair[0], {"kind": "done", "step": 3}, arrays)).start()
    found = protocol.receive(pair[1])
    assert found.fields == {"kind": "done", "step": 3}
    assert {name: (x.dtype, x.tolist()) for name, x in found.arrays.items()} == {name: (x.dtype, x.tolist()) for name, x in arrays.items()}


def framed(text):
    return len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (b"", EOFError, "gone"),
        (b"\0\0", EOFError, "gone"),
        (framed(b'{"arrays": [["a", "int32", [2]]]}') + b"\0" * 7, EOFError, "gone"),
        (b"\xff\xff\xff\xff{}", protocol.ProtocolError, "at most"),
        (framed(b"{}"), protocol.ProtocolError, "unreadable"),
        (framed(b"[]"), protocol.ProtocolError, "unreadable"),
        (framed(b"\xff\xfe"), protocol.ProtocolError, "unreadable"),
        (framed(b"[" * 100_000), protocol.ProtocolError, "unreadable"),
        (framed(b'{"arrays": [["a"]]}'), protocol.ProtocolError, "unreadable"),
        (framed(b'{"arrays": [["a", "object", [1]]]}'), protocol.ProtocolError, "object"),
        (framed(b'{"arrays": [["a", "int32", [-1]]]}'), protocol.ProtocolError, "-1"),
        (framed(b'{"arrays": [["a", "int32", [true]]]}'), protocol.ProtocolError, "True"),
        (framed(b'{"arrays": [["a", ["int32"], [1]]]}'), protocol.ProtocolError, "int32"),
        (framed(b'{"arrays": [["a", "int32", [1000000, 1000000]]]}'), protocol.ProtocolError, "at most"),
    ],
)
def test_what_is_no_message(pair, data, error, message):
    pair[0].sendall(data)
    pair[0].close()
    with pytest.raises(error, match=message):
        protocol.receive(pair[1])


def test_random_bytes_are_no_messages():
    whole = framed(b'{"kind": "done", "arrays": [["a", "uint8", [3]]]}') + b"abc"
    rng = np.random.default_rng(0)
    kinds = set()
    for _ in range(2000):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        one, other = socket.socketpair()
        with one, other:
            one.sendall(damaged[: rng.integers(len(whole) + 1)] if rng.random() < 0.3 else damaged)
            one.shutdown(socket.SHUT_WR)
            try:
                protocol.receive(other)
            except (EOFError, protocol.ProtocolError) as error:
                kinds.add(type(error))
            else:
                kinds.add(None)
    assert kinds == {None, EOFError, protocol.ProtocolError}


def test_messages_that_nobody_would_read_are_not_sent(pair):
    with pytest.raises(protocol.ProtocolError, match="at most"):
        protocol.send(pair[0], {"kind": "x" * 2**20})
