"""The update on the chip against slow references in floating point and in Python's own integers, and lessons step by step."""

import math

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.learning_rule import FRACTION, Costs, Learner, LearningRule, with_parameters
from polystep_snn.hardware.lesson import LEARN, Lesson, Plan
from polystep_snn.hardware.on_chip import learn
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.learning import STEPS, random_counts, small_network
from tests.hardware.test_simulator import dense, make_network

LARGEST_MEMBRANE = (2**17 - 1) << 6


def cost(logits, label):
    """Cross-entropy, in floating point."""
    shifted = logits - logits.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[label])


def naive_sums(network, rule, inputs, counts, labels):
    """What a batch teaches, a probe and a sample at a time: sums of displacements times counts."""
    hidden, readout = network.layers[-2:]
    nats = rule.nats * readout.scale / network.num_steps

    def logits(own):
        return nats * (readout.weight.astype(float) @ own + network.num_steps * readout.bias / 64)

    def displacement(up, down, label):
        return np.tanh((cost(down, label) - cost(up, label)) / (2 * rule.eps))

    sums = {
        name: np.zeros(shape)
        for name, shape in (
            ("hidden", hidden.weight.shape),
            ("hidden_bias", hidden.vth.shape),
            ("readout", readout.weight.shape),
            ("readout_bias", readout.vth.shape),
        )
    }
    for b, label in enumerate(labels):
        own = counts[0, b].astype(float)
        for j in range(hidden.num_neurons):
            ends = []
            for copy in (1, 2):
                probed = own.copy()
                probed[j] = counts[copy, b, j]
                ends.append(logits(probed))
            d = displacement(*ends, label)
            sums["hidden"][j] += d * inputs[b]
            sums["hidden_bias"][j] += d
        for c in range(readout.num_neurons):
            lead = rule.readout_radius * np.eye(readout.num_neurons)[c]
            d = displacement(logits(own) + lead, logits(own) - lead, label)
            sums["readout"][c] += d * own
            sums["readout_bias"][c] += d
    return sums


def moved(learner, before):
    """How far parameters have gone, with what is on its way."""
    return {
        name: values - before[name] + learner.accumulators[name] / 2**FRACTION
        for name, values in learner.parameters.items()
        if name in learner.names
    }


@pytest.mark.parametrize("num_classes", [2, 10, 100])
@pytest.mark.parametrize("nats_per_unit", [0.9, 0.003, 1e-5])
def test_costs_are_cross_entropies(num_classes, nats_per_unit):
    rng = np.random.default_rng(num_classes)
    costs = Costs(nats_per_unit, num_classes)
    readout = (rng.standard_normal((num_classes, 300)) * rng.choice([0.1, 1, 5], 300) / nats_per_unit).astype(np.int32)
    labels = rng.integers(0, num_classes, 300)
    found = costs(costs.logits(readout), labels) / 1024
    expected = np.array([cost(column, label) for column, label in zip(nats_per_unit * readout.T.astype(float), labels, strict=True)])
    # Ten bits of mantissa on the scale, and two entries of tables.
    scale = np.abs(nats_per_unit * readout).max(0)
    assert np.all(np.abs(found - expected) <= 4 / 1024 + 2e-3 * scale)


@pytest.mark.parametrize("nats_per_unit", [1.9, 0.5, 0.45, 1e-4])
def test_the_largest_readouts_whose_costs_32_bits_hold(nats_per_unit):
    costs = Costs(nats_per_unit, 2)
    largest = max(k for k in range(31) if costs.holds(2**k))
    for sign in (1, -1):
        readout = np.array([[sign * 2**largest], [-sign * 2**largest]])
        wide, narrow = costs.logits(readout), costs.logits(readout.astype(np.int32))
        assert narrow.dtype == np.int32
        assert np.array_equal(narrow, wide)
        assert costs(narrow, np.array([0]))[0] == costs(wide, np.array([0]))[0] == (0 if sign > 0 else wide[1, 0] - wide[0, 0])
    # Twice as far, a product or a difference leaves them.
    readout = np.array([[2 ** (largest + 1)], [-(2 ** (largest + 1))]])
    wide, narrow = costs.logits(readout), costs.logits(readout.astype(np.int32))
    assert narrow[0] - narrow[1] != wide[0] - wide[1]


def test_a_unit_of_the_readout_worth_too_much():
    with pytest.raises(InputError, match="a unit of the readout is worth 4 nats"):
        Costs(4.0, 3)


