"""The deployed network: what it may hold, and a file that comes back whole or is refused in one line."""

import json
import os
import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
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


def test_round_trip(path):
    assert same(load(path), small_network())
    before = path.read_bytes()
    save(path, load(path))
    assert path.read_bytes() == before, "the same network, the same bytes"
    assert not same(load(path), replace(small_network(), num_steps=15))


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_memory_layout(tmp_path, order):
    network = small_network()
    weight = np.asarray(network.layers[0].weight, order=order)[:, ::-1]
    network = replace(network, layers=(replace(network.layers[0], weight=weight), network.layers[1]))
    save(tmp_path / "n", network)
    assert np.array_equal(load(tmp_path / "n").layers[0].weight, weight)


def test_numpy_integers_are_integers(tmp_path):
    network = small_network()
    layer = replace(network.layers[0], du=np.int64(7), bias_exp=np.uint8(3))
    save(tmp_path / "n", replace(network, layers=(layer, network.layers[1]), num_steps=np.int32(3)))
    assert (load(tmp_path / "n").layers[0].du, load(tmp_path / "n").num_steps) == (7, 3)


def layer(**changes):
    fields = {"weight": np.ones((2, 3), np.int8), "vth": np.zeros(2, np.int32), "bias_mant": np.zeros(2, np.int16)}
    return IntegerLayer(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.ones((2, 3), np.int16)}, r"weights is int16 \[2, 3\]: give int8"),
        ({"weight": np.ones((2, 3), np.float32)}, "weights is float32"),
        ({"weight": [[1]]}, "weights is list"),
        ({"weight": np.ones((0, 3), np.int8)}, "at least one neuron"),
        ({"vth": np.zeros(3, np.int32)}, "vth has 3 entries for 2 neurons"),
        ({"vth": np.array([0, 2**17], np.int32)}, "a threshold is 131072: it must fit 17 bits"),
        ({"vth": np.array([-1, 0], np.int32)}, "a threshold is -1"),
        ({"vth": np.zeros(2)}, "vth is float64"),
        ({"bias_mant": np.zeros(2, np.int32)}, "bias_mant is int32"),
        ({"bias_exp": 8}, "bias_exp is 8: give a whole number, 0 to 7"),
        ({"bias_exp": 3.0}, r"bias_exp is 3\.0"),
        ({"du": 4096}, "du is 4096: it must fit 12 bits, 0 to 4095"),
        ({"dv": -1}, "dv is -1"),
        ({"dv": True}, "dv is True"),
        ({"scale": 0.0}, r"scale is 0\.0: give a positive number"),
        ({"scale": float("inf")}, "scale is inf"),
        ({"scale": float("nan")}, "scale is nan"),
        ({"scale": 10**400}, r"scale is 1000.*\.\.\..*000"),
        ({"scale": "1"}, "scale is '1'"),
    ],
)
def test_what_no_layer_is(changes, message):
    layer()
    with pytest.raises(InputError, match=message):
        layer(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ()}, "has no layers"),
        ({"layers": (dense([[1] * 6]), dense([[1, 1], [1, 1]]))}, "layer 1 takes 2 inputs, but layer 0 has 1 neurons"),
        ({"readout": "max"}, "readout is 'max': choose one of membrane, count"),
        ({"encoder": "morse"}, "encoder is 'morse': choose one of rate"),
        ({"num_steps": 0}, "num_steps is 0"),
        ({"num_steps": 2**16 + 1}, "num_steps is 65537"),
        ({"num_steps": 2.0}, r"num_steps is 2\.0"),
        ({"input_shape": ()}, "input_shape has 0 sizes: give those of one sample, 1 to 8"),
        ({"input_shape": (6, 0)}, "a size of input_shape is 0"),
        ({"input_shape": (28, 28)}, "layer 0 takes 6 inputs, but a sample is 28 x 28: give the shape that rate encodes"),
        ({"input_shape": (4,), "encoder": "population"}, "layer 0 takes 6 inputs"),
        ({"classes": ("a",)}, "1 classes for a readout of 2 neurons"),
        ({"classes": ("a", 3)}, "a class is 3: give printable text"),
        ({"classes": ("a", "\x1b[2J")}, "printable"),
        ({"provenance": {"a": float("nan")}}, "provenance 'a' is nan"),
        ({"provenance": {"a": [1]}}, r"provenance 'a' is \[1\]"),
        ({"provenance": {3: 1}}, "a key of provenance is 3"),
        ({"provenance": {"a": "b\nc"}}, "provenance 'a' is .*printable"),
    ],
)
def test_what_no_network_is(changes, message):
    with pytest.raises(InputError, match=message) as error:
        replace(small_network(), **changes)
    assert "\n" not in str(error.value)
    assert replace(small_network(), input_shape=(2,), encoder="population").sizes == [6, 3, 2]


