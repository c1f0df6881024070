"""Learning inside the Lava graph: what the simulator learns, bit for bit; and what is kept when a run ends before its time.

On the real Lava. Without it (`make lava-env`) these tests are skipped, or fail where $POLYSTEP_SNN_REQUIRE_LAVA is set.
"""

import os
import random
import signal
import threading
import time

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware import network_file
from polystep_snn.hardware.backend import BackendError, SimulatorBackend
from polystep_snn.hardware.encoders import encode
from polystep_snn.hardware.integer_network import IntegerLayer
from polystep_snn.hardware.lava.client import LavaBackend
from polystep_snn.hardware.learning_rule import Learner, LearningRule
from polystep_snn.hardware.lesson import JUDGE, LEARN, WATCH, Lesson, Plan
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.lava.lava_worker import SOON_S, identify, nothing_left, processes_of, sabotaged, worker  # noqa: F401 (fixtures)
from tests.hardware.learning import small_network
from tests.hardware.test_simulator import make_network

# How often a run is killed at a random moment.
KILLS = int(os.environ.get("POLYSTEP_SNN_KILLS", "4"))
BATCH = 4


def patterns(rng, num_samples, num_channels, num_classes, num_steps):
    """Spikes ``[T, B, M]`` of noisy prototypes, and their classes."""
    labels = rng.integers(0, num_classes, num_samples)
    rates = rng.random((num_classes, num_channels)) ** 2
    return (rng.random((num_steps, num_samples, num_channels)) < rates[labels]).astype(np.uint8), labels


