"""Shifted streams, lessons made of them, and networks that learn from them in integers."""

import numpy as np
import pytest

from polystep_snn import InputError
from polystep_snn.datasets.shifts import SHIFTS, Shift
from polystep_snn.hardware.adaptation import Images, Pool, Stream, field_lesson, random_network, training_lesson
from polystep_snn.hardware.learning_rule import LearningRule
from polystep_snn.hardware.lesson import JUDGE, LEARN, WATCH
from polystep_snn.hardware.on_chip import learn
from polystep_snn.hardware.simulator import Simulator


@pytest.fixture(scope="module")
def pictures(digits):
    """The digits in [0, 1]: training and validation."""
    return [Images(part.images.astype(np.float32) / part.full_scale, part.labels) for part in (digits.train, digits.validation)]


def accuracy(network, part):
    pool = Pool(network, part)
    return (Simulator(network).run(pool.spikes(np.arange(len(part.labels)))).argmax(1) == part.labels).mean()


def test_shifts_by_hand():
    image = np.zeros((1, 4, 4), np.float32)
    image[0, 1, 1] = 1.0
    assert Shift("inversion", 1.0)(image, 0)[0, 1].tolist() == [1, 0, 1, 1]
    assert Shift("inversion", 0.25)(image, 0)[0, 1].tolist() == [0.25, 0.75, 0.25, 0.25]
    half = Shift("contrast", 0.5)(image, 0)
    assert half[0, 1, 1] == pytest.approx(1 / 16 + 0.5 * 15 / 16)
    assert half.mean() == pytest.approx(1 / 16)
    assert np.allclose(Shift("rotation", 90)(image, 0)[0], np.rot90(image[0]), atol=1e-6)
    assert Shift("translation", 0)(image, 0).tolist() == image.tolist()
    moved = Shift("translation", 1)(image, 3)
    y, x = np.indices((4, 4))
    centre = np.array([(moved[0] * y).sum(), (moved[0] * x).sum()]) / moved.sum()
    assert np.hypot(*(centre - 1)) == pytest.approx(1, abs=0.05)
    full = np.ones((200, 4, 4), np.float32)
    occluded = Shift("occlusion", 0.5)(full, 0)
    assert (occluded.sum((1, 2)) == 12).all()
    assert len(np.unique(occluded.reshape(200, 16), axis=0)) == 9
    dead = Shift("dead", 0.25)(full, 0)
    assert (dead == dead[0]).all()
    assert dead[0].sum() == 12
    noisy = Shift("noise", 0.1)(0.5 * np.ones((50, 20, 20), np.float32), 0)
    assert noisy.std() == pytest.approx(0.1, rel=0.02)
    assert not np.array_equal(noisy[0], noisy[1])


@pytest.mark.parametrize("kind", SHIFTS)
def test_a_stream_is_shifted_alike_whole_and_in_parts(kind):
    images = np.random.default_rng(0).random((6, 8, 8), np.float32)
    shift = Shift(kind, 0.3)
    whole = shift(images, 7)
    assert np.array_equal(whole, np.concatenate([shift(images[:4], 7), shift(images[4:], 7, first=4)]))
    assert np.array_equal(whole, shift(images, 7))
    assert whole.dtype == np.float32
    assert whole.min() >= 0
    assert whole.max() <= 1
    assert not np.array_equal(whole, images)


@pytest.mark.parametrize("kind", SHIFTS)
def test_no_images_stay_none(kind):
    shifted = Shift(kind, 0.3)(np.empty((0, 8, 6), np.float32), 7)
    assert (shifted.shape, shifted.dtype) == ((0, 8, 6), np.float32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fog:1", "no shift 'fog'"),
        ("noise", "a shift is 'noise': give KIND:AMOUNT"),
        ("noise:x", "give KIND:AMOUNT"),
        ("noise:-1", "amount of noise is -1"),
        ("noise:nan", "amount of noise is nan"),
        ("inversion:2", "amount of inversion is 2"),
        ("rotation:500", "amount of rotation is 500"),
    ],
)
def test_impossible_shifts(text, message):
    with pytest.raises(InputError, match=message):
        Shift.parse(text)


def small_network(digits, seed=0, hidden=32):
    return random_network((64, hidden, 10), 8, "rate", (8, 8), digits.classes, seed=seed)


