"""Folders of classes: images, sounds, event recordings."""

import numpy as np
import pytest
from PIL import Image

from polystep_snn.datasets.own import describe
from polystep_snn.datasets.own.event_files import read_events
from polystep_snn.datasets.own.sounds import heard
from polystep_snn.datasets.speech_features import SpeechFeatures
from polystep_snn.datasets.wav import read_wav
from polystep_snn.errors import InputError
from tests.datasets.own.files import class_folders, events, load, write_sound

pytestmark = pytest.mark.usefixtures("cache")


def write_image(path, number, mode="L", size=(3, 2)):
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    Image.fromarray(np.full(shape, 5 + 10 * number, np.uint8), mode).save(path)


def test_images_keep_their_pixels_and_classes_their_names(tmp_path):
    folder = class_folders(tmp_path / "my pictures", write_image, ".png")
    data, record = load(folder)
    assert data.classes == ("ape", "bee cat")
    assert record.sizes == (14, 2, 4)
    for part in (data.train, data.validation, data.test):
        # Numbers 0 to 9 are apes, 10 to 19 bees.
        assert np.array_equal(part.labels, (part.images[:, 0, 0] >= 105).astype(int))
        assert part.images.shape[1:] == (2, 3)
    assert record.scaling.high == (float(data.train.images.max()),)


def test_parts_may_have_folders_of_their_own(tmp_path):
    for part in ("train", "Test"):
        class_folders(tmp_path / "mine" / part, write_image, ".png", 10 if part == "train" else 3)
    data, record = load(tmp_path / "mine")
    assert (record.sizes, data.note) == ((18, 2, 6), "10% split off as validation part")


def test_one_colour_image_makes_all_of_them_coloured(tmp_path):
    folder = class_folders(tmp_path / "mine", lambda path, k: write_image(path, k, "RGB" if k == 3 else "L"), ".png")
    data, _ = load(folder)
    assert data.train.shape == (3, 2, 3)


def test_a_broken_file_among_good_ones_is_named(tmp_path):
    folder = class_folders(tmp_path / "mine", write_image, ".png")
    whole = (folder / "ape" / "03.png").read_bytes()
    (folder / "ape" / "03.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"03.png is no image, or is damaged"):
        load(folder)


def test_images_of_several_sizes_are_refused(tmp_path):
    folder = class_folders(tmp_path / "mine", lambda path, k: write_image(path, k, size=(3, 2 + (k == 7))), ".png")
    with pytest.raises(InputError, match=r"07.png has 3 x 3 pixels, .*00.png has 3 x 2: scale them to one size"):
        load(folder)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: (f / "none").mkdir(), "class 'none' is empty: add samples, or remove the folder"),
        (lambda f: (f / "ape" / "notes.txt").write_text("x"), r"notes.txt is of no kind that is read"),
        (lambda f: (f / "ape" / "a.wav").write_bytes(b"x"), "mixes kinds: .*keep one kind"),
    ],
)
def test_folders_that_are_not_of_one_kind_are_refused(tmp_path, make, message):
    folder = class_folders(tmp_path / "mine", write_image, ".png")
    make(folder)
    with pytest.raises(InputError, match=message):
        describe(folder)


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"holds neither arrays .* nor a folder for each class"):
        describe(tmp_path)


def test_sounds_become_the_energies_of_their_bands(tmp_path):
    folder = class_folders(tmp_path / "mine", write_sound, ".wav")
    data, record = load(folder)
    features = SpeechFeatures(5, 20.0, 8)
    expected = [features.energies(read_wav(folder / name / f"{k:02d}.wav")[0]) for name in ("ape", "bee cat") for k in range(10)]
    found = np.concatenate([part.values for part in (data.train, data.validation, data.test)])
    assert sorted(map(float, found.sum((1, 2)))) == pytest.approx(sorted(float(e.sum()) for e in expected))
    assert (record.num_steps, record.scaling) == (5, None)


