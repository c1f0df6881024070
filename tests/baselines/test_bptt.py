"""The baseline: the same forward pass, the surrogate's gradient by hand and by Norse, and training that works."""

import pytest
import torch
from torch.nn.functional import avg_pool2d

from polystep_snn import Conv, CrossEntropy, DirectCurrent, LIFParameters, MembraneReadout, PolyStep, SpikingNetwork, SumPool
from polystep_snn.baselines.bptt import SurrogateBPTT, fast_sigmoid, superspike
from polystep_snn.errors import InputError
from tests.reference import naive_memory, naive_over_time
from tests.spaces.node.test_one_pass import LIF, READOUTS, SIZES, SOFT, make_batch, make_network


def test_surrogates_by_hand():
    for fire, expected in ((fast_sigmoid, [1 / 6**2, 1.0, 1 / 26**2]), (superspike, [1 / 1.2**2, 1.0, 1 / 4.0])):
        x = torch.tensor([-0.2, 0.0, 1.0], dtype=torch.float64, requires_grad=True)
        z = fire(x)
        assert z.tolist() == [0, 0, 1]
        z.sum().backward()
        torch.testing.assert_close(x.grad, torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
@pytest.mark.parametrize("neuron", [LIF, SOFT], ids=["zero", "subtract"])
@pytest.mark.parametrize("depth", SIZES)
def test_the_forward_pass_is_the_networks(depth, neuron, readout):
    network = make_network(SIZES[depth], neuron, readout, seed=40)
    inputs, target = make_batch(num_steps=19, num_inputs=6, seed=40)
    bptt = SurrogateBPTT(network, cost=CrossEntropy(), compile=False).step(inputs, target)
    poly = PolyStep(network, cost=CrossEntropy(), compile=False).step(inputs, target)
    assert bptt.loss.item() == pytest.approx(poly.loss.item(), abs=1e-12)
    assert all(map(torch.equal, bptt.rates, poly.rates))


@pytest.mark.parametrize("maximum", [False, True], ids=["every step", "maximum"])
def test_decisions_over_time(maximum):
    """The cost is that of node space, and the readout's gradient is that of its definition."""
    readout = MembraneReadout(0.9, maximum=maximum)
    network = make_network(SIZES[2], LIF, readout, seed=42)
    inputs, target = make_batch(num_steps=19, num_inputs=6, seed=42)
    poly = PolyStep(network, cost=CrossEntropy(), compile=False, every_step=not maximum).step(inputs, target)
    bptt = SurrogateBPTT(network, cost=CrossEntropy(), compile=False, every_step=not maximum).step(inputs, target)
    assert bptt.loss.item() == pytest.approx(poly.loss.item(), abs=1e-12)
    found = network.weights[-1].grad.clone()
    _, received, _ = naive_memory.run(network.requires_grad_(False), inputs)
    windows = torch.eye(19, dtype=torch.float64)
    slopes = naive_over_time.slopes(network, received[-1], CrossEntropy(), target, not maximum, windows)
    expected = torch.einsum("mcb,mbn->cn", slopes, received[-1]) / len(target)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 1e-6


@pytest.mark.parametrize("architecture", [SIZES[2], [(1, 5, 5), Conv(2, 2), SumPool(2), Conv(3, 2), 3]], ids=["dense", "maps"])
@pytest.mark.parametrize("readout", READOUTS.values(), ids=READOUTS)
def test_the_gradient_is_autograds_through_the_plain_network(readout, architecture):
    """The same derivative from the network's own step-by-step forward pass, with the surrogate put into its threshold."""
    from polystep_snn.snn import neurons

    network = make_network(architecture, LIF, readout, seed=41)
    inputs, target = make_batch(num_steps=19, num_inputs=network.sizes[0], seed=41)
    SurrogateBPTT(network, cost=CrossEntropy(), compile=False).step(inputs, target)
    found = [p.grad.clone() for p in network.parameters()]
    states = network.initial_state(7)
    hidden, output = list(states.hidden), states.readout
    for x in inputs:
        for k, p in enumerate(network.neurons):
            x, hidden[k] = neurons.lif_step(_current(network, k, x), hidden[k], p, fast_sigmoid)
        current = _current(network, -1, x)
        if output.neurons is None:
            output = network.readout.step(current, output)
        else:
            z, after = neurons.lif_step(current, output.neurons, network.readout.neuron, fast_sigmoid)
            output = type(output)(output.total + z, after)
    network.zero_grad()
    CrossEntropy()(network.readout.value(output).T, target).mean().backward()
    for p, expected in zip(network.parameters(), found, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=0, atol=1e-12)
        assert expected.abs().max() > 1e-6


def _current(network, k, x):
    """By torch's own modules, on maps where there are any."""
    wiring, linear = network.wirings[k], network.linears[k]
    if wiring.pool is not None:
        x = avg_pool2d(x.view(-1, *wiring.pool.shape), wiring.pool.size) * wiring.pool.size**2
    x = x.flatten(1) if wiring.convolution is None else x.reshape(-1, *wiring.convolution.input_shape)
    return linear(x).flatten(1)


def test_it_learns():
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([10, 16, 2], LIFParameters(v_th=0.5), generator=generator)
    target = torch.randint(2, (64,), generator=generator)
    image = torch.zeros(64, 10)
    image[torch.arange(64), target * 5 + torch.randint(5, (64,), generator=generator)] = 1.0
    step = SurrogateBPTT(network, "superspike", compile=False)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(100):
        result = step.step(DirectCurrent(10)(image), target)
        optimizer.step()
    assert result.accuracy == 1


def test_a_state_of_something_else_is_no_state():
    step = SurrogateBPTT(SpikingNetwork([3, 2, 2]), compile=False)
    step.load_state_dict(step.state_dict())
    with pytest.raises(InputError, match="has no state, but this one holds generator"):
        step.load_state_dict({"generator": torch.zeros(1)})


def test_an_unknown_surrogate():
    with pytest.raises(InputError, match="choose one of fast_sigmoid, superspike"):
        SurrogateBPTT(SpikingNetwork([3, 2, 2]), "cosine")
