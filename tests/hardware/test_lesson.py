"""Lessons step by step: segments, judgements, rollbacks, checksums."""

import numpy as np
import pytest

from polystep_snn.errors import InputError
from polystep_snn.hardware.learning_rule import Learner, LearningRule
from polystep_snn.hardware.lesson import JUDGE, LEARN, WATCH, Lesson, Plan
from polystep_snn.hardware.on_chip import learn
from tests.hardware.learning import STEPS, random_counts, small_network


def naive_segments(kinds, batch_size):
    """Ends of stretches, a sample at a time."""
    found, start, learned = [], 0, 0
    for i, kind in enumerate(kinds):
        learned += int(kind == LEARN)
        if i == len(kinds) - 1 or kinds[i + 1] != kind or (kind == LEARN and learned == batch_size):
            found.append((start, i + 1))
            start = i + 1
            learned %= batch_size
    return found


def test_segments():
    kinds = np.array([JUDGE, LEARN, LEARN, LEARN, WATCH, LEARN, JUDGE, JUDGE, LEARN])
    plan = Plan(np.arange(9), np.zeros(9, int), kinds, 2)
    assert [(s.start, s.stop) for s in plan.segments()] == [(0, 1), (1, 3), (3, 4), (4, 5), (5, 6), (6, 8), (8, 9)]
    assert plan.num_updates == 2
    rng = np.random.default_rng(0)
    for _ in range(50):
        kinds = np.repeat(rng.integers(0, 3, 20), rng.integers(1, 7, 20))
        kinds = np.concatenate([kinds, np.full(8, LEARN)])
        plan = Plan(np.arange(len(kinds)), np.zeros(len(kinds), int), kinds, int(rng.integers(1, 9)))
        assert [(s.start, s.stop) for s in plan.segments()] == naive_segments(kinds, plan.batch_size)


def make_lesson(kinds, batch_size=2, rollback=True, seed=0):
    rng = np.random.default_rng(seed)
    network = small_network(rng)
    learner = Learner(network, LearningRule(("readout", "hidden"), batch_size, rate=4.0, readout_rate=4.0, nats=100.0), 10)
    inputs, counts, labels = random_counts(rng, network, len(kinds))
    return Lesson(learner, Plan(np.arange(len(kinds)), labels, np.array(kinds), batch_size, rollback)), inputs, counts


def judged(lesson, counts, score):
    """Labels such that just this fraction of the next samples is right."""
    part = slice(lesson.position, lesson.position + counts.shape[1])
    decisions = lesson.learner.observe(np.zeros((counts.shape[1], 12), np.int32), counts, lesson.plan.labels[part], False)
    wrong = np.arange(counts.shape[1]) >= round(score * counts.shape[1])
    lesson.plan.labels[part] = (decisions + wrong) % 4


@pytest.mark.parametrize("rollback", [True, False])
def test_judgements(rollback):
    """Scores of 1/2, 3/4, 1/4, 3/4: the third takes the weights back to the second; the fourth, as good, stays; the best are kept."""
    round_ = [LEARN] * 4 + [JUDGE] * 4
    lesson, inputs, counts = make_lesson([JUDGE] * 4 + round_ * 3 + [LEARN] * 2, rollback=rollback)
    states, changes, scores = [], [], [0.5, 0.75, 0.25, 0.75]
    while lesson.left:
        part = slice(lesson.position, lesson.position + lesson.left)
        kind = lesson.plan.kinds[part.start]
        if kind == JUDGE:
            judged(lesson, counts[:, part], scores[len(lesson.scores)])
        changes.append((int(kind), lesson.show(inputs[part], counts[:, part])))
        states.append(lesson.learner.snapshot())
    assert lesson.scores == scores
    assert lesson.rollbacks == (1 if rollback else 0)
    learned, kept = (LEARN, True), (JUDGE, False)
    assert changes == [kept, learned, learned, kept, learned, learned, (JUDGE, rollback), learned, learned, kept, learned]
    best, third, fourth, last = states[3], states[6], states[9], states[-1]
    for name, values in best.items():
        assert np.array_equal(values, third[name]) == rollback or "bias" in name
        assert np.array_equal(fourth[name], last[name])
    assert not np.array_equal(fourth["parameters.hidden"], best["parameters.hidden"])
    assert lesson.learner.updates == 7