def test_a_network_is_trained_from_nothing_in_integers(digits, pictures):
    train, validation = pictures
    network = small_network(digits)
    rule = LearningRule(("readout", "hidden"), batch_size=16, rate=0.5, schedule="cosine")
    lesson, pool = training_lesson(network, rule, train, validation, epochs=8, seed=0)
    learn(lesson, pool.spikes)
    assert len(lesson.scores) == 8
    assert accuracy(network, validation) < 0.3
    assert accuracy(lesson.learner.learned(), validation) == pytest.approx(max(lesson.scores))
    assert max(lesson.scores) > 0.9
    assert lesson.learner.updates == 8 * len(train.labels) // 16
    assert not np.array_equal(lesson.learner.learned().layers[0].weight, network.layers[0].weight)
    again, pool = training_lesson(network, rule, train, validation, epochs=8, seed=0)
    learn(again, pool.spikes)
    assert np.array_equal(again.learner.learned().layers[0].weight, lesson.learner.learned().layers[0].weight)


def test_labels_that_mean_nothing_teach_nothing(digits, pictures):
    train, validation = pictures
    wrong = Images(train.images, np.random.default_rng(0).permutation(train.labels))
    lesson, pool = training_lesson(
        small_network(digits), LearningRule(("readout", "hidden"), batch_size=16, schedule="cosine"), wrong, validation, 3, seed=0
    )
    learn(lesson, pool.spikes)
    assert accuracy(lesson.learner.learned(), validation) < 0.35


@pytest.fixture(scope="module")
def deployed(digits, pictures):
    """A network that knows the digits."""
    lesson, pool = training_lesson(
        small_network(digits), LearningRule(("readout", "hidden"), batch_size=16, schedule="cosine"), *pictures, epochs=8, seed=1
    )
    learn(lesson, pool.spikes)
    return lesson.learner.learned()


def make_lesson(deployed, pictures, rule, stream, shift="inversion:0.4"):
    train, validation = pictures
    shifted = [Images(Shift.parse(shift)(part.images, 1), part.labels) for part in pictures]
    return field_lesson(deployed, rule, stream, shifted[0], train, shifted[1], validation), shifted[1]


@pytest.mark.parametrize(("writable", "rate"), [(("readout",), 1.0), (("hidden_bias",), 0.25), (("readout", "hidden"), 0.05)])
def test_a_deployed_network_recovers(deployed, pictures, writable, rate):
    rule = LearningRule(writable, batch_size=8, rate=rate, readout_rate=2 * rate)
    (lesson, pool), held_out = make_lesson(deployed, pictures, rule, Stream(samples=1000, held_out=100, round_size=250))
    learn(lesson, pool.spikes)
    before, after = accuracy(deployed, held_out), accuracy(lesson.learner.learned(), held_out)
    assert before < 0.7
    assert after > before + 0.1
    layers = lesson.learner.learned().layers
    assert np.array_equal(layers[0].weight, deployed.layers[0].weight) == ("hidden" not in writable)
    assert np.array_equal(layers[1].weight, deployed.layers[1].weight) == ("readout" not in writable)
    assert lesson.scores[0] == pytest.approx(accuracy(deployed, Images(*(x[:100] for x in held_out))))


def test_replay_keeps_what_was_known(deployed, pictures):
    rule = LearningRule(("readout",), batch_size=8, readout_rate=1.0)
    clean = {}
    for replay in (0.0, 1.0):
        stream = Stream(samples=1000, replay=replay, held_out=0)
        (lesson, pool), _ = make_lesson(deployed, pictures, rule, stream, "rotation:60")
        learn(lesson, pool.spikes)
        clean[replay] = accuracy(lesson.learner.learned(), pictures[1])
    assert clean[1.0] > clean[0.0] + 0.02


def test_a_round_that_makes_it_worse_is_taken_back(deployed, pictures):
    train, validation = pictures
    wrong = Images(train.images, (train.labels + 1) % 10)
    rule = LearningRule(("readout", "hidden"), batch_size=8, rate=1.0)
    lesson, pool = field_lesson(deployed, rule, Stream(samples=600, held_out=100, round_size=200), wrong, train, validation, validation)
    learn(lesson, pool.spikes)
    assert lesson.rollbacks == 3
    assert lesson.scores[0] > max(lesson.scores[1:])
    for name, values in (("hidden", deployed.layers[0].weight), ("readout", deployed.layers[1].weight)):
        assert np.array_equal(lesson.learner.parameters[name], values)
        assert not lesson.learner.accumulators[name].any()


