"""What is no convolution, and convolutions in network files."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.network_file import load, save
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.network_files import assert_refused, outcome, parts, same, write_signed
from tests.hardware.test_convolution import as_matrices, convolutional, random_convolutional
from tests.hardware.test_simulator import dense

GEOMETRY = Convolution((2, 4, 5), 3, (2, 3), (1, 2), (1, 0))  # 3 x 5 x 2 neurons


def small(rng=None):
    rng = rng or np.random.default_rng(0)
    return convolutional([GEOMETRY], rng, num_classes=2)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weight": np.ones((3, 12), np.int8)}, r"weights is int8 \[3, 12\]: give int8 with 4 dimensions"),
        ({"weight": np.ones((3, 2, 2, 3), np.float32)}, "weights is float32"),
        ({"weight": np.ones((3, 2, 3, 2), np.int8)}, r"weights are \[3, 2, 3, 2\], the convolution's are \[3, 2, 2, 3\]"),
        ({"weight": np.ones((0, 2, 2, 3), np.int8)}, r"weights are \[0, 2, 2, 3\]"),
        ({"vth": np.zeros(3, np.int32)}, "vth has 3 entries for 30 neurons"),
        ({"bias_mant": np.zeros(29, np.int16)}, "bias_mant has 29 entries for 30 neurons"),
        ({"convolution": None}, r"weights is int8 \[3, 2, 2, 3\]: give int8 with 2 dimensions"),
        ({"convolution": (2, 3)}, "convolution is tuple: give a Convolution, or None"),
        ({"convolution": GEOMETRY._replace(stride=(0, 1))}, "is no convolution"),
        ({"convolution": GEOMETRY._replace(stride=2)}, "stride of a convolution is 2: give a tuple of 2 whole numbers"),
        ({"convolution": GEOMETRY._replace(stride=[1, 1])}, r"stride of a convolution is \[1, 1\]: give a tuple of 2"),
        ({"convolution": GEOMETRY._replace(padding=(0,))}, r"padding of a convolution is \(0,\): give a tuple of 2"),
        ({"convolution": GEOMETRY._replace(kernel=None)}, "kernel of a convolution is None: give a tuple of 2"),
        ({"convolution": GEOMETRY._replace(input_shape=(2, 4))}, r"input_shape of a convolution is \(2, 4\): give a tuple of 3"),
        ({"convolution": GEOMETRY._replace(padding=(2, 0))}, r"padding is \[2, 0\] for a kernel of \[2, 3\]"),
        ({"convolution": GEOMETRY._replace(input_shape=(2, 4, 2))}, "does not fit into 4 x 2"),
        ({"convolution": GEOMETRY._replace(input_shape=(2, 2**16, 2**16), stride=(2**16, 2**16))}, "sees 8589934592 inputs"),
    ],
)
def test_what_no_convolution_is(changes, message):
    with pytest.raises(InputError, match=message) as error:
        replace(small().layers[0], **changes)
    assert "\n" not in str(error.value)


def test_what_no_chain_is():
    network = small()
    with pytest.raises(InputError, match="layer 1 takes 29 inputs, but layer 0 has 30 neurons"):
        replace(network, layers=(network.layers[0], dense(np.ones((2, 29)))))
    with pytest.raises(InputError, match="layer 0 takes 40 inputs, but a sample is 2 x 4 x 4"):
        replace(network, input_shape=(2, 4, 4))
    for shape in ((4, 5, 2), (2, 5, 4), (40,), (8, 5)):
        with pytest.raises(InputError, match=r"layer 0 sees \[2, 4, 5\], but a sample is .*: give channels, height and width"):
            replace(network, input_shape=shape)
    single = convolutional([GEOMETRY._replace(input_shape=(1, 4, 5))], np.random.default_rng(0))[0]
    assert replace(single, input_shape=(4, 5)).input_shape == (4, 5)
    with pytest.raises(InputError, match=r"layer 0 sees \[1, 4, 5\], but a sample is \[5, 4\]"):
        replace(single, input_shape=(5, 4))
    assert network.sizes == [40, 30, 2]


def same_geometry(a, b):
    return same(a, b) and all(x.convolution == y.convolution for x, y in zip(a.layers, b.layers, strict=True))


def test_round_trip(tmp_path):
    network, spikes = random_convolutional(3, 3)
    save(tmp_path / "n", network)
    found = load(tmp_path / "n")
    assert same_geometry(found, network)
    assert np.array_equal(Simulator(found).run(spikes), Simulator(network).run(spikes))
    before = (tmp_path / "n").read_bytes()
    save(tmp_path / "n", found)
    assert (tmp_path / "n").read_bytes() == before


def test_networks_without_convolutions_stay_what_they_were(tmp_path):
    """The schema, and so the bytes, that older versions read."""
    save(tmp_path / "dense", as_matrices(small()))
    save(tmp_path / "convolution", small())
    assert b'\\"schema\\": 1' in (tmp_path / "dense").read_bytes()
    assert b'\\"schema\\": 2' in (tmp_path / "convolution").read_bytes()
    assert all(layer.convolution is None for layer in load(tmp_path / "dense").layers)


def convolution_parts(network):
    tensors, meta = parts(network)
    meta["schema"] = 2
    for fields, layer in zip(meta["layers"], network.layers, strict=True):
        if layer.convolution is not None:
            geometry = layer.convolution
            fields["convolution"] = {name: list(getattr(geometry, name)) for name in ("input_shape", "stride", "padding")}
    return tensors, meta


def test_the_attackers_tool_writes_good_files_too(tmp_path):
    write_signed(tmp_path / "n", *convolution_parts(small()))
    assert same_geometry(load(tmp_path / "n"), small())


def sizes(m, **changes):
    m["layers"][0]["convolution"].update(changes)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t, m: m.update(schema=1), "lacks a field, or has one too many"),
        (lambda t, m: m["layers"][0].pop("convolution"), "the tensors of layer 0 have shapes"),
        (lambda t, m: m["layers"][0].update(convolution=None), "one too many"),
        (lambda t, m: m["layers"][0].update(convolution=[[2, 4, 5], [1, 2], [1, 0]]), "one too many"),
        (lambda t, m: m["layers"][0]["convolution"].pop("stride"), "one too many"),
        (lambda t, m: sizes(m, kernel=[2, 3]), "one too many"),
        (lambda t, m: sizes(m, stride=1), "one too many"),
        (lambda t, m: sizes(m, stride=[1]), "one too many"),
        (lambda t, m: sizes(m, stride=[1, 2.0]), "one too many"),
        (lambda t, m: sizes(m, stride=[1, True]), "one too many"),
        (lambda t, m: sizes(m, stride=[1, [2]]), "one too many"),
        (lambda t, m: sizes(m, stride=["x" * 10_000, 1]), "one too many"),
        (lambda t, m: sizes(m, padding=[-1, 0]), "one too many"),
        (lambda t, m: sizes(m, input_shape=[2, 4, 10**4000]), "one too many"),
        (lambda t, m: sizes(m, stride=[0, 1]), "is no convolution"),
        (lambda t, m: sizes(m, padding=[2, 0]), "padding is"),
        (lambda t, m: sizes(m, input_shape=[1, 4, 5]), r"the weights of a convolution of \[1, 4, 5\] have shape \[3, 2, 2, 3\]"),
        (lambda t, m: sizes(m, input_shape=[2, 4, 2]), "does not fit into 4 x 2"),
        (lambda t, m: sizes(m, input_shape=[2, 2**31, 2**31]), "the tensors of layer 0 have shapes"),
        (lambda t, m: sizes(m, stride=[1, 1]), "the tensors of layer 0 have shapes"),
        (lambda t, m: m["layers"][1].update(convolution=m["layers"][0]["convolution"]), r"a convolution have shape \[2, 30\]"),
        (lambda t, m: t.update({"layers.0.weight": np.zeros((3, 2, 2, 0), np.int8)}), "is no convolution"),
        (lambda t, m: t.update({"layers.0.weight": t["layers.0.weight"].reshape(3, 12)}), r"a convolution have shape \[3, 12\]"),
        (lambda t, m: t.update({"layers.0.weight": t["layers.0.weight"][None]}), r"a convolution have shape \[1, 3, 2, 2, 3\]"),
        (lambda t, m: t.update({"layers.0.vth": np.zeros(3, np.int32)}), "the tensors of layer 0 have shapes"),
        (lambda t, m: t.update({"layers.0.bias_mant": np.zeros((3, 5, 2), np.int16)}), "the tensors of layer 0 have shapes"),
    ],
)
def test_files_that_lie_consistently(tmp_path, spoil, message):
    tensors, meta = convolution_parts(small())
    spoil(tensors, meta)
    assert_refused(tmp_path / "n", tensors, meta, message)


def test_few_neurons_of_an_endless_input_are_refused(tmp_path):
    """One weight that looks at a corner of 2^62 inputs: nothing may ever be allocated by that number."""
    geometry = Convolution((1, 2**31, 2**31), 1, (1, 1), (2**31, 2**31))
    tensors, meta = convolution_parts(small())
    tensors |= {"layers.0.weight": np.ones((1, 1, 1, 1), np.int8), "layers.0.vth": np.ones(1, np.int32)}
    tensors |= {"layers.0.bias_mant": np.ones(1, np.int16), "layers.1.weight": np.ones((2, 1), np.int8)}
    sizes(meta, input_shape=list(geometry.input_shape), stride=list(geometry.stride), padding=[0, 0])
    meta["input_shape"] = list(geometry.input_shape)
    write_signed(tmp_path / "n", tensors, meta)
    with pytest.raises(InputError, match="sees 4611686018427387904 inputs: give it at most 268435456"):
        load(tmp_path / "n")


def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path):
    path, network = tmp_path / "n", small()
    save(path, network)
    content = path.read_bytes()
    refused = 0
    positions = range(0, 8 * len(content), 3)
    for position in positions:
        damaged = bytearray(content)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        found = outcome(path)
        assert found is None or same_geometry(found, network), f"bit {position}"
        refused += found is None
    assert refused > len(positions) - 50
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert outcome(path) is None


def test_random_geometries_in_files_are_networks_or_refused(tmp_path):
    """Whatever numbers stand there, with a checksum that is right: a network that runs, or one line."""
    rng, network = np.random.default_rng(0), small()
    found = set()
    for _ in range(300):
        tensors, meta = convolution_parts(network)
        name = str(rng.choice(["input_shape", "stride", "padding"]))
        values = meta["layers"][0]["convolution"][name]
        values[rng.integers(len(values))] = int(rng.choice([0, 1, 2, 3, 4, 5, 7, 2**31, 2**31 + 1, -1]))
        write_signed(tmp_path / "n", tensors, meta)
        result = outcome(tmp_path / "n")
        found.add(result is None)
        if result is not None:
            Simulator(result).run(np.ones((result.num_steps, 1, result.sizes[0]), np.uint8))
    assert found == {True, False}