def make_plan(rng, labels, num_samples, with_judgement, batch_size=BATCH):
    """Samples to learn from, every sixth round of 40 only watched, with 12 that judge after each."""
    if not with_judgement:
        samples = rng.integers(0, len(labels), num_samples)
        return Plan(samples, labels[samples], np.full(num_samples, LEARN), batch_size)
    samples, kinds = [np.arange(12)], [np.full(12, JUDGE)]
    for number in range(num_samples // 52):
        samples += [rng.integers(12, len(labels), 40), np.arange(12)]
        kinds += [np.full(40, WATCH if number % 6 == 5 else LEARN), np.full(12, JUDGE)]
    numbers = np.concatenate(samples)
    return Plan(numbers, labels[numbers], np.concatenate(kinds), batch_size)


def assert_equal(found, expected):
    """Two lessons, in everything."""
    assert found.checksum == expected.checksum
    assert found.learner.updates == expected.learner.updates
    assert np.array_equal(found.decisions, expected.decisions)
    assert found.scores == expected.scores
    assert found.rollbacks == expected.rollbacks
    assert found.position == expected.position
    for kind in ("parameters", "accumulators"):
        for name, values in getattr(expected.learner, kind).items():
            other = getattr(found.learner, kind)[name]
            assert other.dtype == values.dtype
            assert np.array_equal(other, values), f"{kind}.{name}"


def learn_on_both(shared, network, rule, plan, spikes):
    """The two lessons, equal."""
    lessons = []
    for backend in (SimulatorBackend(network), LavaBackend(network, worker=shared)):
        lessons.append(Lesson(Learner(network, rule, plan.num_updates), plan))
        backend.learn(lessons[-1], lambda numbers: spikes[:, numbers])
    assert_equal(*lessons[::-1])
    return lessons[1]


# Same numbers


@pytest.mark.parametrize("writable", [("readout",), ("hidden_bias",), ("readout", "hidden")])
def test_500_samples(worker, writable):
    """Weights, biases and accumulators after every batch: the checksum is of all of them. Judgements take some of it back."""
    rng = np.random.default_rng(len(writable[0]))
    network = small_network(rng, (30, 20, 4), num_steps=6)
    spikes, labels = patterns(rng, 300, 30, 4, 6)
    plan = make_plan(rng, labels, 520, with_judgement=True)
    assert len(plan.samples) > 500
    rule = LearningRule(writable, BATCH, rate=1.0, readout_rate=4.0, schedule="cosine")
    lesson = learn_on_both(worker, network, rule, plan, spikes)
    assert lesson.rollbacks > 0
    assert max(lesson.scores) > lesson.scores[0]
    assert lesson.learner.updates == plan.num_updates > 80
    for name in lesson.learner.names:
        assert lesson.learner.accumulators[name].any()
    accuracy = (Simulator(lesson.learner.learned()).run(spikes[:, :12]).argmax(1) == labels[:12]).mean()
    best = max(lesson.scores)
    assert accuracy in lesson.scores
    assert accuracy >= best - np.sqrt(best * (1 - best) / 12)


@pytest.mark.parametrize(
    ("sizes", "num_steps", "batch_size", "options"),
    [
        ((7, 5, 3), 1, 1, {"vth": 10}),
        ((7, 5, 3), 1, 2, {"bias_exp": 7, "vth": 10, "bias": 1}),
        ((12, 11, 9, 4), 5, 3, {"du": 1000, "bias": 100, "bias_exp": 2}),
        ((12, 8, 11, 9, 4), 2, 1, {"dv": 4095, "vth": 30}),
    ],
)
@pytest.mark.parametrize("writable", [("readout", "hidden"), ("readout", "hidden_bias"), ("readout",)])
def test_other_networks(worker, sizes, num_steps, batch_size, options, writable):
    """A single step, a write after every sample, layers before the last hidden one, currents, exponents: the pause is just right."""
    rng = np.random.default_rng(num_steps)
    network = small_network(rng, sizes, num_steps, **options)
    spikes, labels = patterns(rng, 40, sizes[0], sizes[-1], num_steps)
    plan = make_plan(rng, labels, 64, with_judgement=False, batch_size=batch_size)
    rule = LearningRule(writable, batch_size, rate=1.0, readout_rate=2.0, radius=0.5, nats=4.0)
    lesson = learn_on_both(worker, network, rule, plan, spikes)
    moved = [name for name in lesson.learner.names if not np.array_equal(lesson.learner.parameters[name], start(network)[name])]
    assert {"readout", "readout_bias"} <= set(moved)
    assert len(moved) >= 3 or writable == ("readout",)


def start(network):
    return Learner(network, LearningRule(), 1).parameters


def test_one_lesson_after_the_other(worker, tmp_path):
    """What a learner has on its way goes with it from lesson to lesson, and from backend to backend."""
    rng = np.random.default_rng(3)
    network = small_network(rng, (10, 8, 3), num_steps=4)
    spikes, labels = patterns(rng, 60, 10, 3, 4)
    plans = [make_plan(rng, labels, 30, with_judgement=False) for _ in range(3)]
    rule = LearningRule(("readout", "hidden"), BATCH, schedule="cosine", rate=1.0)
    simulated, mixed = (Learner(network, rule, sum(plan.num_updates for plan in plans)) for _ in range(2))
    simulator, lava = SimulatorBackend(network), LavaBackend(network, worker=worker)
    for plan, other in zip(plans, (lava, simulator, lava), strict=True):
        one, two = Lesson(simulated, plan), Lesson(mixed, plan)
        simulator.learn(one, lambda numbers: spikes[:, numbers])
        other.learn(two, lambda numbers: spikes[:, numbers], save_to=tmp_path / "network")
        assert_equal(two, one)
        saved = network_file.load(tmp_path / "network")
        assert np.array_equal(saved.layers[0].weight, one.learner.learned().layers[0].weight)
    assert mixed.updates == 21


@pytest.mark.slow
def test_a_network_from_nothing_as_large_as_digits_need(lava_python):
    """784-128-10, T = 16, everything writable, equal to the simulator; several samples a second even where other work goes on."""
    rng = np.random.default_rng(0)
    layers = [
        IntegerLayer(rng.integers(-16, 17, (n, m)).astype(np.int8), np.full(n, vth, np.int32), np.zeros(n, np.int16), 6, 4095, dv, scale)
        for n, m, vth, dv, scale in ((128, 784, 448, 205, 1 / 448), (10, 128, 2**17 - 1, 0, 1 / 180))
    ]
    network = make_network(layers, 16, encoder="rate")
    labels = rng.integers(0, 10, 256)
    images = np.clip(rng.random((10, 784), np.float32) ** 4 + 0.1 * rng.standard_normal((10, 784), np.float32), 0, 1)[labels]

    def spikes(numbers):
        return encode("rate", 16, images[numbers])

    plan = make_plan(rng, labels, 256, with_judgement=False, batch_size=32)
    lessons = [Lesson(Learner(network, LearningRule(("readout", "hidden")), 8), plan) for _ in range(2)]
    SimulatorBackend(network).learn(lessons[0], spikes)
    told = []
    with LavaBackend(network) as backend:
        backend.learn(lessons[1], spikes, on_samples=lambda count: told.append((count, time.perf_counter())))
    assert_equal(lessons[1], lessons[0])
    counts = [count for count, _ in told]
    assert counts == sorted(counts)
    assert counts[-1] == 256
    under_way = [(count, when) for count, when in told if 0 < count < 256]
    (first, began), (last, ended) = under_way[0], under_way[-1]
    assert (last - first) / (ended - began) >= 5  # `benchmarks/on_chip.py` tells how many


# What goes wrong


def long_lesson(num_samples=4000):
    rng = np.random.default_rng(5)
    network = small_network(rng, (30, 20, 4), num_steps=6)
    spikes, labels = patterns(rng, 300, 30, 4, 6)
    plan = make_plan(rng, labels, num_samples, with_judgement=False, batch_size=32)
    rule = LearningRule(("readout", "hidden"), 32)
    return network, (lambda numbers: spikes[:, numbers]), lambda: Lesson(Learner(network, rule, plan.num_updates), plan)


def key(network):
    return b"".join(layer.weight.tobytes() + layer.bias_mant.tobytes() for layer in network.layers)


@pytest.mark.alone
def test_killed_at_a_random_moment(lava_python, tmp_path):
    """The worker, a model or Lava's service: told soon, the file is a network that the run had, the lesson is as it was."""
    network, spikes, make = long_lesson()
    simulated, had = make(), set()
    SimulatorBackend(network).learn(simulated, spikes, on_samples=lambda _: had.add(key(simulated.learner.learned())))
    assert len(had) == 125
    rng = random.Random(time.time_ns())
    found, lesson = set(), make()
    for number in range(KILLS):
        path = tmp_path / f"{number}.safetensors"
        with nothing_left() as made, LavaBackend(network) as backend:
            made.append(identify(backend))
            struck = []

            def strike(group=made[0][0], struck=struck):
                # Lava's keeper of shared memory, the second one, may go without harm.
                alive = processes_of(group)
                victim = rng.choice(alive[:1] + alive[2:])
                struck.append(time.monotonic())
                os.kill(victim, signal.SIGKILL)

            timer = threading.Timer(rng.uniform(0.5, 3), strike)
            timer.start()
            with pytest.raises(BackendError, match="killed by SIGKILL"):
                backend.learn(lesson, spikes, save_to=path, every=1)
            assert time.monotonic() - struck[0] < SOON_S
            timer.join()
        assert lesson.position == lesson.learner.updates == 0
        assert list(tmp_path.glob(".*")) == []
        if path.exists():
            found.add(key(network_file.load(path)))
    assert found
    assert found <= had


@pytest.mark.alone
def test_after_an_error_the_lesson_is_carried_out(sabotaged, monkeypatch, tmp_path):
    """A readout that differs from what the learner expects is noticed in the sample where it does, and the next run is whole."""
    network, spikes, make = long_lesson(320)
    # Six steps and a pause: the readout ends sample 9 in step 9 * 7 + 8.
    sabotaged(["if self.v.shape == (1, 4) and self.time_step == 70: self.v[0, 2] += 64"])
    lesson = make()
    with nothing_left() as made, LavaBackend(network) as backend:
        made.append(identify(backend))
        with pytest.raises(BackendError, match=r"learner \(PyLearner\) raised ValueError: the readout's membranes after sample 9 are "):
            backend.learn(lesson, spikes, save_to=tmp_path / "network")
        assert not (tmp_path / "network").exists()
        monkeypatch.undo()
        backend.learn(lesson, spikes, save_to=tmp_path / "network", every=3)
        made.append(identify(backend))
    simulated = make()
    SimulatorBackend(network).learn(simulated, spikes)
    assert_equal(lesson, simulated)
    assert key(network_file.load(tmp_path / "network")) == key(simulated.learner.learned())


def test_a_folder_that_is_not_there(worker, tmp_path):
    network, spikes, make = long_lesson(320)
    lesson = make()
    with pytest.raises(InputError, match="could not be written"):
        SimulatorBackend(network).learn(lesson, spikes, save_to=tmp_path / "none" / "network")
    with LavaBackend(network) as backend, pytest.raises(InputError, match="could not be written"):
        backend.learn(make(), spikes, save_to=tmp_path / "none" / "network", every=1)


@pytest.mark.parametrize("name", ["simulator", "lava"])
def test_bad_input(request, name):
    network, spikes, make = long_lesson(320)
    backend = SimulatorBackend(network) if name == "simulator" else LavaBackend(network, worker=request.getfixturevalue("worker"))
    with pytest.raises(InputError, match="the lesson is on another network than the backend runs"):
        backend.learn(long_lesson(320)[2](), spikes)
    with pytest.raises(InputError, match="every is 0"):
        backend.learn(make(), spikes, every=0)
    with pytest.raises(InputError, match="6 steps of 29 channels, the network takes 6 of 30"):
        backend.learn(make(), lambda numbers: np.zeros((6, len(numbers), 29), np.uint8))
    with pytest.raises(InputError, match="a spike is 2"):
        backend.learn(make(), lambda numbers: 2 * spikes(numbers))
    lesson = make()
    backend.learn(lesson, spikes)
    with pytest.raises(InputError, match="the lesson has shown 320 samples already"):
        backend.learn(lesson, spikes)


def test_the_simulator_keeps_networks_too(tmp_path):
    network, spikes, make = long_lesson(320)
    lesson, saved = make(), []
    path = tmp_path / "network"

    def look(count):
        if path.exists():
            saved.append((count, key(network_file.load(path)) == key(lesson.learner.learned())))

    SimulatorBackend(network).learn(lesson, spikes, save_to=path, every=3, on_samples=look)
    assert [count for count, _ in saved] == [32 * n for n in range(3, 11)]
    assert [same for _, same in saved] == [True, False, False, True, False, False, True, False]
    assert key(network_file.load(path)) == key(lesson.learner.learned())
