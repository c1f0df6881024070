"""Framing, augmentation, the cache and folds on recordings whose frames can be written down."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from tonic import transforms
from tonic.io import events_struct

from polystep_snn.datasets import Dataset, Samples, frames_cache
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.events import EventSamples
from polystep_snn.datasets.folds import stratified_folds, stratified_split
from polystep_snn.datasets.frames_cache import cached
from polystep_snn.datasets.framing import SACCADE_US, Framing, check_events
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


# Framing


def test_bins_of_equal_width():
    frames = dense(Framing(num_steps=3, window_us=30), (1, 2, 0, 1), (1, 2, 9, 1), (5, 3, 10, 0), (0, 0, 29, 0), (3, 3, 30, 1))
    assert {tuple(cell) for cell in np.argwhere(frames)} == {(0, 1, 2, 1), (1, 0, 3, 5), (2, 0, 0, 0)}
    assert frames.max() == 1
    counted = dense(Framing(num_steps=3, window_us=30, counts=True), (1, 2, 0, 1), (1, 2, 9, 1), (5, 3, 10, 0))
    assert counted[0, 1, 2, 1] == 2
    assert counted.sum() == 3


def test_bins_of_equal_numbers_of_events():
    frames = dense(Framing(num_steps=2, bin_by="count"), (0, 0, 0, 0), (1, 0, 1, 0), (2, 0, 2, 0), (3, 0, 90_000, 0))
    assert [np.flatnonzero(frame).tolist() for frame in frames] == [[0, 1], [2, 3]]


def test_counts_end_at_255():
    assert dense(Framing(num_steps=1, counts=True), *[(0, 0, 0, 0)] * 300).max() == 255


def test_frames_are_those_of_tonic():
    events = random_recording(0)
    ours = samples_of([events], Framing(num_steps=30, counts=True)).frames(np.array([0])).reshape(30, 2, 4, 6)
    theirs = transforms.ToFrame((*SENSOR, 2), time_window=10_500, include_incomplete=True, start_time=0, end_time=3 * SACCADE_US)(events)
    np.testing.assert_array_equal(ours, theirs[:30])
    assert not theirs[30:].any()


def test_events_after_the_window_are_dropped_and_counted():
    framed = Framing(num_steps=1, window_us=100).frame(recording((0, 0, 99, 0), (1, 0, 100, 0), (2, 0, 200, 0)), SENSOR, "here")
    assert framed.channels.tolist() == [0]
    assert framed.late == 2


def test_the_window_of_the_first_saccade():
    frames = dense(Framing(num_steps=1, window_us=SACCADE_US), (1, 0, SACCADE_US - 1, 0), (2, 0, SACCADE_US, 0))
    assert np.flatnonzero(frames).tolist() == [1]


def test_a_bin_width_covers_the_window():
    framing = Framing.of_bin_width(10_000, counts=True)
    assert (framing.num_steps, framing.window_us, framing.counts) == (32, 320_000, True)


def test_polarities_in_one_channel():
    frames = dense(Framing(num_steps=1, polarity=False, counts=True), (1, 2, 0, 0), (1, 2, 1, 1))
    assert frames.shape == (1, 1, 4, 6)
    assert frames[0, 0, 2, 1] == 2


def test_a_crop_keeps_what_is_inside():
    frames = dense(Framing(num_steps=1, crop=(1, 2, 3, 2)), (1, 2, 0, 0), (3, 3, 1, 1), (4, 3, 2, 1), (0, 2, 3, 0), (2, 1, 4, 0))
    assert frames.shape == (1, 2, 2, 3)
    assert {tuple(cell) for cell in np.argwhere(frames)} == {(0, 0, 0, 0), (0, 1, 1, 2)}


def test_denoising_drops_lonely_events():
    events = [(1, 1, 4000, 0), (2, 1, 4500, 0), (5, 3, 4600, 0), (1, 1, 9000, 0)]
    assert {tuple(cell) for cell in np.argwhere(dense(Framing(num_steps=1, denoise_us=1000), *events))} == {(0, 0, 1, 2)}
    assert dense(Framing(num_steps=1, counts=True), *events).sum() == 4


def test_stabilisation_keeps_still_what_moves_with_the_saccades():
    # The path of a point under the three saccades; what tonic's function subtracts, added.
    t = np.arange(0, 3 * SACCADE_US, 5000)
    part, within = np.minimum(t // SACCADE_US, 2), (t % SACCADE_US) / SACCADE_US
    x = np.choose(part, [3.5 * within, 3.5 + 3.5 * within, 7 - 7 * within]) + 12
    y = np.choose(part, [7 * within, 7 - 7 * within, 0 * within]) + 12
    events = recording(*zip(np.round(x), np.round(y), t, np.ones(len(t)), strict=True))
    frames = dense(Framing(num_steps=3, stabilize=True), *events.tolist(), sensor=(34, 34))
    seen = np.argwhere(frames.any((0, 1)))
    assert np.ptp(seen, axis=0).max() <= 1
    assert np.abs(seen - [14, 16]).max() <= 1
    moving = np.argwhere(dense(Framing(num_steps=3), *events.tolist(), sensor=(34, 34)).any((0, 1)))
    assert np.ptp(moving, axis=0).tolist() == [7, 7]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0: give an integer from 1"),
        ({"num_steps": 2.5}, "num_steps is 2.5"),
        ({"window_us": 0}, "window_us is 0"),
        ({"num_steps": 20, "window_us": 10}, "num_steps is 20 in a window of 10 µs"),
        ({"denoise_us": -1}, "denoise_us is -1"),
        ({"bin_by": "place"}, "bin_by is 'place': choose one of time, count"),
        ({"crop": (0, 0, 0, 3)}, "give left, top, width and height"),
        ({"crop": (4, 0, 3, 3)}, "the sensor has 6 x 4 pixels: stay inside"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(InputError, match=message):
        Framing(**settings).shape(SENSOR)


def test_a_bin_must_have_a_width():
    with pytest.raises(InputError, match="bin_us is 0: give at least 1"):
        Framing.of_bin_width(0)


def test_a_sensor_too_large_to_number():
    with pytest.raises(InputError, match="at most 65535 can be numbered: crop it"):
        Framing().shape((256, 256))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 1, "window_us": 50}, "left before 50 µs"),
        ({"denoise_us": 10}, "left after denoising with 10 µs"),
        ({"crop": (3, 0, 2, 2)}, r"left in the crop \(3, 0, 2, 2\)"),
    ],
)
def test_a_recording_of_which_nothing_is_left(settings, message):
    with pytest.raises(InputError, match=f"^here has no event {message}"):
        Framing(**settings).frame(recording((0, 0, 100, 0), (5, 3, 200, 1)), SENSOR, "here")


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([], "here holds no event"),
        ([(6, 0, 0, 0)], "here has an event at x = 6, the sensor ends at 5"),
        ([(0, 4, 0, 0)], "here has an event at y = 4, the sensor ends at 3"),
        ([(0, -1, 0, 0)], "here has an event at y = -1"),
        ([(0, 0, 5, 0), (0, 0, 7, 0), (0, 0, 6, 0)], "here goes back in time, from 7 to 6 µs at event 2"),
        ([(0, 0, -5, 0), (0, 0, 7, 0)], "here begins at -5 µs, before time 0"),
    ],
)
def test_events_that_cannot_be(events, message):
    with pytest.raises(InputError, match=message):
        check_events(recording(*events), SENSOR, "here")


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
def test_the_stream_gives_the_frames_one_by_one(samples, counts, augmentation):
    samples = replace(samples, counts=counts)
    indices = np.array([0, 3, 5])
    steps = list(samples.stream(indices, augmentation, 2))
    assert [step.shape for step in steps] == [(3, 48)] * 7
    np.testing.assert_array_equal(np.stack(steps), samples.frames(indices, augmentation, 2))


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
    middle = samples_of([recording(*[(16, 15, 0, 1)] * 20_000)], Framing(num_steps=1), sensor=(34, 34))
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
    samples = samples_of([recording(*[(1, 2, 55, 1)] * 10_000)], Framing(num_steps=10, window_us=100))
    batch = samples._events(np.array([0]), Augmentation(time_jitter=0.5), 0)
    moves = batch.steps - 5
    assert len(moves) == 10_000
    assert np.unique(batch.channels).tolist() == [samples.channels[0]]
    assert (moves == 0).mean() == pytest.approx(0.683, abs=0.02)
    assert (moves == 1).mean() == pytest.approx(0.157, abs=0.02)
    early = samples_of([recording(*[(1, 2, 5, 1)] * 10_000)], Framing(num_steps=10, window_us=100))
    assert len(early._events(np.array([0]), Augmentation(time_jitter=0.5), 0).steps) == pytest.approx(8413, abs=200)


def test_events_that_jitter_beside_the_sensor_do_not_come_in_elsewhere():
    samples = samples_of([recording(*[(5, 3, 0, 0)] * 5000)], Framing(num_steps=1))
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


# The cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "polystep-snn" / "frames"


class Maker:
    """Counts how often it had to work."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"a": np.arange(5, dtype=np.uint16), "empty": np.zeros(0, np.int64)}


