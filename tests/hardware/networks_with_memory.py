"""Random networks with recurrent weights, with delays, and with both."""

from dataclasses import replace
from itertools import pairwise

import numpy as np

from polystep_snn.hardware.integer_network import MAX_DELAY, READOUTS, IntegerLayer, IntegerNetwork
from tests.hardware.test_simulator import make_network

MEMORIES = ("recurrent", "delayed", "both")


def random_layer(rng, num_neurons, num_inputs, memory, longest, du=None, dv=None, reach=40):
    """Weights of both signs in a layer that neither falls silent nor fires in every step; each neuron with a threshold of its own."""
    return IntegerLayer(
        rng.integers(-reach, reach + 20, (num_neurons, num_inputs)).astype(np.int8),
        rng.integers(20, 150, num_neurons).astype(np.int32),
        rng.integers(-300, 300, num_neurons).astype(np.int16),
        int(rng.integers(3)),
        int(rng.choice([0, 1000, 2047, 4095])) if du is None else du,
        int(rng.choice([0, 128, 2000, 4095])) if dv is None else dv,
        weight_exp=int(rng.integers(2)),
        recurrent=rng.integers(-60, 61, (num_neurons, num_neurons)).astype(np.int8) if memory in ("recurrent", "both") else None,
        delays=rng.integers(0, longest + 1, num_inputs).astype(np.uint8) if memory in ("delayed", "both") else None,
    )


def random_with_memory(memory, seed, num_samples=3, num_steps=None, longest=None):
    """1 to 3 layers, of which at least one has what ``memory`` says, and spikes ``[T, B, M]`` for them, many at the end of a sample."""
    rng = np.random.default_rng([seed, MEMORIES.index(memory)])
    num_steps = num_steps or int(rng.integers(8, 40))
    sizes = rng.integers(2, 9, 1 + seed % 3 + 1).tolist()
    longest = longest or min(int(rng.choice([1, 3, num_steps - 1])), MAX_DELAY)
    kinds = [memory if rng.random() < 0.7 else None for _ in sizes[1:]]
    kinds[seed % len(kinds)] = memory
    layers = [random_layer(rng, n, m, kind, longest) for (m, n), kind in zip(pairwise(sizes), kinds, strict=True)]
    network = make_network(layers, num_steps, READOUTS[seed // 3 % 3])
    spikes = rng.random((num_steps, num_samples, sizes[0])) < rng.uniform(0.1, 0.8)
    spikes[-3:] |= rng.random((3, num_samples, sizes[0])) < 0.8
    return network, spikes.astype(np.uint8)


def without_memory(network: IntegerNetwork) -> IntegerNetwork:
    return replace(network, layers=tuple(replace(layer, recurrent=None, delays=None) for layer in network.layers))