def test_nothing_is_left_when_a_file_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="could not be written"):
        save(tmp_path / "nowhere" / "n", small_network())
    with pytest.raises(InputError, match="257 layers"):
        save(tmp_path / "n", replace(small_network(), layers=(dense([[1] * 6] * 2),) + (dense([[1, 1]] * 2),) * 256))
    with pytest.raises(InputError, match="shorten them"):
        save(tmp_path / "n", replace(small_network(), provenance={"notes": "x" * 2**20}))
    assert list(tmp_path.iterdir()) == []


def outcome(path):
    """The network in a file, or None where it was refused as it should be: in one line, not too long."""
    try:
        return load(path)
    except InputError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 500 + len(str(path))
    return None


def test_every_flipped_bit_is_noticed(path):
    """All of them. Where the JSON of the header says the same in other letters, the network is the same."""
    content, network = path.read_bytes(), small_network()
    refused = 0
    for position in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        found = outcome(path)
        assert found is None or same(found, network), f"bit {position}"
        refused += found is None
    assert refused > 8 * len(content) - 100


def test_every_truncation_is_noticed(path):
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert outcome(path) is None
    path.write_bytes(content + b"\0")
    assert outcome(path) is None


fuzzed = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@fuzzed
@given(st.data())
def test_pieces_moved_and_overwritten(path, data):
    save(path, small_network())
    content = path.read_bytes()
    start, end, at = (data.draw(st.integers(0, len(content))) for _ in range(3))
    piece = data.draw(st.one_of(st.binary(max_size=200), st.just(content[min(start, end) : max(start, end)])))
    stop = data.draw(st.sampled_from([at, at + len(piece), len(content)]))
    path.write_bytes(content[:at] + piece + content[stop:])
    found = outcome(path)
    assert found is None or same(found, small_network())


def write_raw(path, header, body=b""):
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


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


def test_the_attackers_tool_writes_good_files_too(path):
    write_signed(path, *parts(small_network()))
    assert same(load(path), small_network())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t, m: m.update(schema=4), "has schema 4, this version reads up to 3: install a newer polystep-snn"),
        (lambda t, m: m.update(schema=4, surprise=1), "has schema 4"),
        (lambda t, m: m.update(schema=10**100), "has schema 1000"),
        (lambda t, m: m.update(schema=0), "damaged"),
        (lambda t, m: m.update(schema=True), "damaged"),
        (lambda t, m: m.update(schema="1"), "damaged"),
        (lambda t, m: m.pop("schema"), "is no network of polystep-snn"),
        (lambda t, m: m.pop("classes"), "lacks a field"),
        (lambda t, m: m.update(surprise=1), "one too many"),
        (lambda t, m: m.update(num_steps=16.0), "damaged"),
        (lambda t, m: m.update(num_steps=True), "damaged"),
        (lambda t, m: m.update(num_steps=10**18), "num_steps is 1000000000000000000"),
        (lambda t, m: m["layers"][0].update(du=4096), "du is 4096"),
        (lambda t, m: m["layers"][0].update(du=1.5), "damaged"),
        (lambda t, m: m["layers"][0].update(scale=float("inf")), "scale is inf"),
        (lambda t, m: m["layers"][0].update(weight=1), "damaged"),
        (lambda t, m: m["layers"].pop(), "its tensors are not those of its layers"),
        (lambda t, m: m["layers"].append(m["layers"][0]), "its tensors are not those of its layers"),
        (lambda t, m: m.update(layers=[]), "0 layers"),
        (lambda t, m: m.update(layers=[m["layers"][0]] * 10_000), "10000 layers, a network has 1 to 256"),
        (lambda t, m: m.update(input_shape=[10**9, 10**9]), "layer 0 takes 6 inputs, but a sample is 1000000000 x 1000000000"),
        (lambda t, m: m.update(input_shape=[2**31] * 80_000), "input_shape has 80000 sizes"),
        (lambda t, m: m.update(input_shape=[[6]]), "nested deeper"),
        (lambda t, m: m.update(input_shape=[6.0]), "a size of input_shape is"),
        (lambda t, m: m.update(classes=["a\nb", "c"]), "a class is"),
        (lambda t, m: m.update(provenance={"a": {"b": 1}}), "nested deeper"),
        (lambda t, m: m.update(provenance={"a": None}), "provenance 'a' is None"),
        (lambda t, m: t.pop("layers.0.vth"), "its tensors are not"),
        (lambda t, m: t.update(extra=np.zeros(3)), "its tensors are not"),
        (lambda t, m: t.update({"layers.0.weight": t["layers.0.weight"].astype(np.float32)}), "layers.0.weight is F32 instead of I8"),
        (lambda t, m: t.update({"layers.0.vth": t["layers.0.vth"].astype(np.int64)}), "layers.0.vth is I64"),
        (lambda t, m: t.update({"layers.0.vth": t["layers.0.vth"] - 1}), "a threshold is -1"),
        (lambda t, m: t.update({"layers.0.vth": np.zeros(4, np.int32)}), "the tensors of layer 0 have shapes"),
        (lambda t, m: t.update({"layers.0.weight": np.zeros(3, np.int8)}), "the tensors of layer 0 have shapes"),
        (lambda t, m: t.update({"layers.0.weight": np.zeros((3, 0), np.int8)}), "at least one neuron and one input"),
        (lambda t, m: t.update({"layers.1.weight": np.zeros((2, 4), np.int8)}), "layer 1 takes 4 inputs"),
    ],
)
def test_files_that_lie_consistently(path, spoil, message):
    tensors, meta = parts(small_network())
    spoil(tensors, meta)
    write_signed(path, tensors, meta)
    with pytest.raises(InputError, match=message):
        load(path)
    assert outcome(path) is None


