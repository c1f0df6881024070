"""Network files that are damaged or forged are refused in one line."""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.network_file import load, save
from tests.hardware.network_files import (
    outcome,
    parts,
    path,  # noqa: F401 (fixtures)
    plain,
    same,
    small_network,
    write_signed,
    write_text,
)


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


def test_the_attackers_tool_writes_good_files_too(path):
    write_signed(path, *parts(small_network()))
    assert same(load(path), small_network())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t, m: m.update(schema=6), "has schema 6, this version reads up to 5: install a newer polystep-snn"),
        (lambda t, m: m.update(schema=6, surprise=1), "has schema 6"),
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