def test_a_rollback_forgets_an_unfinished_batch_and_keeps_step():
    """Two of four samples are learned when the judgement falls; the batch ends where the plan has it end, with the other two."""
    lesson, inputs, counts = make_lesson([JUDGE] * 2 + [LEARN] * 2 + [JUDGE] * 2 + [LEARN] * 6, batch_size=4)
    for start, stop, score in ((0, 2, 1.0), (2, 4, None), (4, 6, 0.0)):
        if score is not None:
            judged(lesson, counts[:, start:stop], score)
        changed = lesson.show(inputs[start:stop], counts[:, start:stop])
    assert changed
    assert lesson.rollbacks == 1
    alone = Learner(lesson.learner.network, lesson.learner.rule, 10)
    for part in (slice(6, 8), slice(8, 12)):
        assert lesson.left == part.stop - part.start
        assert lesson.show(inputs[part], counts[:, part])
        alone.observe(inputs[part], counts[:, part], lesson.plan.labels[part], True)
        alone.update()
        if part.stop == 8:
            for name, values in alone.snapshot().items():
                assert np.array_equal(lesson.learner.snapshot()[name], values), name
    assert alone.updates == lesson.learner.updates == lesson.plan.num_updates == 2


def test_checksums_tell_of_every_write():
    kinds = [LEARN] * 20
    one, inputs, counts = make_lesson(kinds)
    other, *_ = make_lesson(kinds)
    for start in range(0, 20, 2):
        part = slice(start, start + 2)
        one.show(inputs[part], counts[:, part])
        before = other.checksum
        for i in (start, start + 1):
            assert other.show(inputs[i : i + 1], counts[:, i : i + 1]) == (i % 2 == 1)
        assert one.checksum == other.checksum != before
    assert one.left == 0
    third, *_ = make_lesson(kinds)
    third.learner.accumulators["hidden"][0, 0] += 1
    third.show(inputs[:2], counts[:, :2])
    fourth, *_ = make_lesson(kinds)
    fourth.show(inputs[:2], counts[:, :2])
    assert third.checksum != fourth.checksum


def test_an_unfinished_batch_is_not_carried_over():
    lesson, inputs, counts = make_lesson([LEARN] * 5)
    for part in (slice(0, 2), slice(2, 4), slice(4, 5)):
        lesson.show(inputs[part], counts[:, part])
    before = lesson.learner.snapshot()
    lesson.learner.update()
    for name, values in lesson.learner.snapshot().items():
        assert np.array_equal(values, before[name])


def test_impossible_plans():
    some = np.zeros(4, int)
    with pytest.raises(InputError, match="4 samples, 3 labels and 4 kinds"):
        Plan(some, some[:3], np.full(4, LEARN), 2)
    with pytest.raises(InputError, match="the stream has 3 samples to learn from, less than a batch of 4"):
        Plan(some, some, np.array([LEARN, LEARN, WATCH, LEARN]), 4)
    network = small_network(np.random.default_rng(0))
    with pytest.raises(InputError, match="batches are 2 in the plan and 32 in the rule"):
        Lesson(Learner(network, LearningRule(), 1), Plan(some, some, np.full(4, LEARN), 2))
    with pytest.raises(InputError, match="labels are float64: give integers"):
        Plan(some, some + 0.5, np.full(4, LEARN), 2)
    learner = Learner(network, LearningRule(batch_size=2), 1)
    for kind, label in ((LEARN, -1), (LEARN, 4), (JUDGE, -1), (JUDGE, 4)):
        labels, kinds = np.array([3, 0, label, 1]), np.array([LEARN, LEARN, kind, LEARN])
        with pytest.raises(InputError, match=f"a label is {label}, but the network has 4 classes: give 0 to 3"):
            Lesson(learner, Plan(some, labels, kinds, 2))
        kinds[2] = WATCH
        assert Lesson(learner, Plan(some, labels, kinds, 2)).left == 2
    lesson, inputs, counts = make_lesson([LEARN] * 4)
    lesson.show(inputs[:1], counts[:, :1])
    with pytest.raises(InputError, match="the lesson has shown 1 samples already"):
        learn(lesson, lambda numbers: np.zeros((STEPS, len(numbers), 12), np.uint8))