NO_NETWORKS = ("", "null", "5", "[1]", "[" * 200_000, '{"schema":' * 1000, "9" * 10_000, '{"schema": NaN}', '{"schema":1')


@pytest.mark.parametrize("text", NO_NETWORKS, ids=range(len(NO_NETWORKS)))
def test_metadata_that_is_no_network(path, text):
    write_text(path, {}, text)
    assert outcome(path) is None


plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
anything = st.recursive(plain, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3), max_leaves=6)


@fuzzed
@given(st.data())
def test_any_json_in_any_field(path, data):
    tensors, meta = parts(small_network())
    at = data.draw(st.sampled_from([*meta, *meta["layers"][0]]))
    (meta if at in meta else meta["layers"][0])[at] = data.draw(anything)
    write_signed(path, tensors, meta)
    found = outcome(path)
    if found is not None:
        save(path, found)
        assert same(load(path), found), "what was accepted is a network like any other"


@fuzzed
@given(
    st.sampled_from(["I8", "I32", "I16", "F64", "BF16", "F8_E4M3", "XX"]),
    st.lists(st.integers(-1, 2**65), max_size=3),
    st.tuples(*[st.integers(-1, 2**65) | st.integers(0, 40)] * 2),
    st.binary(max_size=40),
)
def test_headers_that_declare_what_is_not_there(path, dtype, shape, offsets, body):
    text = json.dumps({**parts(small_network())[1], "crc32": 0})
    tensor = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
    names = [f"layers.{k}.{n}" for k in range(2) for n in ("weight", "vth", "bias_mant")]
    write_raw(path, {"__metadata__": {"polystep_snn": text}, **dict.fromkeys(names, tensor)}, body)
    assert outcome(path) is None


@pytest.mark.parametrize(
    "header",
    [b"", b"{}", b"[]", b"null", b"{" * 100_000, b'{"__metadata__":3}', b'{"__metadata__":{"polystep_snn":3}}', b"\xff\xfe", b" " * 1000],
)
def test_headers_that_are_none(path, header):
    write_raw(path, header)
    assert outcome(path) is None


def test_oversized_files_are_not_read(path):
    with path.open("r+b") as file:
        file.truncate(network_file.MAX_FILE_BYTES + 1)  # sparse: no disk is filled
    with pytest.raises(InputError, match=r"is damaged \(268435457 bytes"):
        load(path)
    write_raw(path, b'{"__metadata__":{"a":"' + b"x" * 2**20 + b'"}}')
    with pytest.raises(InputError, match="with a header of 10486"):
        load(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (("pipe", "is no file"), (".", "is no file"), ("absent", "there is no network"), ("loop", "loop")):
        with pytest.raises(InputError, match=message):
            load(tmp_path / name)
    with pytest.raises(InputError, match="is no file"):
        load("/dev/zero")


SMALL = """
import sys
import numpy
from polystep_snn.hardware import chip, encoders, network_file, simulator
network = network_file.load(sys.argv[1])
simulator.Simulator(network).run(encoders.encode("rate", 16, numpy.ones((1, 6), numpy.float32)))
network_file.save(sys.argv[1], network)
print(*(name for name in ("torch", "norse", "sklearn", "matplotlib") if name in sys.modules))
"""


def test_a_small_machine_needs_no_torch(path):
    done = subprocess.run([sys.executable, "-c", SMALL, str(path)], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == []
