"""DVS Gesture: small folders in tonic's layout, read as a user's are; recordings that are broken in every way."""

import io
import pickle

import numpy as np
import pytest
import tonic.datasets

from polystep_snn.datasets import Framing, dvs_gesture, load
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.dvs_gesture import CLASSES, load_dvs_gesture, read_recording
from polystep_snn.errors import InputError
from tests.datasets.gesture_files import (
    FIRST,
    base,  # noqa: F401 (fixtures)
    write_folder,
)


@pytest.mark.parametrize("dtype", [np.int64, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_events_are_those_that_were_written(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.array([[0, 127, 1, 40], [12, 7, 0, 40], [127, 0, 1, 32_000]], dtype))
    events = read_recording(tmp_path / "a.npy")
    # In µs, from the first event.
    assert events.tolist() == [(0, 127, 0, True), (12, 7, 0, False), (127, 0, 31_960_000, True)]


def test_recordings_are_tonics(tmp_path, cache):
    folder = write_folder(tmp_path / "DVSGesture", train=10)  # tonic wants a hundred of them, and the archive
    (folder / "ibmGestureTrain.tar.gz").touch()
    theirs = tonic.datasets.DVSGesture(str(tmp_path), train=True)
    assert len(theirs) == 110
    files = dvs_gesture.list_files(folder)
    number_of = {str(folder / name): number for number, name in enumerate(files)}
    samples = load_dvs_gesture(tmp_path, Framing(num_steps=1500, window_us=1_500_000, counts=True)).samples
    for (events, label), path in zip((theirs[k] for k in range(110)), theirs.data, strict=True):
        number = number_of[path]
        span = slice(samples.starts[number], samples.ends[number])
        assert samples.labels[number] == label
        np.testing.assert_array_equal(samples.steps[span], (events["t"] - events["t"][0]) // 1000)
        channels = (events["p"].astype(int) * 128 + events["y"]) * 128 + events["x"]
        np.testing.assert_array_equal(samples.channels[span], channels)


def test_the_last_channel_and_what_comes_late(base):
    rows = [[127, 127, 1, 70], [0, 0, 0, 569], [0, 0, 0, 570], [5, 6, 0, 1569], [5, 6, 0, 1570]]
    np.save(base / "DVSGesture" / FIRST, np.array(rows))
    data = load_dvs_gesture(base, Framing(num_steps=3, window_us=1_500_000))
    frames = data.samples.frames(np.array([0])).reshape(3, 2, 128, 128)
    assert np.argwhere(frames).tolist() == [[0, 0, 0, 0], [0, 1, 127, 127], [1, 0, 0, 0], [2, 0, 6, 5]]
    assert data.late.tolist() == [1] + [0] * 43
    assert data.samples.num_channels == 32_768


def test_what_is_loaded_by_default(base):
    dataset = load("dvsgesture", base)
    assert dataset.title == "dvsgesture (subset: 33 + 11 recordings)"
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [22, 11, 11]
    assert np.bincount(dataset.train.labels).tolist() == [2] * 11
    assert np.bincount(dataset.validation.labels).tolist() == np.bincount(dataset.test.labels).tolist() == [1] * 11
    assert (dataset.num_classes, dataset.classes[0], dataset.classes[10]) == (11, "hand clapping", "other gestures")
    assert (dataset.train.shape, dataset.train.num_steps) == ((2, 128, 128), 30)
    # Of the test part are those of user24 alone.
    assert sorted(dataset.test.numbers) == list(range(33, 44))
    for part in (dataset.train, dataset.validation, dataset.test):
        pictures = part.frames(np.arange(len(part))).sum(0, dtype=int).reshape(len(part), 2, 128, 128).sum(1)
        for picture, label in zip(pictures, part.labels.tolist(), strict=True):
            y, x = 16 + 40 * (label // 4), 16 + 30 * (label % 4)
            assert picture[y - 6 : y + 7, x - 6 : x + 7].sum() > 0.6 * picture.sum()


def test_classes_are_tonics():
    theirs = [name.lower().replace("ccw", "counter-clockwise").replace("cw", "clockwise") for name in tonic.datasets.DVSGesture.classes]
    assert list(CLASSES) == theirs


def test_shifts_move_both_axes(base):
    np.save(base / "DVSGesture" / FIRST, np.array([[64, 64, 1, 0]]))
    samples = load_dvs_gesture(base).samples
    seen = set()
    for epoch in range(300):
        (channel,) = np.flatnonzero(samples.frames(np.array([0]), Augmentation(shift=1), epoch)[0, 0])
        p, y, x = np.unravel_index(channel, samples.shape)
        assert p == 1
        seen.add((int(x) - 64, int(y) - 64))
    assert seen == {(dx, dy) for dx in (-1, 0, 1) for dy in (-1, 0, 1)}


def _as_npy(array):
    packed = io.BytesIO()
    np.save(packed, array)
    return packed.getvalue()


def _archive():
    packed = io.BytesIO()
    np.savez(packed, a=np.zeros((3, 4)))
    return packed.getvalue()


GOOD = np.array([[1, 2, 1, 0], [3, 4, 0, 5]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"0.npy cannot be read \("),
        (_as_npy(GOOD)[:-1], r"0.npy cannot be read \(mmap length is greater than file size"),
        (_as_npy(GOOD)[:40], r"0.npy cannot be read \("),
        (pickle.dumps(GOOD), r"0.npy cannot be read \("),
        (_as_npy(np.array([{}, 1], object)), r"0.npy cannot be read \(.*[oO]bject"),
        (_archive(), "0.npy holds an archive, expected"),
        (_as_npy(GOOD[:, :3]), r"0.npy holds int64 \[2, 3\], expected numbers \[n, 4\]"),
        (_as_npy(GOOD[0]), r"0.npy holds int64 \[4\], expected numbers \[n, 4\]"),
        (_as_npy(GOOD.astype("S3")), r"0.npy holds \|S3 \[2, 4\]"),
        (_as_npy(np.zeros((0, 4), np.int64)), "0.npy (holds no event|cannot be read)"),
        (_as_npy([[128, 0, 0, 0]]), "0.npy has an event at x = 128, the sensor ends at 127"),
        (_as_npy([[0, 65_536, 0, 0]]), "0.npy has an event with y 65536"),
        (_as_npy([[-1, 0, 0, 0]]), "0.npy has an event with x -1"),
        (_as_npy([[1.5, 0, 0, 0]]), "0.npy has an event with x 1.5"),
        (_as_npy([[0, np.nan, 0, 0]]), "0.npy has an event with y nan"),
        (_as_npy([[0, 0, 2, 0]]), "0.npy has an event with polarity 2"),
        (_as_npy([[0, 0, 0, 1.0], [0, 0, 0, np.inf]]), "0.npy has an event at no finite time"),
        (_as_npy([[0, 0, 0, 9], [0, 0, 0, 8]]), "0.npy goes back in time, from 0 to -1000 µs at event 1"),
    ],
)
def test_recordings_that_are_broken(base, content, message):
    path = base / "DVSGesture" / FIRST
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_dvs_gesture(base)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_header_that_promises_terabytes(base):
    path = base / "DVSGesture" / FIRST
    path.write_bytes(_as_npy(GOOD).replace(b"(2, 4), ", b"(2000000000000, 4), ", 1).replace(b" " * 13 + b"\n", b"\n", 1))
    with pytest.raises(InputError, match=r"0.npy cannot be read \("):
        load_dvs_gesture(base)


def test_a_recording_that_is_gone(tmp_path):
    with pytest.raises(InputError, match=r"none.npy cannot be read"):
        read_recording(tmp_path / "none.npy")


def test_folders_that_are_broken(base):
    folder = base / "DVSGesture"
    for path in folder.glob("ibmGestureTest/*/7.npy"):
        path.unlink()
    with pytest.raises(InputError, match="ibmGestureTest holds no recording of class 7: fetch it again, or add recordings"):
        load_dvs_gesture(base)
    (folder / "ibmGestureTest").rename(folder / "elsewhere")
    with pytest.raises(InputError, match=r"ibmGestureTest is missing: extract its archive, ibmGestureTest.tar.gz, there"):
        load_dvs_gesture(base)
    np.save(folder / "ibmGestureTrain" / "user01_fluorescent" / "11.npy", GOOD)
    with pytest.raises(InputError, match="ibmGestureTrain has a recording of class 11, the last class is 10"):
        load_dvs_gesture(base)
    (folder / "ibmGestureTrain" / "user01_fluorescent" / "11.npy").rename(folder / "ibmGestureTrain" / "user01_fluorescent" / "wave.npy")
    with pytest.raises(InputError, match=r"wave.npy has no label for a name, such as 3.npy: remove it"):
        load_dvs_gesture(base)


def test_more_recordings_than_there_are_and_exactly_as_many(base, monkeypatch):
    monkeypatch.setattr(dvs_gesture, "FULL", (33, 10))
    with pytest.raises(InputError, match="ibmGestureTest holds 11 recordings, DVS Gesture has 10: remove"):
        load_dvs_gesture(base)
    monkeypatch.setattr(dvs_gesture, "FULL", (33, 11))
    assert load("dvsgesture", base).title == "dvsgesture"