def same(arrays):
    return arrays["a"].tolist() == [0, 1, 2, 3, 4] and arrays["a"].dtype == np.uint16 and arrays["empty"].shape == (0,)


def test_what_was_made_once_is_read(cache):
    make = Maker()
    assert same(cached("x", {"steps": 3}, make))
    assert same(cached("x", {"steps": 3}, make))
    assert make.calls == 1
    assert len(list(cache.iterdir())) == 1


def test_other_settings_and_another_version_are_made_anew(cache, monkeypatch):
    make = Maker()
    cached("x", {"steps": 3}, make)
    cached("x", {"steps": 4}, make)
    assert make.calls == 2
    monkeypatch.setattr("polystep_snn.__version__", "99.0")
    cached("x", {"steps": 3}, make)
    assert make.calls == 3
    monkeypatch.setattr(frames_cache, "SCHEMA", 99)
    cached("x", {"steps": 3}, make)
    assert make.calls == 4


def _halve(content):
    return content[: len(content) // 2]


def _flip_last_bit(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [lambda content: b"", _halve, _flip_last_bit, lambda content: b"no such format" * 10])
def test_a_damaged_file_is_made_anew_and_said(cache, caplog, damage):
    make = Maker()
    cached("x", {}, make)
    (path,) = cache.iterdir()
    path.write_bytes(damage(path.read_bytes()))
    assert same(cached("x", {}, make))
    assert make.calls == 2
    assert f"{path} is damaged" in caplog.text
    caplog.clear()
    assert same(cached("x", {}, make))
    assert make.calls == 2
    assert not caplog.records


def test_a_file_under_the_name_of_another_is_not_taken(cache, caplog):
    make = Maker()
    cached("x", {"steps": 3}, make)
    (first,) = cache.iterdir()
    cached("x", {"steps": 4}, make)
    (second,) = set(cache.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    cached("x", {"steps": 4}, make)
    assert make.calls == 3
    assert "another key" in caplog.text


def test_an_interrupted_run_leaves_nothing_that_is_read(cache):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached("x", {}, interrupted)
    assert list(cache.iterdir()) == []
    make = Maker()
    assert same(cached("x", {}, make))
    # What a process that was killed while writing leaves is no file of the cache.
    (path,) = cache.iterdir()
    path.rename(path.with_name(f".{path.name}.killed"))
    assert same(cached("x", {}, make))
    assert make.calls == 2


def test_several_processes_at_once(cache):
    code = (
        "import numpy as np; from polystep_snn.datasets.frames_cache import cached\n"
        "for k in range(20):\n"
        "    a = cached('x', {'k': k}, lambda: {'a': np.full(50_000, k)})['a']\n"
        "    assert a.shape == (50_000,) and (a == k).all()\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert (worker.returncode, errors) == (0, "")
    assert len(list(cache.iterdir())) == 20
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    make = Maker()
    with pytest.raises(InputError, match=r"cannot be created .*through \$XDG_CACHE_HOME"):
        cached("x", {}, make)
    assert make.calls == 0


def test_what_goes_wrong_while_making_is_not_blamed_on_the_cache(cache):
    def broken():
        raise InputError("a recording is broken")

    with pytest.raises(InputError, match=r"^a recording is broken$"):
        cached("x", {}, broken)


# Folds


def test_folds_hold_every_sample_once_and_every_class_evenly():
    labels = np.random.default_rng(0).integers(0, 10, 1100)
    folds = stratified_folds(labels, 5, seed=1)
    assert [len(fold) for fold in folds] == [220] * 5
    assert np.concatenate(folds).tolist() != list(range(1100))
    assert sorted(np.concatenate(folds).tolist()) == list(range(1100))
    counts = np.array([np.bincount(labels[fold], minlength=10) for fold in folds])
    assert np.ptp(counts, axis=0).max() <= 1
    for fold, again, other in zip(folds, stratified_folds(labels, 5, seed=1), stratified_folds(labels, 5, seed=2), strict=True):
        assert fold.tolist() == again.tolist() != other.tolist()


def test_a_split_takes_its_share_of_every_class():
    labels = np.repeat([0, 1, 2], [100, 50, 3])
    large, small = stratified_split(labels, 0.1, seed=0)
    assert np.bincount(labels[small]).tolist() == [10, 5, 1]
    assert sorted([*large, *small]) == list(range(153))


def test_folds_and_splits_that_cannot_be():
    labels = np.array([0, 0, 0, 1, 1])
    with pytest.raises(InputError, match="class 1 has 2 samples for 3 folds"):
        stratified_folds(labels, 3, 0)
    with pytest.raises(InputError, match="k is 1"):
        stratified_folds(labels, 1, 0)
    with pytest.raises(InputError, match="class 1 has 1 samples, too few"):
        stratified_split(labels[:4], 0.5, 0)
    with pytest.raises(InputError, match="share is 1"):
        stratified_split(labels, 1, 0)


def test_nothing_large_is_imported_until_recordings_are_read():
    code = (
        "from polystep_snn.datasets import dvs_gesture, nmnist, shd; import sys; "
        "print(*(module in sys.modules for module in ('torch', 'tonic', 'h5py')))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ}, timeout=120)
    assert answer.stdout.split() == ["False", "False", "False"]
