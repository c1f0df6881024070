"""The real recordings of N-MNIST, where they are at hand."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import tonic.datasets

from polystep_snn.datasets import Framing
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.framing import SACCADE_US
from polystep_snn.datasets.nmnist import load_nmnist


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real recordings of $POLYSTEP_SNN_DATA, framed as by default; a fresh cache."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "NMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder NMNIST: no recordings here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield load_nmnist(Path(folder))


def test_the_real_subset(real):
    assert (real.subset, real.num_train, len(real.samples)) == (True, 1000, 1100)
    assert real.dataset().title == "nmnist (subset: 1000 + 100 recordings)"
    assert np.bincount(real.samples.labels).tolist() == [105, 130, 107, 104, 119, 99, 104, 132, 89, 111]
    assert real.samples.num_channels == 2312
    # About 4,100 events each, of which a handful comes after 315 ms.
    assert real.late.sum() == 147
    every = load_nmnist(Path(os.environ["POLYSTEP_SNN_DATA"]), Framing(counts=True)).samples
    assert len(every.steps) + real.late.sum() == 4_518_827
    assert len(real.samples.steps) == (every.frames(np.arange(1100)) > 0).sum()


def test_real_frames_are_those_of_tonic(real):
    folder = Path(os.environ["POLYSTEP_SNN_DATA"]) / "NMNIST"
    files = sorted((folder / "Train").rglob("*.bin"))[:3]
    to_frame = tonic.transforms.ToFrame((34, 34, 2), time_window=10_500, include_incomplete=True, start_time=0, end_time=3 * SACCADE_US)
    for number, path in enumerate(files):
        theirs = to_frame(tonic.io.read_mnist_file(str(path), tonic.datasets.NMNIST.dtype))[:30]
        ours = real.samples.frames(np.array([number])).reshape(30, 2, 34, 34)
        np.testing.assert_array_equal(ours, np.minimum(theirs, 1))


def test_real_digits_stand_still_once_stabilised(real):
    def drift(samples):
        """How far a digit's centre moves over the steps, in pixels, on the mean."""
        frames = samples.frames(np.arange(0, 1100, 25)).reshape(samples.num_steps, -1, 2, 34, 34).sum(2, dtype=float)
        mass = np.maximum(frames.sum((2, 3)), 1)
        x, y = ((frames * axis).sum((2, 3)) / mass for axis in (np.arange(34), np.arange(34)[:, None]))
        return np.hypot(x.std(0), y.std(0)).mean()

    folder = Path(os.environ["POLYSTEP_SNN_DATA"])
    coarse = Framing(num_steps=6)
    assert drift(load_nmnist(folder, Framing(num_steps=6, stabilize=True)).samples) < 0.6 * drift(load_nmnist(folder, coarse).samples)


def test_folds_of_the_real_recordings(real):
    folds = list(real.folds(5, seed=0))
    assert folds[0].title == "nmnist (subset: 1000 + 100 recordings; fold 1 of 5)"
    assert [len(fold.test) for fold in folds] == [220] * 5
    assert sorted(np.concatenate([fold.test.numbers for fold in folds]).tolist()) == list(range(1100))
    for fold in folds:
        assert len(fold.train) + len(fold.validation) == 880
        parts = [set(part.numbers.tolist()) for part in (fold.train, fold.validation, fold.test)]
        assert len(set.union(*parts)) == 1100
        assert np.abs(np.bincount(fold.test.labels) - np.bincount(real.samples.labels) / 5).max() < 1
    again = next(real.folds(5, seed=0))
    np.testing.assert_array_equal(again.train.numbers, folds[0].train.numbers)
    assert next(real.folds(5, seed=1)).test.numbers.tolist() != folds[0].test.numbers.tolist()


@pytest.mark.parametrize("augmentation", [None, Augmentation(shift=2, jitter=0.5, drop=0.1)])
def test_frames_of_a_real_batch_come_fast(real, augmentation):
    indices = np.random.default_rng(0).integers(0, 1100, 32)
    seconds = []
    for epoch in range(20):
        started = time.thread_time()
        real.samples.frames(indices, augmentation, epoch)
        seconds.append(time.thread_time() - started)
    # Measured: 0.5 and 1.7 ms; the bound leaves room for a machine that is busy and still catches a loop over events.
    assert np.median(seconds) < 0.020
