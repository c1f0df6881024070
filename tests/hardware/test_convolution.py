"""Convolutions of the chip: neuron by neuron, as matrices, in files, and by hand."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware import core_layout, products, simulator
from polystep_snn.hardware.chip import LOIHI_2, Chip, Limit, preflight, register_bounds
from polystep_snn.hardware.integer_network import IntegerLayer
from polystep_snn.hardware.simulator import Simulator, largest_input
from tests.hardware.test_simulator import dense, make_network
from tests.reference.naive_chip import naive_run, naive_weights


def layer_of(geometry, rng, du=4095, dv=0, low=-128, high=128, pool=1):
    """A convolution in which every neuron has its own threshold and bias, and the kernel each weight ``pool`` x ``pool`` times."""
    n = geometry.num_neurons
    shape = (*geometry.weight_shape[:2], geometry.kernel[0] // pool, geometry.kernel[1] // pool)
    weight = rng.integers(low, high, shape).astype(np.int8).repeat(pool, 2).repeat(pool, 3)
    vth = rng.integers(0, 400, n).astype(np.int32)
    bias = rng.integers(-300, 300, n).astype(np.int16)
    return IntegerLayer(weight, vth, bias, int(rng.integers(4)), du, dv, 0.01, geometry)


def convolutional(geometries, rng, num_classes=3, num_steps=6, readout="membrane", pool=1, **constants):
    """A chain of convolutions and a dense readout, with an input for them."""
    layers = [layer_of(geometry, rng, pool=pool, **constants) for geometry in geometries]
    weight = rng.integers(-128, 128, (num_classes, geometries[-1].num_neurons))
    network = make_network([*layers, dense(weight, vth=300, du=1000, dv=128)], num_steps, readout)
    spikes = (rng.random((num_steps, 2, geometries[0].num_inputs)) < 0.4).astype(np.uint8)
    return replace(network, input_shape=geometries[0].input_shape), spikes


def random_geometry(rng, input_shape, largest=4):
    """Any kernel, stride and padding that have neurons."""
    while True:
        kernel, stride = (tuple(rng.integers(1, largest, 2).tolist()) for _ in range(2))
        padding = tuple(int(rng.integers(k)) for k in kernel)
        geometry = Convolution(input_shape, int(rng.integers(1, 4)), kernel, stride, padding)
        if min(geometry.output_shape) > 0:
            return geometry.checked()


def random_convolutional(seed, num_layers=2, **options):
    rng = np.random.default_rng(seed)
    shape, geometries = tuple(rng.integers(1, 7, 3).tolist()), []
    for _ in range(num_layers):
        geometries.append(random_geometry(rng, shape))
        shape = geometries[-1].output_shape
    return convolutional(geometries, rng, **options)


def as_matrices(network):
    layers = [replace(layer, weight=layer.dense_weight(), convolution=None) for layer in network.layers]
    return replace(network, layers=tuple(layers))


def assert_recorded(found, expected):
    for k, layer in enumerate(expected):
        for name, want in zip("zuv", layer, strict=True):
            got = getattr(found.layers[k], name)
            assert got.dtype == (np.bool_ if name == "z" else np.int32)
            assert np.array_equal(got, want), f"{name} of layer {k}"


# The simulator ---------------------------------------------------------------------------------------------------------------------


def test_a_convolution_by_hand():
    """3 x 3 inputs, padded by a row and a column, under a kernel of 2 x 2 that moves by 2."""
    geometry = Convolution((1, 3, 3), 1, (2, 2), (2, 2), (1, 1))
    layer = IntegerLayer(
        np.array([[[[1, 10], [100, -100]]]], np.int8), np.full(4, 2**17 - 1, np.int32), np.zeros(4, np.int16), convolution=geometry
    )
    assert layer.dense_weight().tolist() == [
        [-100, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 100, -100, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 10, 0, 0, -100, 0, 0],
        [0, 0, 0, 0, 1, 10, 0, 100, -100],
    ]
    assert [sums.tolist() for sums in layer.input_sums()] == [[-100, -100, -100, -100], [0, 100, 10, 111]]
    network = make_network([layer])
    found = Simulator(network).record(np.array([[[0, 1, 0, 1, 1, 0, 0, 1, 0]]], np.uint8))
    assert (found.layers[0].u.ravel() // 64).tolist() == [0, 100, 10, 101]
    assert found.values.tolist() == [[0, 6400, 640, 6464]]


STRIDES, PADDINGS = list(product((1, 2, 3), (1, 2))), list(product((0, 1, 2), (0, 1, 3)))


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("padding", PADDINGS)
def test_every_stride_and_padding(stride, padding):
    """Spikes, currents and membranes, neuron by neuron in Python's integers, and as matrices."""
    rng = np.random.default_rng([*stride, *padding])
    first = Convolution((2, 6, 5), 3, (3, 4), stride, padding)
    second = random_geometry(rng, first.checked().output_shape)
    network, spikes = convolutional([first, second], rng, du=1000, dv=128)
    expected, values = naive_run(network, spikes)
    found = Simulator(network).record(spikes)
    assert_recorded(found, expected)
    assert np.array_equal(found.values, values)
    assert expected[0][0].sum() > 0
    for layer in network.layers:
        assert layer.dense_weight().tolist() == [naive_weights(layer, n) for n in range(layer.num_neurons)]
    assert_recorded(Simulator(as_matrices(network)).record(spikes), expected)


