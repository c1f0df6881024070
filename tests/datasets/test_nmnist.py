"""N-MNIST: recordings and folders, whole and broken in every way."""

import shutil

import numpy as np
import pytest

from polystep_snn.datasets import Framing, load, nmnist
from polystep_snn.datasets.nmnist import load_nmnist, read_recording
from polystep_snn.errors import InputError
from tests.datasets.nmnist_files import base, complete, encode, tiny_full, write_folder  # noqa: F401 (fixtures)


def test_the_format_bit_by_bit(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes([33, 2, 0b1000_0101, 0x12, 0x34, 0, 33, 0b0111_1111, 0xFF, 0xFF]))
    events = read_recording(path)
    assert events.tolist() == [(33, 2, 0x051234, True), (0, 33, 0x7FFFFF, False)]


def test_encoded_events_come_back(tmp_path):
    path = tmp_path / "a.bin"
    events = [(0, 33, 0, 0), (12, 7, 70_000, 1), (33, 0, 336_040, 1)]
    path.write_bytes(encode(events))
    assert [tuple(map(int, event)) for event in read_recording(path)] == events


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.bin is empty: fetch it again, or delete it"),
        (encode([(1, 1, 1, 1)]) + b"\0\0", r"a.bin is truncated \(7 bytes are no multiple of 5\)"),
        (encode([(34, 1, 1, 1)]), "a.bin has an event at x = 34, the sensor ends at 33"),
        (encode([(1, 255, 1, 1)]), "a.bin has an event at y = 255, the sensor ends at 33"),
        (encode([(1, 1, 9, 1), (1, 1, 8, 1)]), "a.bin goes back in time, from 9 to 8 µs at event 1"),
        (encode([(1, 240, 1, 1)]), "a.bin holds no event"),  # a timestamp overflow and nothing else
    ],
)
def test_recordings_that_are_broken(base, content, message):
    path = base / "NMNIST" / "Train" / "3" / "a.bin"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_nmnist(base)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_recording_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_recording(tmp_path / "none.bin")


def test_a_recording_longer_than_the_window_is_cut_and_counted(base):
    (base / "NMNIST" / "Test" / "0" / "00000.bin").write_bytes(encode([(0, 0, 0, 0), (1, 0, 315_000, 0), (2, 0, 8_388_607, 0)]))
    data = load_nmnist(base)
    assert data.late.sum() == data.late[40] == 2
    assert data.samples.frames(np.array([40])).sum() == 1


def test_a_folder_with_some_recordings_is_called_a_subset(base):
    dataset = load("nmnist", base)
    assert dataset.name == "nmnist"
    assert dataset.title == "nmnist (subset: 40 + 20 recordings)"
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [30, 10, 20]
    assert np.bincount(dataset.train.labels).tolist() == [3] * 10
    assert np.bincount(dataset.validation.labels).tolist() == [1] * 10
    assert np.bincount(dataset.test.labels).tolist() == [2] * 10
    assert not set(dataset.train.numbers) & set(dataset.validation.numbers)
    assert sorted([*dataset.train.numbers, *dataset.validation.numbers, *dataset.test.numbers]) == list(range(60))
    # Every generated recording lies in the column of its class.
    for part in (dataset.train, dataset.validation, dataset.test):
        frames = part.frames(np.arange(len(part))).reshape(30, len(part), 2, 34, 34)
        assert frames.any((0, 2, 3)).argmax(1).tolist() == (3 * part.labels.astype(int)).tolist()


def test_the_full_set_has_no_note(base, tiny_full):
    complete(base / "NMNIST")
    data = load_nmnist(base)
    assert (data.subset, data.note, data.num_train) == (False, "", 45)
    assert load("nmnist", base).title == "nmnist"
    assert next(data.folds(2)).title == "nmnist (fold 1 of 2)"


def test_the_full_set_has_the_classes_of_mnist():
    assert {part: sum(counts) for part, counts in nmnist.FULL.items()} == {"Train": 60_000, "Test": 10_000}


def test_counts_of_the_full_set_are_those_of_mnist(mnist):
    assert np.bincount(np.concatenate([mnist.train.labels, mnist.validation.labels])).tolist() == list(nmnist.FULL["Train"])
    assert np.bincount(mnist.test.labels).tolist() == list(nmnist.FULL["Test"])


def test_a_half_extracted_folder_is_refused(base, tiny_full):
    complete(base / "NMNIST")
    (base / "NMNIST" / "Train" / "9" / "00003.bin").unlink()
    with pytest.raises(InputError, match="Train is half-extracted: class 0 has all 5 recordings, class 9 only 3 of 4: extract"):
        load_nmnist(base)


def test_a_half_extracted_test_part_is_refused(base, tiny_full):
    complete(base / "NMNIST")
    (base / "NMNIST" / "Test" / "7" / "00001.bin").unlink()
    with pytest.raises(InputError, match="Test is half-extracted: class 0 has all 2 recordings, class 7 only 1 of 2"):
        load_nmnist(base)


def test_more_recordings_than_there_are(base, tiny_full):
    complete(base / "NMNIST")
    (base / "NMNIST" / "Test" / "3" / "x.bin").write_bytes(encode([(0, 0, 0, 0)]))
    with pytest.raises(InputError, match="3 holds 3 recordings, N-MNIST has 2: remove"):
        load_nmnist(base)


def test_a_missing_class(base):
    for path in (base / "NMNIST" / "Test" / "5").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"5 holds no \.bin file, so class 5 is missing"):
        load_nmnist(base)
    shutil.rmtree(base / "NMNIST" / "Train")
    with pytest.raises(InputError, match="class 0 is missing"):
        load_nmnist(base)


def test_a_class_with_a_single_recording_cannot_be_split(tmp_path, cache):
    write_folder(tmp_path / "NMNIST", train=1)
    with pytest.raises(InputError, match="class 0 has 1 samples, too few"):
        load("nmnist", tmp_path)


def test_where_recordings_are_looked_for(base, tmp_path, monkeypatch, cache):
    assert len(load_nmnist(base / "NMNIST").samples) == 60
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(base))
    assert len(load_nmnist().samples) == 60
    other = write_folder(tmp_path / "other" / "nmnist", train=2)
    assert len(load_nmnist(other.parent).samples) == 40
    monkeypatch.delenv("POLYSTEP_SNN_DATA")
    write_folder(cache / "NMNIST", train=3)
    assert len(load_nmnist(tmp_path).samples) == 50
    with pytest.raises(InputError, match="does not exist"):
        load_nmnist(tmp_path / "nowhere")


def test_images_are_not_framed():
    with pytest.raises(InputError, match="digits holds images, which are not framed"):
        load("digits", framing=Framing())
