"""Firing-rate targets: what a probe adds to the cost is the change of the term, computed anew with the neuron's spikes under the probe."""

import pytest
import torch

from polystep_snn import CrossEntropy, InputError, LIFParameters, MembraneReadout, NodeSpace, PolyStep, RateTarget, SpikeCountReadout
from polystep_snn.spaces.node.costs import settle
from polystep_snn.spaces.node.one_pass import run_probes
from tests.reference import naive_nodes
from tests.spaces.node.test_one_pass import EAGER, make_batch, make_network, make_probes


def spikes_of(network, inputs, layer, shift):
    """Spikes ``[T, B]`` of a neuron of a layer under a shift ``(neuron, [T])``."""
    received = naive_nodes.presynaptic(network, inputs)[layer]
    weight, bias = naive_nodes.matrix(network, layer)
    neuron, amounts = shift
    state, out = (torch.zeros(inputs.shape[1], dtype=inputs.dtype),) * 2, []
    for x, amount in zip(received, amounts, strict=True):
        z, state = naive_nodes.lif(x @ weight[neuron] + bias[neuron] + amount, state, network.neurons[layer])
        out.append(z)
    return torch.stack(out)


@pytest.mark.parametrize("readout", [MembraneReadout(), SpikeCountReadout(residual=0.5)], ids=["membrane", "count"])
def test_a_probe_costs_what_it_changes_in_the_term(readout):
    network = make_network([6, 5, 4, 3], LIFParameters(), readout, seed=1)
    inputs, target = make_batch(num_steps=11, num_inputs=6, seed=1)
    probes, term = make_probes(network, 11, num_windows=2, radii=(0.8,), num_probed=3), RateTarget(0.2, 40.0)
    done = run_probes(network, network.layers(), inputs, target, CrossEntropy(), probes, EAGER)
    plain, priced = settle(done, target, CrossEntropy()), settle(done, target, CrossEntropy(), term)
    assert torch.equal(plain.layers[-1].cost, priced.layers[-1].cost)
    batch = len(target)
    for layer in range(2):
        offsets, windows, neurons = probes[layer]
        more = priced.layers[layer].cost - plain.layers[layer].cost
        assert more.abs().max() > 0.1
        for k, j in enumerate(neurons.tolist()):
            before = spikes_of(network, inputs, layer, (j, torch.zeros(11).double()))
            for v, offset in enumerate(offsets):
                after = spikes_of(network, inputs, layer, (j, windows @ offset))
                for b in range(batch):
                    mixed = before.clone()
                    mixed[:, b] = after[:, b]
                    change = 40.0 * ((mixed.mean() - 0.2) ** 2 - (before.mean() - 0.2) ** 2)
                    torch.testing.assert_close(more[v, k, b], batch * change, rtol=0, atol=1e-9)


def test_neurons_are_drawn_to_the_target():
    network = make_network([6, 12, 3], LIFParameters(), MembraneReadout(), seed=2).float()
    inputs, target = make_batch(num_steps=10, num_inputs=6, seed=2, batch=32)
    step = PolyStep(network, NodeSpace(radius=0.5), compile=False, rate_target=RateTarget(0.3, 300.0))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.03)
    distances = []
    for _ in range(60):
        rates = step.step(inputs.float(), target).rates[0]
        distances.append((rates - 0.3).abs().mean().item())
        optimizer.step()
    assert distances[-1] < 0.4 * distances[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RateTarget(1.5, 1.0), "the target rate is 1.5"),
        (lambda: RateTarget(0.1, float("nan")), "the weight of the target rate is nan"),
        (
            lambda: PolyStep(make_network([4, 3, 2], LIFParameters(), MembraneReadout(0.9), 0), rate_target=RateTarget(0.1, 1.0)),
            "choose a readout without a leak",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(InputError, match=message):
        make()
