"""Convolutions in Lava: every spike, current and membrane is the simulator's, through this project's model and through Lava's own."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.lava.worker_process import LavaWorker
from polystep_snn.hardware.learning_rule import Learner, LearningRule
from polystep_snn.hardware.network_file import save
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.test_convolution import assert_recorded, convolutional, layer_of, random_convolutional
from tests.hardware.test_simulator import dense, make_network


@pytest.fixture(scope="module")
def worker(lava_python):
    with_lava = LavaWorker()
    yield with_lava
    with_lava.close()


def assert_equal_in_lava(worker, network, spikes):
    expected = Simulator(network).record(spikes)
    backend = LavaBackend(network, worker=worker)
    found = backend.record(spikes)
    assert_recorded(found, expected.layers)
    assert np.array_equal(found.values, expected.values)
    return expected


@pytest.mark.parametrize("seed", range(24))
def test_random_networks(worker, seed):
    """One to three convolutions of any stride and padding in front of a dense readout."""
    du, dv = ((0, 1000, 4095)[seed % 3], (0, 128, 4095)[seed // 3 % 3])
    network, spikes = random_convolutional(100 + seed, 1 + seed % 3, readout=("membrane", "count")[seed % 2], du=du, dv=dv)
    expected = assert_equal_in_lava(worker, network, spikes)
    assert np.array_equal(LavaBackend(network, worker=worker).run(spikes), expected.values)


WEIGHTS = {"both signs": np.arange(-128, 128), "positive": np.arange(256) // 2, "negative": -1 - np.arange(256) // 2}


@pytest.mark.parametrize("kind", WEIGHTS)
def test_every_weight_there_is(worker, kind):
    """No lowest bit is lost, whatever the signs; a stride and a padding that differ down and across."""
    rng = np.random.default_rng(0)
    geometry = Convolution((1, 17, 19), 2, (16, 8), (1, 3), (7, 2)).checked()
    weight = rng.permutation(WEIGHTS[kind]).reshape(geometry.weight_shape).astype(np.int8)
    spikes = (rng.random((4, 2, geometry.num_inputs)) < 0.3).astype(np.uint8)
    expected = assert_equal_in_lava(worker, make_network([replace(layer_of(geometry, rng), weight=weight)], 4), spikes)
    sums = expected.layers[0].u // 64
    assert len(np.unique(sums)) > 100
    assert 0.3 < np.mean(sums % 2) < 0.7


def test_a_convolution_as_the_readout_and_one_behind_a_dense_layer(worker):
    rng = np.random.default_rng(1)
    middle, last = Convolution((2, 4, 3), 3, (3, 2), (1, 1), (1, 1)), Convolution((3, 4, 4), 2, (4, 3), (4, 1))
    first = dense(rng.integers(-60, 60, (24, 9)), vth=50)
    network = make_network([first, layer_of(middle, rng), layer_of(last, rng)], 6, "count")
    assert network.sizes == [9, 24, 48, 4]
    expected = assert_equal_in_lava(worker, network, (rng.random((6, 3, 9)) < 0.5).astype(np.uint8))
    assert len(np.unique(expected.values)) > 1


def test_strides_that_lavas_variables_do_not_hold(worker):
    geometry = Convolution((1, 2, 140), 2, (1, 11), (1, 129))
    network = make_network([layer_of(geometry, np.random.default_rng(0))], 3)
    assert geometry.output_shape == (2, 2, 2)
    assert_equal_in_lava(worker, network, np.random.default_rng(1).random((3, 2, 280)) < 0.5)


def test_a_network_for_images(worker):
    """28 x 28, 12 channels of 5 x 5, sums over 2 x 2 merged into 24 channels of 5 x 5, ten classes."""
    rng = np.random.default_rng(0)
    geometries = [Convolution((1, 28, 28), 12, (5, 5)), Convolution((12, 24, 24), 24, (10, 10), (2, 2))]
    network, _ = convolutional(geometries, rng, num_classes=10, num_steps=10, dv=128)
    spikes = (rng.random((10, 3, 784)) < 0.1).astype(np.uint8)
    expected = assert_equal_in_lava(worker, network, spikes)
    assert all(0.02 < layer.z.mean() < 0.6 for layer in expected.layers[:2])


STOCK = """
import sys
import numpy as np
from lava.proc.conv.process import Conv
from polystep_snn.hardware.lava import graph
from polystep_snn.hardware.lava.convolution import process
from polystep_snn.hardware.network_file import load
from polystep_snn.hardware.simulator import Simulator
network = load(sys.argv[1])
spikes = np.load(sys.argv[2])
expected = Simulator(network).record(spikes)
stock = []
process.Convolution = lambda **options: stock.append(Conv(**options)) or stock[-1]
built = graph.Graph(network, np.packbits(spikes, -1).swapaxes(0, 1).reshape(-1, -(-spikes.shape[2] // 8)), record=True)
built.run(lambda step: None)
for k, layer in enumerate(expected.layers):
    for name, want in zip("zuv", layer):
        got = built.arrays[f"{name}{k}"].reshape(spikes.shape[1], spikes.shape[0], -1).swapaxes(0, 1)
        print(k, name, int((got != want).sum()), want.size)
print(*{model.__name__ for model in (p.model_class for p in stock)}, len(stock))
"""


def test_lavas_own_model_computes_the_same(lava_python, tmp_path):
    """scipy's convolutions instead of our product: as slow as it is, it says what is right."""
    network, spikes = random_convolutional(4, 2, du=1000, dv=128)
    assert any(layer.convolution and max(layer.convolution.padding) > 0 for layer in network.layers)
    assert any(layer.convolution and max(layer.convolution.stride) > 1 for layer in network.layers)
    save(tmp_path / "network", network)
    np.save(tmp_path / "spikes.npy", spikes)
    command = [str(lava_python), "-I", "-c", STOCK, str(tmp_path / "network"), str(tmp_path / "spikes.npy")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *lines, models = (line.split() for line in done.stdout.splitlines())
    assert models == ["PyConvModelFixed", "2"]
    assert [line[:3] for line in lines] == [[str(k), name, "0"] for k in range(3) for name in "zuv"]
    assert [int(line[3]) for line in lines[::3]] == [spikes.shape[0] * spikes.shape[1] * n for n in network.sizes[1:]]


def test_convolutions_do_not_learn_on_the_chip():
    network, _ = random_convolutional(0, 1)
    readout = replace(network.layers[-1], vth=np.full(3, 2**17 - 1, np.int32), du=4095, dv=0)
    network = replace(network, layers=(network.layers[0], readout))
    with pytest.raises(InputError, match="layer 0 is a convolution, but networks that learn on the chip are dense") as error:
        Learner(network, LearningRule(), 10)
    assert "\n" not in str(error.value)
