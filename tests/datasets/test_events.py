"""Batches and augmentation of recordings whose frames can be written down."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tonic import transforms
from tonic.io import events_struct

from polystep_snn.datasets import Dataset, Samples
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.framing import SACCADE_US, Framing
from polystep_snn.errors import InputError

SENSOR = (6, 4)


def recording(*events):
    """Events given as (x, y, t, p)."""
    return np.array(list(events), events_struct)


def random_recording(seed, n=500, sensor=SENSOR, end=3 * SACCADE_US):
    generator = np.random.default_rng(seed)
    events = np.empty(n, events_struct)
    events["x"], events["y"] = (generator.integers(0, size, n) for size in sensor)
    events["t"] = np.sort(generator.integers(0, end, n))
    events["p"] = generator.integers(0, 2, n)
    return events


def samples_of(recordings, framing, sensor=SENSOR):
    framed = [framing.frame(events.copy(), sensor, "here") for events in recordings]
    ends = np.cumsum([len(f.steps) for f in framed])
    return EventSamples(
        labels=np.arange(len(framed)),
        steps=np.concatenate([f.steps for f in framed]),
        channels=np.concatenate([f.channels for f in framed]),
        starts=np.concatenate([[0], ends[:-1]]),
        ends=ends,
        numbers=np.arange(len(framed)),
        num_steps=framing.num_steps,
        shape=framing.shape(sensor),
        counts=framing.counts,
    )


def dense(framing, *events, sensor=SENSOR):
    """The frames ``[T, C, H, W]`` of one recording."""
    return samples_of([recording(*events)], framing, sensor).frames(np.array([0])).reshape(framing.num_steps, *framing.shape(sensor))


# Batches


@pytest.fixture(scope="module")
def samples():
    return samples_of([random_recording(seed, n=300 + 50 * seed) for seed in range(6)], Framing(num_steps=7))


ALL = Augmentation(shift=1, jitter=0.7, time_jitter=0.6, drop=0.2, flip_lr=0.5, flip_ud=0.5, flip_polarity=0.5, seed=3)


def test_a_batch_has_the_samples_that_were_asked_for(samples):
    frames = samples.frames(np.array([4, 1, 4]))
    assert frames.shape == (7, 3, 48)
    assert frames.dtype == np.uint8
    for column, number in enumerate((4, 1, 4)):
        np.testing.assert_array_equal(frames[:, column], samples.frames(np.array([number]))[:, 0])
    assert (frames[:, 0] != frames[:, 1]).any()


def test_a_part_shares_the_events_of_the_whole(samples):
    part = samples.take(np.array([5, 2]))
    assert part.steps is samples.steps
    assert part.labels.tolist() == [5, 2]
    np.testing.assert_array_equal(part.frames(np.array([1]), ALL, 9), samples.frames(np.array([2]), ALL, 9))


@pytest.mark.parametrize("augmentation", [None, ALL])
@pytest.mark.parametrize("counts", [False, True])
def test_places_are_where_frames_are_not_zero(counts, augmentation):
    samples = samples_of([random_recording(seed, n=300 + 50 * seed) for seed in range(6)], Framing(num_steps=7, counts=counts))
    indices = np.array([0, 3, 5])
    batch = samples._events(indices, augmentation, 2)
    expected = np.zeros((7, 3, 48), int)
    np.add.at(expected, (batch.steps, batch.rows, batch.channels), 1)
    expected = expected if counts else np.minimum(expected, 1)
    assert (expected.max() > 1) == counts
    places, values = samples.places(indices, augmentation, 2)
    assert places.dtype == np.int32
    assert places.tolist() == np.flatnonzero(expected).tolist()
    assert (values is None) == (not counts)
    np.testing.assert_array_equal(expected.flat[places], 1 if values is None else values)
    np.testing.assert_array_equal(samples.frames(indices, augmentation, 2), expected)


def test_more_events_than_a_byte_counts():
    many = samples_of([recording(*[(1, 2, 0, 1)] * 300, (3, 3, 0, 0))], Framing(num_steps=2, counts=True))
    assert many.places(np.array([0]))[1].tolist() == [1, 255]


def test_samples_that_do_not_fit_together(samples):
    with pytest.raises(InputError, match="give one a recording"):
        replace(samples, ends=samples.ends[1:])
    with pytest.raises(InputError, match="are not uint16"):
        replace(samples, steps=samples.steps.astype(np.int64))
    with pytest.raises(InputError, match="does not lie within"):
        replace(samples, ends=samples.ends + 1)
    with pytest.raises(InputError, match="lies outside 5 steps"):
        replace(samples, num_steps=5)
    with pytest.raises(InputError, match="a batch of 0 samples"):
        samples.frames(np.array([], np.int64))


def test_a_data_set_of_events(samples):
    dataset = Dataset("some", samples, samples, samples, 6, tuple("abcdef"), "half of it")
    assert dataset.title == "some (half of it)"
    images = Samples(np.zeros((6, 4, 6), np.uint8), np.arange(6))
    with pytest.raises(InputError, match=r"test images of some are \(4, 6\)"):
        Dataset("some", samples, samples, images, 6, tuple("abcdef"))


# Augmentation


def test_no_augmentation_changes_nothing(samples):
    assert not Augmentation(seed=5).changes
    np.testing.assert_array_equal(samples.frames(np.arange(6), Augmentation(seed=5), 3), samples.frames(np.arange(6)))


def test_augmentation_depends_on_seed_epoch_and_recording_alone(samples):
    together = samples.frames(np.arange(6), ALL, epoch=4)
    for number in range(6):
        np.testing.assert_array_equal(samples.frames(np.array([number]), ALL, epoch=4)[:, 0], together[:, number])
    np.testing.assert_array_equal(samples.frames(np.arange(6)[::-1], ALL, epoch=4), together[:, ::-1])
    assert (samples.frames(np.arange(6), ALL, epoch=5) != together).any()
    assert (samples.frames(np.arange(6), replace(ALL, seed=4), epoch=4) != together).any()
    # Two recordings with the same events are not augmented alike.
    twins = replace(samples, starts=samples.starts[[0, 0]], ends=samples.ends[[0, 0]], labels=np.arange(2), numbers=np.array([0, 1]))
    frames = twins.frames(np.arange(2), ALL, 4)
    assert (frames[:, 0] != frames[:, 1]).any()


def test_shifts_move_the_whole_recording_and_drop_what_leaves_the_sensor():
    events = random_recording(1)
    samples = samples_of([events], Framing(num_steps=2, counts=True))
    plain = samples.frames(np.array([0])).reshape(2, 2, 4, 6)
    wide = np.pad(plain, ((0, 0), (0, 0), (2, 2), (2, 2)))
    candidates = {(dx, dy): wide[:, :, 2 - dy : 6 - dy, 2 - dx : 8 - dx] for dx in range(-2, 3) for dy in range(-2, 3)}
    seen = []
    for epoch in range(1000):
        moved = samples.frames(np.array([0]), Augmentation(shift=2), epoch).reshape(plain.shape)
        seen += [move for move, frames in candidates.items() if np.array_equal(moved, frames)]
    assert len(seen) == 1000
    counts = [seen.count(move) for move in candidates]
    # All 25 moves are equally likely: 40 each, give or take 6.2.
    assert min(counts) > 15
    assert max(counts) < 65


@pytest.mark.parametrize(("setting", "axis"), [("flip_lr", 4), ("flip_ud", 3), ("flip_polarity", 2)])
def test_flips(samples, setting, axis):
    plain = samples.frames(np.arange(6)).reshape(7, 6, 2, 4, 6)
    always = samples.frames(np.arange(6), Augmentation(**{setting: 1.0})).reshape(plain.shape)
    np.testing.assert_array_equal(always, np.flip(plain, axis))
    flipped = 0
    for epoch in range(200):
        frames = samples.frames(np.arange(6), Augmentation(**{setting: 0.3}), epoch).reshape(plain.shape)
        flipped += sum((frames[:, k] != plain[:, k]).any() for k in range(6))
    assert flipped / 1200 == pytest.approx(0.3, abs=0.05)


def test_flips_are_those_of_tonic():
    events = random_recording(2)
    framing = Framing(num_steps=3, counts=True)
    for setting, transform in (
        ("flip_lr", transforms.RandomFlipLR((*SENSOR, 2), p=1)),
        ("flip_ud", transforms.RandomFlipUD((*SENSOR, 2), p=1)),
        ("flip_polarity", transforms.RandomFlipPolarity(p=1)),
    ):
        ours = samples_of([events], framing).frames(np.array([0]), Augmentation(**{setting: 1.0}))
        np.testing.assert_array_equal(ours, samples_of([transform(events.copy())], framing).frames(np.array([0])))


def test_drops():
    samples = samples_of([random_recording(3, n=20_000)], Framing(num_steps=30, counts=True))
    plain = samples.frames(np.array([0])).astype(int)
    dropped = samples.frames(np.array([0]), Augmentation(drop=0.25)).astype(int)
    assert (dropped <= plain).all()
    assert 1 - dropped.sum() / plain.sum() == pytest.approx(0.25, abs=0.02)
    assert samples.frames(np.array([0]), Augmentation(drop=1.0)).sum() == 0


def test_jitter_is_a_rounded_normal_move_of_every_event():
    middle = samples_of([recording(*[(16, 15, 0, 1)] * 20_000)], Framing(num_steps=1, counts=True), sensor=(34, 34))
    batch = middle._events(np.array([0]), Augmentation(jitter=1.2), 0)
    p, y, x = np.unravel_index(batch.channels, middle.shape)
    assert (p == 1).all()
    generator = np.random.default_rng(0)
    expected = np.round(generator.normal(0, 1.2, 20_000))
    for moved in (x - 16, y - 15):
        for move in range(-3, 4):
            assert (moved == move).mean() == pytest.approx((expected == move).mean(), abs=0.015)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.03


def test_jitter_in_time_leaves_the_place_and_drops_what_leaves_the_window():
    samples = samples_of([recording(*[(1, 2, 55, 1)] * 10_000)], Framing(num_steps=10, window_us=100, counts=True))
    batch = samples._events(np.array([0]), Augmentation(time_jitter=0.5), 0)
    moves = batch.steps - 5
    assert len(moves) == 10_000
    assert np.unique(batch.channels).tolist() == [samples.channels[0]]
    assert (moves == 0).mean() == pytest.approx(0.683, abs=0.02)
    assert (moves == 1).mean() == pytest.approx(0.157, abs=0.02)
    early = samples_of([recording(*[(1, 2, 5, 1)] * 10_000)], Framing(num_steps=10, window_us=100, counts=True))
    assert len(early._events(np.array([0]), Augmentation(time_jitter=0.5), 0).steps) == pytest.approx(8413, abs=200)


def test_events_that_jitter_beside_the_sensor_do_not_come_in_elsewhere():
    samples = samples_of([recording(*[(5, 3, 0, 0)] * 5000)], Framing(num_steps=1, counts=True))
    batch = samples._events(np.array([0]), Augmentation(jitter=1.0), 0)
    p, y, x = np.unravel_index(batch.channels, samples.shape)
    assert (p == 0).all()
    # From the last column and row, 69 % each stay.
    assert len(x) / 5000 == pytest.approx(0.6915**2, abs=0.03)
    assert x.min() >= 1
    assert y.min() >= 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shift": -1}, "shift is -1"),
        ({"shift": 1.5}, "shift is 1.5"),
        ({"jitter": -0.1}, "jitter is -0.1"),
        ({"jitter": float("nan")}, "jitter is nan"),
        ({"time_jitter": 17}, "time_jitter is 17"),
        ({"drop": 1.1}, "drop is 1.1: give a probability"),
        ({"flip_lr": -1}, "flip_lr is -1"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_augmentation_out_of_range(settings, message):
    with pytest.raises(InputError, match=message):
        Augmentation(**settings)


def test_one_polarity_cannot_be_flipped():
    samples = samples_of([random_recording(0)], Framing(polarity=False))
    with pytest.raises(InputError, match="a frame has 1 polarity"):
        samples.frames(np.array([0]), Augmentation(flip_polarity=0.5))


def test_nothing_large_is_imported_until_recordings_are_read():
    code = (
        "from polystep_snn.datasets import dvs_gesture, nmnist, shd; import sys; "
        "print(*(module in sys.modules for module in ('torch', 'tonic', 'h5py')))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}, timeout=120)
    assert answer.stdout.split() == ["False", "False", "False"]
