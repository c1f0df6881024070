"""Recurrent and delayed layers: Lava computes what the simulator computes, and no sample hears of the one before it."""

import subprocess
from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.hardware.integer_network import READOUTS
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.network_file import save
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.lava.lava_worker import worker  # noqa: F401 (fixtures)
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory
from tests.hardware.test_memory import NEVER, assert_same_recordings
from tests.hardware.test_simulator import dense, make_network


@pytest.mark.slow
@pytest.mark.parametrize("memory", MEMORIES)
def test_every_spike_current_and_membrane_of_random_networks(worker, memory):
    """40 of a kind, 120 in all: 1 to 3 layers, four samples each through one graph."""
    fired = 0
    for seed in range(40):
        network, spikes = random_with_memory(memory, seed, num_samples=4)
        expected = Simulator(network).record(spikes)
        assert_same_recordings(LavaBackend(network, worker=worker).record(spikes), expected)
        fired += sum(int(layer.z.sum()) for layer in expected.layers)
    assert fired > 10_000


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("memory", MEMORIES)
def test_two_samples_are_two_fresh_runs(worker, memory, readout):
    """Both end in spikes at every input, so that much is on its way when the second begins; the second alone begins with silence."""
    network, spikes = random_with_memory(memory, 2, num_samples=2, num_steps=12, longest=11)
    network = replace(network, readout=readout)
    spikes[-4:], spikes[:6, 1] = 1, 0
    backend = LavaBackend(network, worker=worker)
    together = backend.record(spikes)
    values = backend.run(spikes)
    for b in range(2):
        alone = backend.record(spikes[:, b : b + 1])
        for one, other in zip(together.layers, alone.layers, strict=True):
            for name in "zuv":
                assert np.array_equal(getattr(one, name)[:, b], getattr(other, name)[:, 0])
        assert np.array_equal(values[b], alone.values[0])


@pytest.mark.parametrize("num_steps", [1, 2, 5])
def test_short_samples(worker, num_steps):
    """In samples of a step nothing that was held back ever arrives."""
    rng = np.random.default_rng(num_steps)
    delays = rng.integers(0, num_steps, 6).astype(np.uint8)
    first = replace(dense(rng.integers(-50, 90, (7, 6)), vth=30), recurrent=rng.integers(-90, 90, (7, 7)).astype(np.int8), delays=delays)
    last = replace(dense(rng.integers(-50, 90, (3, 7)), vth=NEVER, dv=100), recurrent=rng.integers(-9, 9, (3, 3)).astype(np.int8))
    network = make_network([first, last], num_steps)
    spikes = (rng.random((num_steps, 9, 6)) < 0.6).astype(np.uint8)
    assert_same_recordings(LavaBackend(network, worker=worker).record(spikes), Simulator(network).record(spikes))


def test_the_longest_delay_and_the_largest_weights(worker):
    """62 steps, -128 and 127, every exponent's sum; a weight of both signs and matrices of one."""
    delays = np.array([62, 0, 61, 1], np.uint8)
    for weight in ([[-128, 127, -1, 1]] * 2, [[127, 3, 1, 0]] * 2, [[-128, -3, -1, 0]] * 2):
        layer = replace(dense(weight, vth=700, dv=64, weight_exp=3), delays=delays, recurrent=np.array([[-128, 127], [1, 0]], np.int8))
        network = make_network([layer], 80)
        spikes = (np.random.default_rng(0).random((80, 2, 4)) < 0.5).astype(np.uint8)
        assert_same_recordings(LavaBackend(network, worker=worker).record(spikes), Simulator(network).record(spikes))


STOCK = """
import sys
import numpy as np
from lava.proc.dense.process import DelayDense, Dense
from polystep_snn.hardware.lava import graph
from polystep_snn.hardware.network_file import load
from polystep_snn.hardware.simulator import Simulator
def stock(process):
    def make(num_steps, first_step, **options):
        if "delays" in options:
            options["delays"] = np.broadcast_to(options["delays"].astype(int), options["weights"].shape).copy()
        made.append(process(**options))
        return made[-1]
    return make
made = []
graph.AxonalDelayDense, graph.RecurrentDense = stock(DelayDense), stock(Dense)
network, spikes = load(sys.argv[1]), np.load(sys.argv[2])
rows = np.packbits(spikes, -1).swapaxes(0, 1).reshape(-1, -(-spikes.shape[2] // 8))
built = graph.Graph(network, rows, record=True)
built.run(lambda step: None)
for k, layer in enumerate(Simulator(network).record(spikes).layers):
    for name, want in zip("zuv", layer):
        got = built.arrays[f"{name}{k}"].reshape(spikes.shape[1], spikes.shape[0], -1).swapaxes(0, 1)
        for b in range(spikes.shape[1]):
            print(k, name, b, int((got[:, b] != want[:, b]).sum()))
print(*sorted(p.model_class.__name__ for p in made))
"""


def test_lavas_own_synapses_compute_the_same_and_leak(lava_python, tmp_path):
    """Stock Dense and DelayDense: equal in the first sample of a stream; in the second one not, which is why ours clear what is left."""
    network, spikes = random_with_memory("both", 2, num_samples=2, num_steps=12, longest=11)
    spikes[-4:] = 1
    save(tmp_path / "n", network)
    np.save(tmp_path / "spikes.npy", spikes)
    command = [lava_python, "-c", STOCK, tmp_path / "n", tmp_path / "spikes.npy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *counts, models = done.stdout.splitlines()
    assert set(models.split()) == {"PyDelayDenseModelBitAcc", "PyDenseModelBitAcc"}
    different = {tuple(line.split()[:3]): int(line.split()[3]) for line in counts}
    assert all(count == 0 for (_, _, sample), count in different.items() if sample == "0")
    assert any(count > 0 for (_, _, sample), count in different.items() if sample == "1")