@pytest.mark.parametrize("eps", [0.25, 1.0, 20.0])
@pytest.mark.parametrize("num_samples", [3, 40])
def test_what_a_batch_teaches(eps, num_samples):
    """Displacements are hyperbolic tangents of cost differences, to within the resolution of the tables."""
    rng = np.random.default_rng(num_samples)
    network = small_network(rng)
    rule = LearningRule(("readout", "hidden"), num_samples, eps=eps, nats=6.0, readout_radius=2.0, rate=1.0, readout_rate=1.0)
    learner = Learner(network, rule, 1)
    before = {name: values.copy() for name, values in learner.parameters.items()}
    inputs, counts, labels = random_counts(rng, network, num_samples)
    decisions = learner.observe(inputs, counts, labels, True)
    learner.update()
    readout = network.layers[-1]
    assert np.array_equal(decisions, (readout.weight.astype(int) @ counts[0].T + STEPS * readout.bias[:, None] // 64).argmax(0))
    vth = float(np.mean(network.layers[0].vth))
    rates = {"hidden": vth, "hidden_bias": vth * STEPS, "readout": 1 / readout.scale, "readout_bias": STEPS / readout.scale}
    sums = naive_sums(network, rule, inputs, counts, labels)
    found = moved(learner, before)
    # A displacement is off by what two cost tables, over 2 eps, and its own table are off.
    resolution = 1.5 / 1024 + 12 / 1024 / (2 * eps)
    for name, expected in sums.items():
        largest = num_samples * STEPS if name in ("hidden", "readout") else num_samples
        error = np.abs(found[name] * num_samples * STEPS / rates[name] - expected)
        clipped = np.abs(learner.parameters[name]) >= 127
        assert np.all(error[~clipped] <= resolution * largest + 1e-3), name
        assert (~clipped).mean() > 0.5
        assert np.abs(expected).max() > 5 * resolution * largest / num_samples**0.5


@pytest.mark.parametrize("bias_exp", [0, 3, 6, 7])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_nothing_is_lost_but_at_the_limits(bias_exp, schedule):
    """Weight times 2^18 and accumulator, against Python's integers of any size; what leaves the grid is cut off, the rest stays."""
    rng = np.random.default_rng(bias_exp)
    network = small_network(rng, bias_exp=bias_exp)
    rule = LearningRule(("readout", "hidden"), 4, rate=4.0, readout_rate=3.0, schedule=schedule, radius=1.0, nats=100.0)
    learner = Learner(network, rule, 30)
    clipped = 0
    for update in range(30):
        learner.observe(*random_counts(rng, network, 4), True)
        share = 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * update / 30))
        expected = {}
        for name in learner.names:
            factor = round(share * learner._factors[name])
            values = zip(
                *(x[name].ravel().tolist() for x in (learner.parameters, learner.accumulators, learner._sums)),
                strict=True,
            )
            largest = 4095 if name.endswith("_bias") else 127
            pairs = []
            for weight, accumulator, total in values:
                exact = accumulator + factor * total
                whole = (exact + 2**17) // 2**18
                clipped += abs(weight + whole) > largest
                pairs.append((max(-largest, min(largest, weight + whole)), exact - whole * 2**18))
            expected[name] = pairs
        learner.update()
        for name, pairs in expected.items():
            found = zip(learner.parameters[name].ravel().tolist(), learner.accumulators[name].ravel().tolist(), strict=True)
            assert list(found) == pairs, name
            assert np.abs(learner.accumulators[name]).max() <= 2**17
    assert learner.updates == 30
    assert clipped


def test_a_batch_split_differently_teaches_the_same():
    rng = np.random.default_rng(0)
    network = small_network(rng)
    inputs, counts, labels = random_counts(rng, network, 24)
    snapshots = []
    for size in (24, 1, 7):
        learner = Learner(network, LearningRule(("readout", "hidden"), 24), 1)
        for start in range(0, 24, size):
            part = slice(start, start + size)
            learner.observe(inputs[part], counts[:, part], labels[part], True)
        learner.update()
        snapshots.append(learner.snapshot())
    for other in snapshots[1:]:
        for name, values in snapshots[0].items():
            assert np.array_equal(values, other[name]), name
    assert snapshots[0]["accumulators.hidden"].any()


def test_only_what_is_writable_moves():
    rng = np.random.default_rng(1)
    network = small_network(rng)
    names = {
        ("readout",): {"readout", "readout_bias"},
        ("hidden_bias",): {"hidden_bias"},
        ("hidden",): {"hidden", "hidden_bias"},
        ("readout", "hidden_bias"): {"readout", "readout_bias", "hidden_bias"},
    }
    for writable, expected in names.items():
        learner = Learner(network, LearningRule(writable, 4, rate=8.0, readout_rate=8.0, nats=100.0, radius=1.0), 1)
        assert learner.num_copies == (1 if writable == ("readout",) else 3)
        before = {name: values.copy() for name, values in learner.parameters.items()}
        for _ in range(4):
            learner.observe(*random_counts(rng, network, 4, learner.num_copies), True)
            learner.update()
        assert {name for name, values in learner.parameters.items() if not np.array_equal(values, before[name])} == expected
        learned = learner.learned()
        assert np.array_equal(learned.layers[0].weight, learner.parameters["hidden"])
        assert np.array_equal(learned.layers[1].bias_mant, learner.parameters["readout_bias"])
        assert learned.layers[0].weight.dtype == np.int8
        assert learned.num_steps == network.num_steps
    learner.observe(*random_counts(rng, network, 4), False)
    assert not any(sums.any() for sums in learner._sums.values())


