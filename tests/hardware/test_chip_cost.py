"""What an inference costs: against counting synapse by synapse, and by hand."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.chip_cost import CostMeter
from polystep_snn.hardware.energy import LOIHI_1, SOURCES
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory
from tests.hardware.test_convolution import random_convolutional
from tests.hardware.test_simulator import dense, make_network, random_network
from tests.reference.naive_cost import naive_cost


def with_zeros(network, seed):
    """A third of all weights is 0."""
    rng = np.random.default_rng(seed)

    def thinned(x):
        return None if x is None else np.where(rng.random(x.shape) < 1 / 3, 0, x).astype(np.int8)

    return replace(network, layers=tuple(replace(x, weight=thinned(x.weight), recurrent=thinned(x.recurrent)) for x in network.layers))


def assert_counted(network, spikes):
    meter = CostMeter(network)
    values = meter.run(spikes)
    assert np.array_equal(values, Simulator(network).run(spikes))
    cost, samples = meter.cost(), spikes.shape[1]
    expected, busy = naive_cost(network, spikes)
    for layer, counts, row in zip(cost.layers, expected, meter.report.rows, strict=True):
        assert layer.dense_operations * samples == counts["dense"]
        assert layer.synaptic_operations == pytest.approx(counts["effective"] / samples, rel=1e-12)
        assert layer.active_updates == pytest.approx(counts["active"] / samples, rel=1e-12)
        assert layer.arrived == pytest.approx(counts["arrived"] / samples, rel=1e-12)
        assert layer.spikes == pytest.approx(counts["spikes"] / samples, rel=1e-12)
        assert layer.neuron_updates == network.num_steps * row.neurons
        assert layer.dense_operations == network.num_steps * layer.synapses
    # The slowest layer of every step, on cores that share its work.
    ns = 0.0
    for step in busy.reshape(-1, *busy.shape[2:]):
        ns += max(
            (3.5 * ops + 8.4 * active + 5.3 * (row.neurons - active)) / row.cores
            for (ops, active), row in zip(step.tolist(), meter.report.rows, strict=True)
        )
    barrier = 113 + (465 - 113) * ((meter.report.cores + 3) // 4 - 1) / 31
    assert cost.latency_ms * 1e6 == pytest.approx(ns / samples + barrier * (network.num_steps + len(network.layers)), rel=1e-9)
    return cost, expected


@pytest.mark.parametrize("seed", range(6))
def test_dense_layers(seed):
    network, spikes = random_network("mixed", 1000, 128, seed)
    assert_counted(with_zeros(network, seed), spikes)


@pytest.mark.parametrize("seed", range(8))
def test_convolutions(seed):
    network, spikes = random_convolutional(seed)
    cost, expected = assert_counted(replace(with_zeros(network, seed), encoder="rate"), spikes)
    assert cost.multiply_accumulates == sum(x.synapses for x in cost.layers)
    assert sum(x["effective"] for x in expected) > 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("memory", MEMORIES)
def test_recurrent_weights_and_delays(memory, seed):
    network, spikes = random_with_memory(memory, seed)
    cost, _ = assert_counted(replace(with_zeros(network, seed), encoder="rate"), spikes)
    assert cost.multiply_accumulates == network.num_steps * sum(x.synapses for x in cost.layers)


def test_by_hand():
    """3 inputs, 2 neurons of which each takes 10 to fire, a readout of 2 that never does; 2 steps."""
    network = make_network([dense([[11, 0, 5], [11, -3, 5]], vth=10), dense([[1, 0], [0, 0]], vth=2**17 - 1)], 2, encoder="rate")
    spikes = np.zeros((2, 1, 3), np.uint8)
    spikes[0, 0] = 1, 1, 0
    cost_of = CostMeter(network)
    cost_of.run(spikes)
    cost = cost_of.cost()
    hidden, readout = cost.layers
    # Neuron 0 gets 11 and fires in the first step; neuron 1 gets 8 and does not.
    assert (hidden.arrived, hidden.synaptic_operations, hidden.active_updates, hidden.spikes) == (2, 3, 2, 1)
    assert (hidden.dense_operations, hidden.synapses, hidden.nonzero, hidden.neuron_updates) == (12, 6, 5, 4)
    assert (readout.arrived, readout.synaptic_operations, readout.active_updates, readout.spikes) == (1, 1, 1, 0)
    assert cost.activation_sparsity == 1 - 1 / 4, "the readout never fires"
    assert cost.connection_sparsity == 4 / 10
    assert hidden.energy_nj == pytest.approx((3 * 23.6 + 2 * 81 + 2 * 52 + 2 * 1.7) / 1e3)
    assert cost.total("energy_nj") == pytest.approx((4 * 23.6 + 3 * 81 + 5 * 52 + 3 * 1.7) / 1e3)
    # First step: 3 operations, both active; second: nothing; the readout is faster in the first and as fast in the second.
    assert cost.latency_ms == pytest.approx((3 * 3.5 + 2 * 8.4 + 2 * 5.3 + 4 * 113) / 1e6)
    assert cost.multiply_accumulates == 10
    assert cost.multiply_accumulates_nj == pytest.approx(10 * 0.3e-3)
    assert cost.accumulates_nj == pytest.approx(4 * 0.1e-3)


def test_samples_add_up(monkeypatch):
    network, spikes = random_with_memory("both", 3, num_samples=11)
    whole, parts = CostMeter(network), CostMeter(network)
    values = whole.run(spikes)
    monkeypatch.setattr("polystep_snn.hardware.chip_cost._PART_BYTES", 1)
    assert np.array_equal(np.concatenate([parts.run(spikes[:, :4]), parts.run(spikes[:, 4:])]), values)
    one, other = whole.cost(), parts.cost()
    assert one.samples == other.samples == 11
    assert [layer.synaptic_operations for layer in one.layers] == [layer.synaptic_operations for layer in other.layers]
    assert one.latency_ms == pytest.approx(other.latency_ms, rel=1e-12)


def test_events_take_a_pass_a_step():
    network, spikes = random_network("mixed", 4095, 0, 1)
    passes = []
    for encoder in ("rate", "events"):
        meter = CostMeter(replace(network, encoder=encoder))
        meter.run(spikes)
        passes.append(meter.cost().multiply_accumulates)
    assert passes[1] == network.num_steps * passes[0]


def test_barriers_lie_between_the_published_ones():
    assert LOIHI_1.barrier_ns(1) == LOIHI_1.barrier_ns(4) == 113
    assert LOIHI_1.barrier_ns(128) == 465
    assert 113 < LOIHI_1.barrier_ns(64) < 465


def test_every_constant_has_a_source():
    assert {constant.source for constant in LOIHI_1} == set(SOURCES)


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="layer 0 has 4097 inputs"):
        CostMeter(make_network([dense(np.zeros((2, 4097)), vth=1)], 2))


def test_other_spikes_are_refused():
    network, spikes = random_network("mixed", 4095, 0, 1)
    with pytest.raises(InputError, match="encode the data as in training"):
        CostMeter(network).run(spikes[:-1])