def test_what_a_stream_is_made_of(deployed, pictures):
    rule = LearningRule(("readout",), batch_size=8)
    stream = Stream(samples=400, replay=0.5, labelled=0.25, held_out=90, round_size=200)
    (lesson, _), _ = make_lesson(deployed, pictures, rule, stream)
    plan = lesson.plan
    new, replayed = plan.samples < len(pictures[0].labels), (plan.samples >= len(pictures[0].labels)) & (plan.kinds != JUDGE)
    assert np.bincount(plan.kinds[new]).tolist()[LEARN] == pytest.approx(100, abs=30)
    assert (plan.kinds[new] == WATCH).sum() + (plan.kinds[new] == LEARN).sum() == 400
    assert sorted(plan.samples[new]) == list(range(400))
    assert (plan.kinds[replayed] == LEARN).all()
    assert replayed.sum() == 200
    assert (plan.kinds == JUDGE).sum() == 3 * 90
    judges = plan.samples[:90]
    # A third of the samples shown are clean ones, so a third of the judges are.
    assert (judges >= 2 * len(pictures[0].labels) + len(pictures[1].labels)).sum() == 30


def test_empty_parts_of_a_stream(deployed, pictures):
    """Nobody judges, nothing is replayed: the last weights stay, and they are those of a stream that could have been."""
    train, none = pictures[0], Images(np.empty((0, 8, 8), np.float32), np.empty(0, np.int64))
    rule, stream = LearningRule(("readout",), batch_size=8), Stream(samples=100, held_out=0)
    lessons = [field_lesson(deployed, rule, stream, train, clean, none, none) for clean in (none, train)]
    for lesson, pool in lessons:
        learn(lesson, pool.spikes)
    assert lessons[0][0].scores == []
    assert lessons[0][0].learner.updates == 12
    assert lessons[0][0].checksum == lessons[1][0].checksum
    assert Pool(deployed, none).spikes(np.arange(0)).shape == (8, 0, 64)


def test_impossible_streams(deployed, pictures, digits):
    train, validation = pictures
    rule = LearningRule(("readout",), batch_size=8)

    def lesson(stream=None, rule=rule):
        return field_lesson(deployed, rule, stream or Stream(samples=100, held_out=10), train, train, validation, validation)

    for stream, message in (
        (Stream(samples=10_000), "samples is 10000, but the stream has"),
        (Stream(samples=100, held_out=5000), "held_out is 5000, but only"),
        (Stream(samples=4, held_out=0), "less than a batch of 8"),
        (Stream(samples=100, held_out=0, labelled=1e-9), "0 samples to learn from"),
    ):
        with pytest.raises(InputError, match=message):
            lesson(stream)
    few, none = Images(*(x[:5] for x in validation)), Images(train.images[:0], train.labels[:0])
    with pytest.raises(InputError, match="of which a replay of 10 makes 9 clean ones, but only 5 are there to judge: choose fewer"):
        field_lesson(deployed, rule, Stream(samples=100, held_out=10, replay=10), train, train, validation, few)
    with pytest.raises(InputError, match=r"replay is 0\.5, but there are no clean samples: give some, or choose 0"):
        field_lesson(deployed, rule, Stream(samples=100, held_out=0, replay=0.5), train, none, none, none)
    for labels, given in ((few.labels[:4], r"uint8 \[4\]"), (few.labels + 0.7, r"float64 \[5\]")):
        with pytest.raises(InputError, match=f"labels are {given} for 5 images: give one integer an image"):
            Pool(deployed, Images(few.images, labels))
    with pytest.raises(InputError, match="a label is -1, but the network has 10 classes"):
        field_lesson(deployed, rule, Stream(samples=100, held_out=0), Images(train.images, train.labels.astype(int) - 1), none, none, none)
    with pytest.raises(InputError, match="takes samples of"):
        Pool(deployed, Images(train.images[:, :4], train.labels))
    for settings, message in (
        ({"samples": 0}, "samples is 0"),
        ({"samples": True}, "samples is True"),
        ({"held_out": "500"}, "held_out is '500'"),
        ({"replay": "1"}, "replay is '1'"),
        ({"labelled": "1"}, "labelled is '1'"),
        ({"replay": -1.0}, "replay is -1"),
        ({"labelled": 0.0}, "learning needs labels"),
        ({"round_size": 0}, "round_size is 0"),
    ):
        with pytest.raises(InputError, match=message):
            Stream(**settings)
    with pytest.raises(InputError, match="no bias register holds"):
        lesson(rule=LearningRule(("hidden",), batch_size=8, radius=1e5))
