"""Network files, written bit by bit."""

import json
import zlib

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies as st

from polystep_snn.errors import InputError
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork
from polystep_snn.hardware.network_file import load, save
from tests.hardware.test_simulator import dense


def small_network():
    rng = np.random.default_rng(0)
    first = IntegerLayer(
        rng.integers(-128, 128, (3, 6)).astype(np.int8),
        np.array([0, 5, 2**17 - 1], np.int32),
        np.array([-(2**15), 0, 2**15 - 1], np.int16),
        bias_exp=7,
        du=1000,
        dv=128,
        scale=0.1,
    )
    provenance = {"version": "0.1.0", "seed": 2**63, "accuracy": 0.978, "author": "Ä"}
    return IntegerNetwork((first, dense([[1, -2, 3], [0, 0, 0]], vth=9)), "count", 16, "rate", (2, 3), ("zwölf", "1"), provenance)


def same(a, b):
    arrays = [(getattr(x, n), getattr(y, n)) for x, y in zip(a.layers, b.layers, strict=True) for n in ("weight", "vth", "bias_mant")]
    plain = [[(x.bias_exp, x.du, x.dv, x.scale) for x in n.layers] for n in (a, b)]
    rest = [(n.readout, n.num_steps, n.encoder, n.input_shape, n.classes, dict(n.provenance)) for n in (a, b)]
    return plain[0] == plain[1] and rest[0] == rest[1] and all(x.dtype == y.dtype and np.array_equal(x, y) for x, y in arrays)


@pytest.fixture
def path(tmp_path):
    save(tmp_path / "network.safetensors", small_network())
    return tmp_path / "network.safetensors"


def outcome(path):
    """The network in a file, or None where it was refused as it should be: in one line, not too long."""
    try:
        return load(path)
    except InputError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 500 + len(str(path))
    return None


def parts(network):
    """A network's tensors and metadata, to be spoiled."""
    tensors = {f"layers.{k}.{n}": getattr(x, n) for k, x in enumerate(network.layers) for n in ("weight", "vth", "bias_mant")}
    meta = {
        "schema": 1,
        "layers": [{"bias_exp": x.bias_exp, "du": x.du, "dv": x.dv, "scale": x.scale} for x in network.layers],
        "readout": network.readout,
        "num_steps": network.num_steps,
        "encoder": network.encoder,
        "input_shape": list(network.input_shape),
        "classes": list(network.classes),
        "provenance": dict(network.provenance),
    }
    return tensors, meta


def write_signed(path, tensors, meta):
    """A file whose checksum is right, whatever it says: what an attacker can write."""
    crc = zlib.crc32(json.dumps(meta, sort_keys=True).encode())
    for name in sorted(tensors):
        crc = zlib.crc32(f"{name} {tensors[name].dtype.name} {list(tensors[name].shape)}".encode(), crc)
        crc = zlib.crc32(tensors[name].tobytes(), crc)
    write_text(path, tensors, json.dumps({**meta, "crc32": crc}))


def write_text(path, tensors, text):
    path.write_bytes(safetensors.numpy.save(tensors, {"polystep_snn": text}))


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)


def assert_refused(path, tensors, meta, message):
    """A file of these parts, with a checksum that fits, is refused in one line and does nothing else."""
    write_signed(path, tensors, meta)
    with pytest.raises(InputError, match=message):
        load(path)
    assert outcome(path) is None