def test_what_stands_beyond_the_limits_stays():
    """A weight of -128 and a bias of 20000 are the network's own; only learning moves them."""
    layers = [dense([[-128, 127]], vth=100, bias=20000), dense([[-128], [100]], vth=2**17 - 1, bias=-20000, scale=0.01)]
    network = make_network(layers, 2)
    learner = Learner(network, LearningRule(("readout", "hidden"), 1, radius=1.0), 4)
    learner.observe(np.zeros((1, 2), np.int32), np.zeros((3, 1, 1), np.int32), np.array([0]), True)
    learner.update()
    assert learner.parameters["hidden"].tolist() == [[-128, 127]]
    assert learner.parameters["hidden_bias"].tolist() == [20000]
    assert learner.parameters["readout"].tolist() == [[-128], [100]]
    assert learner.learned().layers[0].bias_mant.tolist() == [20000]


@pytest.mark.parametrize("bias_exp", [0, 5, 6, 7])
def test_copies_biases_are_mantissas(bias_exp):
    network = small_network(np.random.default_rng(0), vth=321, bias_exp=bias_exp)
    learner = Learner(network, LearningRule(("hidden_bias",), radius=0.37), 1)
    biases = learner.copied_biases << bias_exp
    hidden = network.layers[0]
    assert np.array_equal(biases[0], hidden.bias)
    assert np.array_equal(biases[1] - biases[0], np.full(9, learner.shift))
    assert np.array_equal(biases[2] - biases[0], np.full(9, -learner.shift))
    assert learner.shift == pytest.approx(0.37 * hidden.vth.mean() * 64, abs=128)
    assert np.abs(learner.copied_biases).max() < 2**15
    assert Learner(network, LearningRule(("readout",)), 1).copied_biases.tolist() == [hidden.bias_mant.tolist()]


@pytest.mark.parametrize("sizes", [(12, 9, 4), (12, 10, 9, 4), (12, 10, 11, 9, 4)])
def test_counts_are_those_of_the_simulator(sizes):
    """Of the network itself, and of networks whose last hidden layer has the copies' biases."""
    rng = np.random.default_rng(len(sizes))
    network = small_network(rng, sizes, vth=60, du=2000)
    spikes = (rng.random((STEPS, 30, 12)) < 0.5).astype(np.uint8)
    seen = []

    class Spied(Lesson):
        def show(self, inputs, counts):
            seen.append((inputs.copy(), counts.copy(), self.learner.membranes(counts[0])))
            return super().show(inputs, counts)

    plan = Plan(np.arange(30), rng.integers(0, 4, 30), np.full(30, LEARN), 30)
    learner = Learner(network, LearningRule(("readout", "hidden"), 30), 1)
    biases = learner.copied_biases
    learn(Spied(learner, plan), lambda numbers: spikes[:, numbers])
    ((inputs, counts, membranes),) = seen
    before = spikes if len(sizes) == 3 else Simulator(network).record(spikes).layers[-3].z
    assert np.array_equal(inputs, before.sum(0))
    for bias, found in zip(biases, counts, strict=True):
        shifted = with_parameters(network, {"hidden_bias": bias})
        assert np.array_equal(found, Simulator(shifted).record(spikes).layers[-2].z.sum(0))
    assert np.array_equal(membranes.T, Simulator(network).run(spikes))
    assert counts[1].sum() > counts[0].sum() > counts[2].sum()


def test_membranes_that_leave_their_register():
    """127 * 8 * 130 << 6 is beyond 2^23: a register would have saturated, and the readout is no longer linear."""
    network = make_network([dense(np.ones((130, 1))), dense(np.full((2, 130), 127), vth=2**17 - 1, scale=0.01)], 8)
    learner = Learner(network, LearningRule(), 1)
    most = LARGEST_MEMBRANE // (64 * 127)
    counts = np.zeros((1, 1, 130), np.int32)
    counts.flat[: most // 8] = 8
    assert learner.membranes(counts[0]).max() <= LARGEST_MEMBRANE
    counts[...] = 8
    with pytest.raises(InputError, match=r"a readout's membrane reaches 8453120 .* choose a smaller readout_rate"):
        learner.observe(np.zeros((1, 1), np.int32), counts, np.array([0]), True)


def test_membranes_far_beyond_32_bits_are_not_taken_for_small_ones():
    """64 * 128 * 8192 * 64 is 2^32, which an int32 takes for 0."""
    network = make_network([dense(np.ones((8192, 1))), dense(np.full((2, 8192), -128), vth=2**17 - 1, scale=0.01)], 64)
    with pytest.raises(InputError, match=r"a readout's membrane reaches -4294967296 and -4294967296"):
        Learner(network, LearningRule(), 1).membranes(np.full((1, 8192), 64, np.int32))
