"""Recordings in another unit, and files of zeros: refused by name, or said."""

import numpy as np
import pytest

from polystep_snn.datasets.dvs_gesture import load_dvs_gesture, read_recording
from polystep_snn.datasets.nmnist import load_nmnist
from polystep_snn.datasets.plausible import check_length, check_lengths
from polystep_snn.errors import InputError


def gestures(root, unit, seconds=6.0, num_events=200):
    """A small DVS Gesture folder: times in ``unit``, a number of which make a ms."""
    rng = np.random.default_rng(0)
    for part, users in (("ibmGestureTrain", 3), ("ibmGestureTest", 2)):
        for user in range(users):
            folder = root / "DVSGesture" / part / f"user{user:02d}_lab"
            folder.mkdir(parents=True)
            for label in range(11):
                times = np.sort(rng.uniform(0, 1000 * seconds, num_events)) * unit
                x, y, p = rng.integers(0, (128, 128, 2), (num_events, 3)).T
                np.save(folder / f"{label}.npy", np.stack([x, y, p, times], 1))
    return root


@pytest.mark.parametrize(("unit", "name"), [(1e3, "µs"), (1e6, "ns"), (1e-3, "s")])
def test_times_in_another_unit_are_refused_by_its_name(cache, tmp_path, unit, name):
    with pytest.raises(InputError, match=f"its times seem to be in {name}, and are read as ms; convert them to ms"):
        load_dvs_gesture(gestures(tmp_path, unit))


def test_what_is_dropped_is_counted_and_said(cache, tmp_path):
    recordings = load_dvs_gesture(gestures(tmp_path, 1.0))
    late = int(recordings.late.sum())
    assert 0.7 * 55 * 200 < late < 0.8 * 55 * 200, "three quarters of 6 s come after 1.5 s"
    assert recordings.dropped == f"{late:,} events ({late / (55 * 200):.1%}) of 55 recordings came after the window and were dropped"
    assert recordings.dataset().dropped == recordings.dropped


def test_more_than_most_dropped_is_a_warning(cache, tmp_path, caplog):
    load_dvs_gesture(gestures(tmp_path, 1.0, seconds=40.0))
    assert "came after the window and were dropped: choose a longer window_us, and see whether times are in ms" in caplog.text


def test_zeros_in_place_of_events(cache, tmp_path):
    rows = np.stack([np.arange(50), np.arange(50), np.arange(50) % 2, np.arange(50.0)], 1)
    rows[30:] = 0
    np.save(tmp_path / "0.npy", rows)
    with pytest.raises(InputError, match="holds zeros in place of events from number 30 on: fetch it again"):
        read_recording(tmp_path / "0.npy")
    for part in ("Train", "Test"):
        for label in range(10):
            folder = tmp_path / "N-MNIST" / part / str(label)
            folder.mkdir(parents=True)
            for number in range(3):
                content = np.random.default_rng(number).integers(1, 34, (20, 5)).astype(np.uint8)
                content[:, 2], content[:, 4] = 0, np.arange(20)
                content[:, 3] = 1
                if (part, label, number) == ("Test", 3, 2):
                    content[12:] = 0
                (folder / f"{number}.bin").write_bytes(content.tobytes())
    with pytest.raises(InputError, match=r"Test/3/2\.bin holds zeros in place of events from number 12 on"):
        load_nmnist(tmp_path)


@pytest.mark.parametrize("name", ["Train.zip", "Test.tar.gz"])
def test_archives_that_are_still_packed(cache, tmp_path, name):
    (tmp_path / "NMNIST").mkdir()
    (tmp_path / "NMNIST" / name).write_bytes(b"PK")
    with pytest.raises(InputError, match=f"{name} is packed: extract it there"):
        load_nmnist(tmp_path)


def test_lengths_by_hand(caplog):
    usual = (1_000_000, 2_000_000)
    check_length("one", 39_000_000, 500, usual, "ms")
    check_length("a long one", 10_000_000_000_000, 500, usual, "ms")  # usual in no unit: it is what it says
    with pytest.raises(InputError, match="one lasts 1,500 s, but they usually last 1 to 2 s: its times seem to be in µs"):
        check_length("one", 1_500_000_000, 500, usual, "ms")
    with pytest.raises(InputError, match="has all its 500 events at one moment"):
        check_length("one", 0, 500, usual, "ms")
    check_lengths("them", [1500, 1500], [99, 99], usual, "ms")  # too few events to tell
    with pytest.raises(
        InputError, match=r"the recordings of them last 0\.0015 s at the median, but .* seem to be in s, and are read as ms"
    ):
        check_lengths("them", [1500, 1500, 1400], [500] * 3, usual, "ms")
    check_lengths("them", [1_500_000] * 9 + [400_000], [500] * 10, usual, "ms")
    assert "1 of 10 recordings of them end before 0.5 s" in caplog.text
