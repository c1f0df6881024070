"""The preflight: sums by hand, what does not fit, and bounds that no simulated register exceeds."""

from dataclasses import replace

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.chip import LOIHI_2, SOURCES, Chip, Limit, preflight, register_bounds
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.networks_with_memory import MEMORIES, random_with_memory
from tests.hardware.test_simulator import DU, DV, KINDS, dense, make_network, random_network


def zeros(n, m, **constants):
    return dense(np.zeros((n, m)), vth=1, **constants)


def test_a_network_by_hand():
    """128 KiB hold 167 neurons of 784 one-byte synapses: 300 take two cores; 8,192 neurons of 1 synapse take 24 bytes each beside it."""
    report = preflight(make_network([zeros(300, 784), zeros(10, 300), zeros(8192, 10)], 16))
    assert [row.cores for row in report.rows] == [2, 1, 2]  # 192 KiB / (10 + 24) bytes = 5,782 neurons
    assert [row.synapses for row in report.rows] == [235_200, 3_000, 81_920]
    assert [row.fan_in for row in report.rows] == [784, 300, 10]
    assert (report.cores, report.neurons, report.synapses) == (5, 8502, 320_120)
    report.check()
    assert report.problems() == report.notes() == []


def test_the_table():
    weight = np.ones((128, 784), np.int8)
    weight[0] = -2
    text = preflight(make_network([dense(weight, vth=255, bias=-9, du=7, dv=128), zeros(10, 128)], 16)).table()
    lines = text.splitlines()
    assert lines[0].split() == ["neurons", "fan-in", "synapses", "KiB", "cores", "weight", "vth", "bias", "decay", "u", "v"]
    # 784 * 64 in every step at du = 7 and dv = 128: just below 2^20, and 2^23 in 16 steps.
    assert lines[2].split() == ["layer", "0", "128", "784", "100,352", "98.0", "1", "2", "8", "5", "8", "22", "25"]
    assert lines[3].split()[:7] == ["layer", "1", "10", "128", "1,280", "1.2", "1"]
    assert lines[5].split() == ["total", "138", "101,632", "99.2", "2"]
    assert lines[6].split() == ["a", "chip", "1,000,000", "120,000,000", "128"]
    assert lines[7].split() == ["a", "core", "8,192", "4,096*", "128.0", "8", "17", "16", "12", "24", "24"]
    assert "Note: layer 0: a membrane can reach" in text
    for source in SOURCES.values():
        assert source in text


@pytest.mark.parametrize(
    ("layers", "chip", "message"),
    [
        ([zeros(2, 5), zeros(2, 2), zeros(3, 2)], Chip(cores=Limit(2, "Intel")), "layer 2 brings the network to 3 cores, a chip has 2"),
        ([zeros(2, 5), zeros(3, 2)], Chip(neurons=Limit(4, "Intel")), "layer 1 brings the network to 5 neurons, a chip has 4"),
        ([zeros(2, 5), zeros(3, 2)], Chip(synapses=Limit(15, "Intel")), "layer 1 brings the network to 16 synapses, a chip has 15"),
        ([zeros(2, 4096), zeros(1, 2)], LOIHI_2, None),
        ([zeros(2, 4097), zeros(1, 2)], LOIHI_2, r"layer 0 has 4097 inputs, a core takes 4096 \(assumed of Loihi 2\): use fewer inputs"),
        (
            [zeros(1, 1), zeros(2, 1), zeros(1, 2)],
            Chip(synapse_memory_per_core=Limit(1, "Intel")),
            "layer 2: a neuron with 2 synapses does not fit a core's memory",
        ),
        ([dense([[7]]), dense([[8]])], Chip(weight_bits=Limit(4, "Lava")), "layer 1 uses 5 weight bits, the chip has 4"),
        ([dense([[-8]]), dense([[-9]])], Chip(weight_bits=Limit(4, "Lava")), "layer 1 uses 5 weight bits"),
        ([dense([[1]], vth=256)], Chip(vth_bits=Limit(8, "Lava")), "layer 0 uses 9 vth bits"),
        ([dense([[1]], bias=-9)], Chip(bias_bits=Limit(4, "Lava")), "layer 0 uses 5 bias bits"),
        ([dense([[1]], du=8)], Chip(decay_bits=Limit(3, "Lava")), "layer 0 uses 4 decay bits"),
        # 128 cores of 128 KiB are 16 MiB of one-byte weights: 5,000 neurons of 4,000 inputs are more.
        ([zeros(5000, 4000)], LOIHI_2, "layer 0 brings the network to 157 cores, a chip has 128: use a smaller network"),
    ],
)
def test_what_does_not_fit(layers, chip, message):
    report = preflight(make_network(layers), chip)
    if message is None:
        report.check()
        return
    with pytest.raises(InputError, match=message) as error:
        report.check()
    assert f"Does not fit: {error.value}" in report.table()
    assert "\n" not in str(error.value)


def test_registers_by_hand():
    """du = 4095: u = 64 a. dv = 0: v adds up, to 64 * (10 + 5) a step and 3 of bias, until it stands above the threshold."""
    layer = dense([[10, 5, -20]], vth=2**17 - 1, bias=3)
    assert register_bounds(layer, 1) == (20, 1280, 1277)
    assert register_bounds(layer, 4) == (20, 1280, 4 * 1277)
    assert register_bounds(replace(layer, vth=np.array([20], np.int32)), 4) == (20, 1280, 4 * 1277)
    # Positive inputs alone: at most the threshold, 1280, remains, and 963 are added.
    assert register_bounds(dense([[10, 5, -1]], vth=20, bias=3), 4) == (15, 960, 1280 + 963)
    # du = 2047 halves: 64, 96, 112.
    assert register_bounds(dense([[1]], du=2047, vth=2**17 - 1), 3) == (1, 112, 64 + 96 + 112)


def test_notes_on_registers_that_overflow():
    large = dense(np.full((2, 2000), 127), vth=2**17 - 1, bias=2**13, du=0, dv=0)
    notes = " ".join(preflight(make_network([large], 4)).notes())
    assert "layer 0: a current can reach" in notes
    assert "would wrap at 8,388,608" in notes
    assert "would saturate at 8,388,607" in notes
    assert "an input can reach 254,000, 19 bits; Lava declares 16" in notes
    assert "a bias takes 15 bits; Lava documents 13" in notes
    assert preflight(make_network([dense([[1]])], 4)).notes() == []


@pytest.mark.parametrize("du", DU)
@pytest.mark.parametrize("dv", DV)
@pytest.mark.parametrize("kind", KINDS)
def test_no_simulated_register_exceeds_its_bounds(kind, du, dv):
    """Registers after the step are within the bounds of those before wrap, saturation and reset; all-on inputs reach the first ones."""
    for seed in range(8):
        network, spikes = random_network(kind, du, dv, seed)
        spikes[:, 0] = 1
        recording = Simulator(network).record(spikes)
        for layer, found in zip(network.layers, recording.layers, strict=True):
            _, u_max, v_max = register_bounds(layer, network.num_steps)
            assert np.abs(found.u).max() <= u_max
            assert np.abs(found.v).max() <= v_max
        first, (_, u_max, _) = network.layers[0], register_bounds(network.layers[0], network.num_steps)
        if kind in ("positive", "negative") and u_max < 2**23:
            assert np.abs(recording.layers[0].u[:, 0]).max() == u_max, f"{first.weight} can ask for it"


def test_long_runs_come_to_rest():
    """2^16 steps of a neuron that soon stands still are not all computed."""
    assert register_bounds(dense([[10, -4]], du=100, dv=100, vth=2**17 - 1), 2**16)[2] < 2**23


def remembering(n, m, recurrent=False, delay=0):
    """A layer of zeros, with one recurrent weight and one delay that are not."""
    layer = zeros(n, m)
    own = np.zeros((n, n), np.int8)
    own[0, 0] = -128
    return replace(layer, recurrent=own if recurrent else None, delays=np.array([delay] + [0] * (m - 1), np.uint8) if delay else None)


def test_recurrent_synapses_and_delays_are_counted():
    """A recurrent neuron has a synapse more from each of its layer; a delayed synapse from an input takes two bytes."""
    layers = [remembering(128, 784, recurrent=True), remembering(300, 128), remembering(100, 300, recurrent=True, delay=5)]
    report = preflight(make_network(layers, 16))
    assert [row.recurrent for row in report.rows] == [128**2, 0, 100**2]
    assert [row.max_delay for row in report.rows] == [0, 0, 5]
    assert [row.synapses for row in report.rows] == [128 * (784 + 128), 300 * 128, 100 * (300 + 100)]
    assert [row.synapse_bytes for row in report.rows] == [128 * 912, 300 * 128, 100 * (2 * 300 + 100)]
    assert [row.fan_in for row in report.rows] == [912, 128, 400]
    assert [row.weight_bits for row in report.rows] == [8, 1, 8]
    for neurons, recurrent, delay, cores in ((143, True, 0, 2), (83, False, 3, 1), (84, False, 3, 2), (77, True, 3, 1), (80, True, 3, 2)):
        row = preflight(make_network([remembering(neurons, 784, recurrent, delay)], 16)).rows[0]
        per_core = 131_072 // (784 * (2 if delay else 1) + (neurons if recurrent else 0))
        assert row.cores == -(-neurons // per_core) == cores
    report.check()


def test_the_table_of_a_network_with_memory():
    text = preflight(make_network([remembering(8, 4, recurrent=True), remembering(2, 8, delay=5)], 16)).table()
    lines = text.splitlines()
    assert lines[0].split()[-4:] == ["u", "v", "recurrent", "delay"]
    assert lines[2].split()[-2:] == ["64", "0"]
    assert lines[3].split()[-2:] == ["0", "5"]
    assert lines[5].split()[-1] == "64"
    assert lines[7].split()[-1] == "62"
    assert "a delay is stored with every synapse. Sources:" in text
    assert "num_delay_bits): delay steps" in text
    assert "recurrent" not in preflight(make_network([zeros(8, 4)], 16)).table()


@pytest.mark.parametrize(
    ("layer", "chip", "message"),
    [
        (remembering(2, 3, delay=9), Chip(delay_steps=Limit(8, "Lava")), "layer 0 has a delay of 9 steps, the chip has 8: shorten it"),
        (remembering(3000, 1200, recurrent=True), LOIHI_2, r"layer 0 has 4200 inputs, a core takes 4096 \(assumed of Loihi 2\)"),
        (remembering(3, 4, recurrent=True), Chip(synapses=Limit(20, "Intel")), "brings the network to 21 synapses"),
    ],
)
def test_memory_that_does_not_fit(layer, chip, message):
    with pytest.raises(InputError, match=message):
        preflight(make_network([layer], 16), chip).check()


@pytest.mark.parametrize("memory", MEMORIES)
def test_no_register_of_a_network_with_memory_exceeds_its_bounds(memory):
    for seed in range(20):
        network, spikes = random_with_memory(memory, seed)
        for layer, found in zip(network.layers, Simulator(network).record(spikes).layers, strict=True):
            _, u_max, v_max = register_bounds(layer, network.num_steps)
            assert np.abs(found.u).max() <= u_max
            assert np.abs(found.v).max() <= v_max
