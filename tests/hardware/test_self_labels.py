"""A stream labels itself: neighbours and walks by hand, the transport against POT, a reader of digits that learns from its own labels."""

from dataclasses import replace

import numpy as np
import ot
import pytest

from polystep_snn.datasets.shifts import Shift
from polystep_snn.errors import InputError
from polystep_snn.hardware import on_chip
from polystep_snn.hardware.adaptation import Images, Pool, few_labels_lesson
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.self_labels import Answers, SelfLabelling, answers, assignment, neighbours, self_labels, walk
from polystep_snn.hardware.simulator import Simulator
from tests.hardware.adapting import read_digits, reader

RULE = LearningRule(("readout", "hidden"), 16, 0.25, 2.0, "cosine", 0.2)


@pytest.fixture(scope="module")
def votes():
    drawn = np.random.default_rng(0).random((60, 4)) ** 3
    return drawn / drawn.sum(1, keepdims=True)


@pytest.mark.parametrize("relaxed", [0.5, 2.0, 5.0])
def test_the_assignment_is_pots_semi_relaxed_plan(votes, relaxed):
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    plan = ot.unbalanced.sinkhorn_unbalanced(
        np.ones(60), 60 * shares, -np.log(votes), 1.0, (float("inf"), relaxed), reg_type="entropy", numItermax=5000, stopThr=1e-12
    )
    assert np.allclose(assignment(votes, shares, relaxed), plan, atol=1e-6)


def test_the_assignment_is_pots_balanced_plan(votes):
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    plan = ot.sinkhorn(np.ones(60), 60 * shares, -np.log(votes), 1.0, numItermax=5000, stopThr=1e-12)
    assert np.allclose(assignment(votes, shares, float("inf")), plan, atol=1e-6)
    assert np.allclose(assignment(votes, shares, 0.0), votes)


def test_neighbours_are_those_of_the_largest_cosine():
    counts = np.random.default_rng(1).integers(0, 9, (40, 6)).astype(np.int32)
    centred = counts - counts.mean(0)
    for sample, found in enumerate(neighbours(counts, 3)):
        cosines = [float(x @ centred[sample] / np.linalg.norm(x) / np.linalg.norm(centred[sample])) for x in centred]
        wanted = sorted((k for k in range(40) if k != sample), key=lambda k: -cosines[k])[:3]
        assert set(found.tolist()) == set(wanted)
    assert neighbours(counts[:3], 5).shape == (3, 2)


def test_votes_walk_to_where_they_come_to_rest(votes):
    nearest = neighbours(np.random.default_rng(2).integers(0, 9, (60, 6)), 4)
    steps = np.zeros((60, 60))
    for sample, found in enumerate(nearest):
        steps[sample, found] = 1 / 4
    rest = 0.3 * np.linalg.solve(np.eye(60) - 0.7 * steps, votes)
    assert np.allclose(walk(votes, nearest, 0.3), rest, atol=1e-4)


def test_neighbours_are_asked_only_where_they_know_more():
    """Two heaps of spike counts, a class each; the network takes half of one heap for the other, but for its firmest samples."""
    rng = np.random.default_rng(3)
    truth = np.arange(80) % 2
    counts = (np.where(truth[:, None] == np.arange(2), 9, 1).repeat(4, 1) + rng.integers(0, 2, (80, 8))).astype(np.int32)
    sure = np.where(rng.random(80) < 0.7, 0.9, 0.4)
    unsure = Answers(np.where(truth[:, None] == np.arange(2), sure[:, None], 1 - sure[:, None]), counts)
    found = self_labels(unsure, unsure, truth[:20], SelfLabelling())
    assert found.walked
    assert found.right == int((sure[:20] > 0.5).sum()) < found.right_walked == 20
    assert found.labels.tolist() == truth.tolist()
    alone = self_labels(unsure, unsure, truth[:20], SelfLabelling(errors=1e6))
    assert not alone.walked
    assert alone.labels[:20].tolist() == truth[:20].tolist()
    assert (alone.labels == truth)[20:].mean() == (sure > 0.5)[20:].mean()
    right = Answers(np.eye(2)[truth], counts)
    assert not self_labels(right, right, truth[:20], SelfLabelling()).walked


def test_answers_are_the_networks():
    network, (_, test) = reader(), read_digits()
    pool = Pool(network, test)
    found = answers(network, RULE, pool.spikes, 70)
    seen = Simulator(network).record(pool.spikes(np.arange(70)))
    logits = seen.values / 64 * RULE.nats * network.layers[-1].scale / network.num_steps
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(found.votes, shares, atol=0.01)
    assert np.array_equal(found.counts, seen.layers[0].z.sum(0))


def test_a_turned_readers_own_labels_teach_it_more():
    network, (train, test) = replace(reader(), statistics=None), read_digits()
    turned = [Images(Shift("rotation", 30)(part.images, 1), part.labels.astype(np.int64)) for part in (train, test)]
    new, few = turned[0], turned[0].first(48)
    lesson, pool = few_labels_lesson(network, RULE, few, False, 0)
    on_chip.learn(lesson, pool.spikes)
    first = lesson.learner.learned()
    seen = (answers(net, RULE, Pool(net, new).spikes, len(new.labels)) for net in (network, first))
    found = self_labels(*seen, few.labels, SelfLabelling())
    lesson, pool = few_labels_lesson(first, RULE, Images(new.images, found.labels), False, 0, passes=1)
    on_chip.learn(lesson, pool.spikes)
    scores = []
    for net in (network, first, lesson.learner.learned()):
        spikes = Pool(net, turned[1]).spikes(np.arange(len(test.labels)))
        scores.append((Simulator(net).run(spikes).argmax(1) == test.labels).mean())
    assert scores[2] > scores[1] + 0.03 > scores[0] + 0.06


@pytest.mark.parametrize("wrong", [{"neighbours": 0}, {"stay": 1.5}, {"relaxed": float("nan")}, {"errors": True}, {"even": -1.0}])
def test_settings_are_checked(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} is "):
        SelfLabelling(**wrong)
