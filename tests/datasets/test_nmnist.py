"""N-MNIST: generated recordings in its 40-bit format, folders that are broken in every way, and the real subset where it is at hand."""

import hashlib
import io
import os
import shutil
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tonic.datasets

from polystep_snn.datasets import Framing, load, nmnist
from polystep_snn.datasets.augment import Augmentation
from polystep_snn.datasets.framing import SACCADE_US
from polystep_snn.datasets.nmnist import download_nmnist, load_nmnist, read_recording
from polystep_snn.errors import InputError
from tests.publisher import serving


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real recordings of $POLYSTEP_SNN_DATA, framed as by default; a fresh cache."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "NMNIST").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder NMNIST: no recordings here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield load_nmnist(Path(folder))


def encode(events):
    """Events (x, y, t, p) in 40 bits each: x, y, polarity and the time's upper 7 bits, its middle 8, its lower 8."""
    return b"".join(bytes([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255]) for x, y, t, p in events)


def write_folder(path, train=4, test=2, seed=0):
    """Random recordings of all classes, 50 events each, a column for each class; returns the path."""
    generator = np.random.default_rng(seed)
    for part, count in (("Train", train), ("Test", test)):
        for label in range(10):
            (path / part / str(label)).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                times = np.sort(generator.integers(0, 300_000, 50))
                events = [(3 * label, int(generator.integers(0, 34)), int(t), int(generator.integers(0, 2))) for t in times]
                (path / part / str(label) / f"{number:05}.bin").write_bytes(encode(events))
    return path


@pytest.fixture
def base(tmp_path, cache):
    write_folder(tmp_path / "data" / "NMNIST")
    return tmp_path / "data"


# Recordings


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


# Folders


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


@pytest.fixture
def tiny_full(monkeypatch):
    """What would be the full set: class k has 4 (and, of the even ones, 5) training and 2 test recordings."""
    full = {"Train": tuple(4 + (label % 2 == 0) for label in range(10)), "Test": (2,) * 10}
    monkeypatch.setattr(nmnist, "FULL", full)
    return full


def complete(folder):
    """Add the fifth recording of every even class."""
    for label in range(0, 10, 2):
        shutil.copy(folder / "Train" / str(label) / "00000.bin", folder / "Train" / str(label) / "00004.bin")


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


# Cached frames


def frames_of(data):
    return data.samples.frames(np.arange(len(data.samples)))


def test_frames_are_made_once_and_are_the_same_from_the_cache(base, cache, monkeypatch):
    first = frames_of(load_nmnist(base))

    def refuse(path):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr(nmnist, "read_recording", refuse)
    np.testing.assert_array_equal(frames_of(load_nmnist(base)), first)
    with pytest.raises(AssertionError, match="is read again"):
        load_nmnist(base, Framing(num_steps=29))


@pytest.mark.parametrize(
    "framing",
    [Framing(num_steps=10), Framing(bin_by="count"), Framing(denoise_us=5000), Framing(stabilize=True), Framing(window_us=105_000)],
)
def test_no_framing_takes_the_cache_of_another(base, cache, framing, monkeypatch, tmp_path):
    load_nmnist(base)
    after_another = frames_of(load_nmnist(base, framing))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "fresh"))
    np.testing.assert_array_equal(after_another, frames_of(load_nmnist(base, framing)))
    assert len(list((cache / "frames").iterdir())) == 2


def test_recordings_that_changed_are_read_again(base, cache):
    before = frames_of(load_nmnist(base))
    path = base / "NMNIST" / "Train" / "0" / "00000.bin"
    content = encode([(33, 33, 0, 1)]) * (path.stat().st_size // 5)
    path.write_bytes(content)
    os.utime(path, ns=(0, 12345))
    after = frames_of(load_nmnist(base))
    assert after[:, 0].sum() == 1
    np.testing.assert_array_equal(before[:, 1:], after[:, 1:])


# Download


@pytest.fixture
def publisher(monkeypatch, tiny_full, tmp_path):
    """A server on this machine takes the publisher's place, with archives of the tiny full set; returns what it serves, changeable."""
    source = write_folder(tmp_path / "source")
    complete(source)
    contents: dict[str, bytes] = {}

    def serve(part):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for path in sorted((source / part).rglob("*.bin")):
                archive.write(path, path.relative_to(source))
        name = part.lower()
        contents[f"/{name}"] = packed.getvalue()
        monkeypatch.setattr(tonic.datasets.NMNIST, f"{name}_url", f"{address}/{name}")
        monkeypatch.setattr(tonic.datasets.NMNIST, f"{name}_md5", hashlib.md5(packed.getvalue()).hexdigest())

    with serving(contents) as address:
        serve("Train")
        serve("Test")
        yield source, serve, contents


def test_the_full_set_is_downloaded_once(publisher, cache, capsys):
    _, _, contents = publisher
    data = load_nmnist()
    assert (len(data.samples), data.subset) == (65, False)
    assert sorted(path.name for path in (cache / "NMNIST").iterdir()) == ["Test", "Train"]
    assert capsys.readouterr().out == ""
    contents.clear()
    assert len(load_nmnist().samples) == 65


@pytest.mark.parametrize("what", ["missing", "damaged", "incomplete", "half"])
def test_a_download_that_fails_leaves_nothing(publisher, cache, what):
    source, serve, contents = publisher
    if what == "missing":
        del contents["/test"]
    elif what == "damaged":
        contents["/test"] = contents["/test"][:-1]
    elif what == "incomplete":
        for path in (source / "Test").rglob("00001.bin"):
            path.unlink()
        serve("Test")
    else:
        (source / "Test" / "9" / "00001.bin").unlink()
        serve("Test")
    with pytest.raises(InputError, match=r"^N-MNIST was not found and could not be downloaded \(.+\): fetch .*garrickorchard") as caught:
        load_nmnist()
    assert "\n" not in str(caught.value)
    assert list(cache.iterdir()) == []


def test_another_process_that_was_faster_is_no_error(publisher, cache):
    download_nmnist(cache / "NMNIST")
    download_nmnist(cache / "NMNIST")
    assert not [path for path in cache.iterdir() if path.name != "NMNIST"]


# The real recordings


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
