"""Spiking Heidelberg Digits: small files in the publishers' layout, read as a user's are; files that are broken in every way."""

from dataclasses import replace

import numpy as np
import pytest
import tonic.datasets

from polystep_snn.datasets import Framing, load
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.shd import SOURCE, load_shd
from polystep_snn.errors import InputError
from tests.datasets.shd_files import (
    base,  # noqa: F401 (fixtures)
    with_first,
)


def test_recordings_are_tonics(base):
    """Every spike of every recording, as tonic's own reader gives it."""
    for k, part in enumerate(SOURCE.parts):
        (base / "SHD" / f"{part}.zip").touch()  # tonic asks for the archive
        theirs = tonic.datasets.SHD(str(base), train=k == 0)
        framed = load_shd(base, Framing(num_steps=50_000, window_us=1_000_000, counts=True))
        ours = framed.samples.take(np.arange(len(theirs)) + 60 * k)
        for number in range(len(theirs)):
            events, label = theirs[number]
            span = slice(ours.starts[number], ours.ends[number])
            np.testing.assert_array_equal(ours.channels[span], events["x"])
            np.testing.assert_array_equal(ours.steps[span], events["t"] // 20)
            assert ours.labels[number] == label


def test_frames_can_be_written_down(base):
    with_first(base, [0.0, 0.25, 0.25, 0.5, 0.75, 1.0, 1.25], [0, 699, 5, 5, 6, 7, 8])
    data = load_shd(base, Framing(num_steps=4, window_us=1_000_000))
    frames = data.samples.frames(np.array([0]))
    assert frames.shape == (4, 1, 700)
    assert np.argwhere(frames[:, 0]).tolist() == [[0, 0], [1, 5], [1, 699], [2, 5], [3, 6]]
    assert data.late.tolist() == [2] + [0] * 79


def test_what_is_loaded_by_default(base):
    dataset = load("shd", base)
    assert dataset.title == "shd (subset: 60 + 20 recordings)"
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [40, 20, 20]
    assert np.bincount(dataset.train.labels).tolist() == [2] * 20
    assert np.bincount(dataset.validation.labels).tolist() == np.bincount(dataset.test.labels).tolist() == [1] * 20
    assert (dataset.num_classes, dataset.classes[1], dataset.classes[15]) == (20, "one", "fünf")
    assert (dataset.train.shape, dataset.train.num_steps) == ((1, 1, 700), 100)
    assert sorted([*dataset.train.numbers, *dataset.validation.numbers, *dataset.test.numbers]) == list(range(80))
    # Most spikes of a recording lie among the channels of its class.
    for part in (dataset.train, dataset.validation, dataset.test):
        counts = part.frames(np.arange(len(part))).sum((0), dtype=int).reshape(len(part), 20, 35).sum(2)
        np.testing.assert_array_equal(counts.argmax(1), part.labels)


def test_a_cochlea_has_no_polarity(base):
    both, one = (load_shd(base, Framing(num_steps=10, window_us=10**6, polarity=polarity)) for polarity in (True, False))
    assert both.samples.shape == one.samples.shape == (1, 1, 700)
    np.testing.assert_array_equal(both.samples.channels, one.samples.channels)


def test_denoising_looks_at_neighbouring_channels(base):
    with_first(base, [0.0, 0.25, 0.251, 0.5], [300, 100, 101, 200])
    samples = load_shd(base, Framing(num_steps=100, window_us=10**6, denoise_us=10_000)).samples
    # tonic keeps what comes in the first 10 ms; then only 101, just after its neighbour.
    assert samples.channels[samples.starts[0] : samples.ends[0]].tolist() == [300, 101]


def test_shifts_and_jitter_move_channels_only(base):
    with_first(base, [0.0, 0.25, 0.5], [0, 350, 699])
    samples = load_shd(base, Framing(num_steps=4, window_us=10**6)).samples
    seen = set()
    for epoch in range(400):
        frames = samples.frames(np.array([0]), Augmentation(shift=3), epoch)
        (middle,) = np.flatnonzero(frames[1, 0])
        move = int(middle) - 350
        seen.add(move)
        expected = [[0, move]] * (move >= 0) + [[1, 350 + move]] + [[2, 699 + move]] * (move <= 0)
        assert np.argwhere(frames[:, 0]).tolist() == expected
    assert seen == set(range(-3, 4))
    many = replace(samples, steps=np.zeros(20_000, np.uint16), channels=np.full(20_000, 350, np.uint16))
    many = replace(many.take(np.array([0])), starts=np.array([0]), ends=np.array([20_000]))
    moved = many._events(np.array([0]), Augmentation(jitter=1.2), 0).channels - 350
    assert len(moved) == 20_000
    expected = np.round(np.random.default_rng(0).normal(0, 1.2, 20_000))
    for move in range(-3, 4):
        assert (moved == move).mean() == pytest.approx((expected == move).mean(), abs=0.015)


def test_flips_of_a_cochlea(base):
    samples = load_shd(base, Framing(num_steps=4, window_us=10**6)).samples
    first = np.array([0])
    np.testing.assert_array_equal(samples.frames(first, Augmentation(flip_lr=1.0)), samples.frames(first)[:, :, ::-1])
    np.testing.assert_array_equal(samples.frames(first, Augmentation(flip_ud=1.0)), samples.frames(first))
    with pytest.raises(InputError, match="a frame has 1 polarity"):
        samples.frames(first, Augmentation(flip_polarity=1.0))
