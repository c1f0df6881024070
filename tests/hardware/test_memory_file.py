"""Recurrent weights and delays in network files, and files of the schemas before them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.network_file import load, save
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.network_files import assert_refused, outcome, parts, same, small_network, write_signed
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory, without_memory

WRITTEN = Path(__file__).parent / "written_by"


def memory_of(network):
    return [[None if x is None else (x.dtype, x.tolist()) for x in (layer.recurrent, layer.delays)] for layer in network.layers]


def same_memory(a, b):
    return same(a, b) and memory_of(a) == memory_of(b)


@pytest.mark.parametrize("memory", MEMORIES)
def test_round_trip(tmp_path, memory):
    for seed in range(6):
        network, spikes = random_with_memory(memory, seed)
        save(tmp_path / "n", network)
        found = load(tmp_path / "n")
        assert same_memory(found, network)
        assert [layer.weight_exp for layer in found.layers] == [layer.weight_exp for layer in network.layers]
        assert np.array_equal(Simulator(found).run(spikes), Simulator(network).run(spikes))
        before = (tmp_path / "n").read_bytes()
        save(tmp_path / "n", found)
        assert (tmp_path / "n").read_bytes() == before


@pytest.mark.parametrize("version", ["dense-1", "convolution-2", "exponent-3"])
def test_files_of_older_schemas_open(tmp_path, version):
    """Written by the version before this one, with what it computed; written again they are the same bytes."""
    path = WRITTEN / f"{version}.safetensors"
    network = load(path)
    spikes, values = (np.load(WRITTEN / f"{version}-{name}.npy") for name in ("spikes", "values"))
    assert np.array_equal(Simulator(network).run(spikes), values)
    assert memory_of(network) == [[None, None]] * len(network.layers)
    save(tmp_path / "n", network)
    assert (tmp_path / "n").read_bytes() == path.read_bytes()


def with_memory():
    """The small network, whose first layer has three neurons and six inputs."""
    network = small_network()
    recurrent, delays = np.arange(-4, 5, dtype=np.int8).reshape(3, 3), np.array([0, 1, 2, 3, 4, 15], np.uint8)
    return replace(network, layers=(replace(network.layers[0], recurrent=recurrent, delays=delays), network.layers[1]))


def memory_parts(network):
    tensors, meta = parts(network)
    tensors |= {f"layers.0.{name}": getattr(network.layers[0], name) for name in ("recurrent", "delays")}
    return tensors, meta | {"schema": 4}


def test_only_what_needs_it_gets_the_newest_schema(tmp_path):
    save(tmp_path / "with", with_memory())
    save(tmp_path / "without", without_memory(with_memory()))
    assert b'\\"schema\\": 4' in (tmp_path / "with").read_bytes()
    assert b'\\"schema\\": 1' in (tmp_path / "without").read_bytes()


def test_the_attackers_tool_writes_good_files_too(tmp_path):
    write_signed(tmp_path / "n", *memory_parts(with_memory()))
    assert same_memory(load(tmp_path / "n"), with_memory())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t, m: m.update(schema=3), "its tensors are not those of its layers"),
        (lambda t, m: t.update({"layers.2.delays": t["layers.0.delays"]}), "its tensors are not those of its layers"),
        (lambda t, m: t.update({"layers.0.delays": t["layers.0.delays"].astype(np.int8)}), "layers.0.delays is I8 instead of U8"),
        (
            lambda t, m: t.update({"layers.0.recurrent": t["layers.0.recurrent"].astype(np.int16)}),
            "layers.0.recurrent is I16 instead of I8",
        ),
        (lambda t, m: t.update({"layers.0.delays": t["layers.0.delays"][:5]}), r"layers.0.delays has shape \[5\] instead of \[6\]"),
        (lambda t, m: t.update({"layers.0.recurrent": t["layers.0.recurrent"][:2]}), r"recurrent has shape \[2, 3\] instead of \[3, 3\]"),
        (
            lambda t, m: t.update({"layers.1.recurrent": t["layers.0.recurrent"]}),
            r"1.recurrent has shape \[3, 3\] instead of \[2, 2\]",
        ),
        (lambda t, m: t.update({"layers.0.delays": np.full(6, 63, np.uint8)}), "a delay is 63, but the chip holds"),
        (lambda t, m: t.update({"layers.0.delays": np.full(6, 16, np.uint8)}), "layer 0 has a delay of 16 in samples of 16 steps"),
        (lambda t, m: m["layers"][0].update(delays=1), "damaged"),
    ],
)
def test_files_that_lie_consistently(tmp_path, spoil, message):
    tensors, meta = memory_parts(with_memory())
    spoil(tensors, meta)
    assert_refused(tmp_path / "n", tensors, meta, message)


def test_a_convolution_with_memory_is_refused(tmp_path):
    network = load(WRITTEN / "convolution-2.safetensors")
    geometry = network.layers[0].convolution
    assert geometry is not None
    tensors, meta = parts(network)
    meta["layers"][0]["convolution"] = {name: list(getattr(geometry, name)) for name in ("input_shape", "stride", "padding")}
    for extra, message in (
        ({"delays": np.zeros(geometry.input_shape, np.uint8).reshape(-1)}, "inputs of a convolution have delays"),
        ({"recurrent": np.zeros((geometry.num_neurons,) * 2, np.int8)}, "a convolution has recurrent weights"),
    ):
        more = {f"layers.0.{name}": values for name, values in extra.items()}
        write_signed(tmp_path / "n", tensors | more, meta | {"schema": 4})
        with pytest.raises(InputError, match=f"holds no network that can run: .*{message}"):
            load(tmp_path / "n")


def test_every_tenth_flipped_bit_is_noticed(tmp_path):
    network, path = with_memory(), tmp_path / "n"
    save(path, network)
    content, refused, tried = path.read_bytes(), 0, 0
    for position in range(0, 8 * len(content), 10):
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        found = outcome(path)
        assert found is None or same_memory(found, network), f"bit {position}"
        refused, tried = refused + (found is None), tried + 1
    assert refused > tried - 20