@pytest.mark.parametrize("seed", range(40))
def test_random_networks(seed):
    du, dv = ((0, 1000, 4095)[seed % 3], (0, 128, 4095)[seed // 3 % 3])
    network, spikes = random_convolutional(seed, 1 + seed % 3, readout=("membrane", "count")[seed % 2], du=du, dv=dv)
    expected, values = naive_run(network, spikes)
    assert_recorded(Simulator(network).record(spikes), expected)
    assert np.array_equal(Simulator(network).run(spikes.astype(np.bool_)), values)
    assert np.array_equal(Simulator(as_matrices(network)).run(spikes), values)


@pytest.mark.parametrize(("pool", "kernel", "stride", "padding"), [(2, 4, 2, 0), (2, 6, 4, 2), (3, 6, 3, 3), (2, 8, 4, 4), (1, 4, 2, 2)])
@pytest.mark.parametrize("size", [(8, 8), (9, 11)])
def test_kernels_that_repeat_their_weights(pool, kernel, stride, padding, size):
    """Sums over squares first, for fewer taps: found out from the weights, and the same numbers."""
    rng = np.random.default_rng(kernel)
    geometry = Convolution((2, *size), 3, (kernel, kernel), (stride, stride), (padding, padding)).checked()
    network, spikes = convolutional([geometry], rng, pool=pool)
    assert products._pooled(network.layers[0].weight, geometry) == pool
    assert_recorded(Simulator(network).record(spikes), naive_run(network, spikes)[0])
    changed = network.layers[0].weight.copy()
    changed[-1, -1, -1, -1] ^= 1
    network = replace(network, layers=(replace(network.layers[0], weight=changed), network.layers[1]))
    assert products._pooled(changed, geometry) == 1
    assert_recorded(Simulator(network).record(spikes), naive_run(network, spikes)[0])


@pytest.mark.parametrize("block_bytes", [1, 700, 2**12])
def test_blocks_change_nothing(monkeypatch, block_bytes):
    network, _ = random_convolutional(5, 2)
    spikes = (np.random.default_rng(0).random((6, 23, network.sizes[0])) < 0.4).astype(np.uint8)
    whole = Simulator(network).record(spikes)
    monkeypatch.setattr(products, "_BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(simulator, "_BLOCK_BYTES", 40 * block_bytes)
    parts = Simulator(network).record(spikes)
    assert_recorded(parts, whole.layers)
    assert np.array_equal(parts.values, whole.values)
    assert np.array_equal(Simulator(network).run(spikes), whole.values)


def test_sums_of_every_neuron():
    """In closed form, those of the matrix: also where a kernel hangs over two borders at once."""
    for seed in range(60):
        rng = np.random.default_rng(seed)
        layer = layer_of(random_geometry(rng, tuple(rng.integers(1, 7, 3).tolist()), largest=8), rng)
        weight = layer.dense_weight().astype(int)
        negative, positive = layer.input_sums()
        assert np.array_equal(negative, np.minimum(weight, 0).sum(1))
        assert np.array_equal(positive, np.maximum(weight, 0).sum(1))
        assert largest_input(layer) == max(np.maximum(weight, 0).sum(1).max(), -np.minimum(weight, 0).sum(1).min())


def test_sums_beyond_lavas_bits_are_refused():
    """2^16 weights of -128 make -2^23, which 24 bits hold; in magnitude that is one too many here."""
    geometry = Convolution((256, 16, 16), 1, (16, 16))
    layer = IntegerLayer(np.full(geometry.weight_shape, -128, np.int8), np.zeros(1, np.int32), np.zeros(1, np.int16), convolution=geometry)
    with pytest.raises(InputError, match="layer 0: weights of one neuron sum to 8388608, and of a convolution's sums Lava keeps 24 bits"):
        Simulator(make_network([layer]))
    weight = layer.weight.copy()
    weight[0, 0, 0, 0] = -127
    network = make_network([replace(layer, weight=weight)])
    found = Simulator(network).record(np.ones((1, 1, 2**16), np.uint8))
    expected = Simulator(as_matrices(network)).record(np.ones((1, 1, 2**16), np.uint8))
    assert np.array_equal(found.layers[0].u, expected.layers[0].u)
    assert largest_input(network.layers[0]) == 2**23 - 1


# The preflight --------------------------------------------------------------------------------------------------------------------


def zeros(geometry, **constants):
    n = geometry.num_neurons
    return IntegerLayer(
        np.ones(geometry.weight_shape, np.int8), np.ones(n, np.int32), np.zeros(n, np.int16), convolution=geometry, **constants
    )


def counted(*geometries, chip=LOIHI_2):
    """Cores, fan-in and stored weights of each layer."""
    rows = preflight(make_network([zeros(geometry) for geometry in geometries]), chip).rows
    return [(row.cores, row.fan_in, row.synapses) for row in rows]


def test_a_network_by_hand():
    """6,912 neurons of 24 bytes and 300 weights fit a core of 192 KiB; of the second layer, three rows of 8 neurons see 14 of the 24
    rows of 12 x 24 inputs, 4,032 of the 4,096 that a core takes: three cores with all 28,800 weights each."""
    first, second = Convolution((1, 28, 28), 12, (5, 5)), Convolution((12, 24, 24), 24, (10, 10), (2, 2))
    assert counted(first, second) == [(1, 784, 300), (3, 12 * 14 * 24, 3 * 28_800)]
    report = preflight(make_network([zeros(first), zeros(second)]))
    assert [row.synapse_bytes for row in report.rows] == [300, 86_400]
    assert (report.neurons, report.synapses, report.cores) == (6912 + 1536, 86_700, 4)
    report.check()
    assert "no two layers share a core, and that a core stores one kernel for all the neurons of a channel" in report.table()
    assert "stores one kernel" not in preflight(make_network([dense([[1]])])).table()


@pytest.mark.parametrize(
    ("geometry", "chip", "expected"),
    [
        # 16 neurons a core: a quarter of the 8 x 8 places each, 4 x 4, which with 3 x 3 kernels see 6 x 6 inputs.
        (Convolution((1, 10, 10), 1, (3, 3)), Chip(neurons_per_core=Limit(16, "Intel"), fan_in=Limit(36, "Davies")), (4, 36, 36)),
        # Rows of 8 are allowed two at a time where 40 inputs reach a core.
        (Convolution((1, 10, 10), 1, (3, 3)), Chip(neurons_per_core=Limit(16, "Intel"), fan_in=Limit(40, "Davies")), (4, 40, 36)),
        # Nine weights a core: four channels go to four cores, each weight is stored once.
        (Convolution((1, 10, 10), 4, (3, 3)), Chip(synapse_memory_per_core=Limit(9, "Intel")), (4, 100, 36)),
        (Convolution((1, 10, 10), 4, (3, 3)), Chip(synapse_memory_per_core=Limit(18, "Intel")), (2, 100, 36)),
        # Two cores by channels store each weight once, by places twice.
        (Convolution((1, 10, 10), 4, (3, 3)), Chip(neurons_per_core=Limit(128, "Intel")), (2, 100, 36)),
        # One row of inputs is padding: 2 rows of neurons see 3 of 4 rows, all of them.
        (Convolution((1, 3, 4), 1, (2, 4), (1, 1), (1, 0)), LOIHI_2, (1, 12, 8)),
        (Convolution((1, 4, 1), 1, (3, 1), (3, 1), (1, 0)), Chip(neurons_per_core=Limit(1, "Intel")), (2, 2, 6)),
        # Memory for two neurons of 24 bytes beside four weights.
        (Convolution((1, 2, 4), 1, (2, 2)), Chip(memory_per_core=Limit(52, "Intel")), (2, 6, 8)),
    ],
)
def test_layouts_by_hand(geometry, chip, expected):
    assert counted(geometry, chip=chip) == [expected]


@pytest.mark.parametrize(
    ("chip", "message"),
    [
        (Chip(fan_in=Limit(8, "Davies", assumed=True)), r"layer 0 has 9 inputs, a core takes 8 \(assumed of Loihi 2\): use fewer inputs"),
        (Chip(synapse_memory_per_core=Limit(8, "Intel")), "layer 0: a neuron with 9 synapses does not fit a core's memory"),
        (Chip(memory_per_core=Limit(32, "Intel")), "layer 0: a neuron with 9 synapses does not fit a core's memory"),
        (Chip(synapses=Limit(8, "Intel")), "layer 0 brings the network to 9 synapses, a chip has 8"),
        (Chip(neurons_per_core=Limit(1, "Intel")), None),
        (Chip(neurons_per_core=Limit(1, "Intel"), cores=Limit(63, "Intel")), "layer 0 brings the network to 64 cores, a chip has 63"),
    ],
)
def test_what_does_not_fit(chip, message):
    report = preflight(make_network([zeros(Convolution((1, 10, 10), 1, (3, 3)))]), chip)
    if message is None:
        report.check()
        return
    with pytest.raises(InputError, match=message):
        report.check()


def test_inputs_of_neighbours_are_counted_right():
    """Against all windows, one by one."""
    for seed in range(40):
        geometry = random_geometry(np.random.default_rng(seed), (1, 9, 7), largest=9)
        seen = core_layout._seen(
            np.arange(1, geometry.output_shape[1] + 1),
            geometry.output_shape[1],
            9,
            geometry.kernel[0],
            geometry.stride[0],
            geometry.padding[0],
        )
        for count in range(1, geometry.output_shape[1] + 1):
            most = 0
            for start in range(geometry.output_shape[1] - count + 1):
                rows = set()
                for y in range(start, start + count):
                    rows |= {y * geometry.stride[0] + ky - geometry.padding[0] for ky in range(geometry.kernel[0])}
                low, high = max(0, min(rows)), min(8, max(rows))
                most = max(most, high - low + 1)
            assert seen[count - 1] == most


def test_bounds_are_those_of_the_matrix_and_hold():
    """Registers by each neuron's own weights, those at the borders included; no simulated one is larger."""
    for seed in range(20):
        network, spikes = random_convolutional(seed, 2, du=1000, dv=128)
        spikes[:, 0] = 1
        found = Simulator(network).record(spikes)
        for layer, plain, record in zip(network.layers, as_matrices(network).layers, found.layers, strict=True):
            bounds = register_bounds(layer, network.num_steps)
            assert bounds == register_bounds(plain, network.num_steps)
            assert np.abs(record.u).max() <= bounds[1]
            assert np.abs(record.v).max() <= bounds[2]


def test_registers_by_hand():
    """A corner sees one weight of the kernel, the middle all four: 64 * 10, never 64 * 13."""
    geometry = Convolution((1, 1, 1), 1, (2, 2), (1, 1), (1, 1))
    weight = np.array([[[[10, 1], [1, -1]]]], np.int8)
    layer = IntegerLayer(weight, np.full(4, 2**17 - 1, np.int32), np.zeros(4, np.int16), convolution=geometry)
    assert register_bounds(layer, 1) == (10, 640, 640)
    wider = replace(
        layer, convolution=geometry._replace(input_shape=(1, 2, 2)), vth=np.full(9, 1, np.int32), bias_mant=np.zeros(9, np.int16)
    )
    assert register_bounds(wider, 1) == (12, 64 * 12, 64 * 12)