def test_sounds_of_other_rates_are_resampled(tmp_path):
    for rate in (8000, 16000, 44100):
        write_sound(tmp_path / f"{rate}.wav", 0, rate)
    reference = SpeechFeatures(4).energies(heard(tmp_path / "8000.wav"))
    for rate in (16000, 44100):
        assert np.allclose(SpeechFeatures(4).energies(heard(tmp_path / f"{rate}.wav"))[1:3], reference[1:3], atol=0.1)
    write_sound(tmp_path / "slow.wav", 0, 4000)
    with pytest.raises(InputError, match=r"slow.wav has 4000 samples a second, at least 8000 are needed"):
        heard(tmp_path / "slow.wav")


def test_events_keep_places_and_begin_at_time_zero(tmp_path):
    folder = class_folders(tmp_path / "mine", lambda path, k: np.save(path, events(k)), ".npy")
    data, record = load(folder)
    assert (record.sensor, data.train.shape, record.num_steps) == ((5, 4, 2), (2, 4, 5), 4)
    # Each recording is found again, by all of its events.
    whole = {}
    for k in range(20):
        own = events(k)
        step = (own["t"] - own["t"].min()) * 4 // 1000
        whole[frozenset(zip(step.tolist(), (own["p"] * 20 + own["y"] * 5 + own["x"]).tolist(), strict=True))] = int(k >= 10)
    for part in (data.train, data.validation, data.test):
        for start, end, label in zip(part.starts, part.ends, part.labels, strict=True):
            assert whole[frozenset(zip(part.steps[start:end].tolist(), part.channels[start:end].tolist(), strict=True))] == label


def _with(name, values):
    changed = [(field, values.dtype if field == name else kind) for field, (kind, _) in events(0).dtype.fields.items()]
    found = np.zeros(40, changed)
    for field in found.dtype.names:
        found[field] = values if field == name else events(0)[field]
    return found


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((3, 4)), r"is float64 \[3, 4\]: save a structured array with the fields x, y, t"),
        (events(0)[["x", "y", "t"]], r"is an array with the fields \['x', 'y', 't'\]"),
        (_with("t", np.linspace(0, 1, 40)), "has t as float64: give whole numbers, in µs"),
        (_with("x", np.full(40, -1)), "has an event at x = -1"),
        (events(0)[:0], "holds no event"),
    ],
)
def test_recordings_that_are_none_are_refused(tmp_path, content, message):
    np.save(tmp_path / "a.npy", content)
    with pytest.raises(InputError, match=message):
        read_events(tmp_path / "a.npy")


def test_recordings_are_never_unpickled(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], object), allow_pickle=True)
    with pytest.raises(InputError, match="it holds Python objects, which are never loaded"):
        read_events(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("suffix", "encoding", "last"),
    [(".dat", "dat", b"% Version 2 \n"), (".raw", "evt2", b"system_ID 21 \n"), (".raw", "evt3", b"system_ID 48 \n")],
)
def test_files_of_cameras_are_read(tmp_path, suffix, encoding, last):
    from expelliarmus import Wizard

    given = events(1, start=0)
    written = np.zeros(len(given), [("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.uint8)])
    for name in written.dtype.names:
        written[name] = given[name]
    path = tmp_path / f"a{suffix}"
    Wizard(encoding=encoding).save(path, written)
    found = read_events(path)
    for name in ("x", "y", "t", "p"):
        assert np.array_equal(found[name], given[name].astype(found[name].dtype))
    content = path.read_bytes()
    header = content.index(last) + len(last)
    for kept, message in ((20, "its header has no end"), (header - 1, "its header has no end"), (header + 3, "holds no whole event")):
        path.write_bytes(content[:kept])
        with pytest.raises(InputError, match=f"{path} .*{message}"):
            read_events(path)


def test_a_file_of_another_kind_is_no_recording_of_a_camera(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"a.dat is not a Prophesee DAT file: give a recording that ends in .dat"):
        read_events(tmp_path / "a.dat")
