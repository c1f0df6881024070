"""Spikes in maps, and what a network makes of them."""

import torch

from polystep_snn.snn.readouts import SpikeCountReadout

SHAPE = (2, 8, 8)


def frames(seed=1, num_steps=40, samples=6, shape=SHAPE, rate=0.3):
    return (torch.rand(num_steps, samples, *shape, generator=torch.Generator().manual_seed(seed)) < rate).double()


def hidden_spikes(network, x):
    """``[T, B, N]`` of every hidden layer."""
    state, steps = network.initial_state(x.shape[1]), []
    for frame in x:
        z, state = network.step(frame.flatten(1), state)
        steps.append(z)
    return [torch.stack(layer) for layer in zip(*steps, strict=True)]


def assert_same_spikes(network, x, expected):
    """``expected``: spikes of every layer, the last one's too if it fires, or else its membranes."""
    *hidden, last = expected
    for found, train in zip(hidden_spikes(network, x), hidden, strict=True):
        assert 0.02 < train.double().mean() < 0.9
        assert torch.equal(found, train.flatten(2).to(found))
    output = network(x)[0]
    if isinstance(network.readout, SpikeCountReadout):
        assert 0.02 < last.double().mean() < 0.9
        assert torch.equal(output, last.sum(0).to(output))
    else:
        assert output.std() > 0.1
        assert torch.allclose(output, last[-1], atol=1e-9)
