"""Spoken digits: found, read, split, cached, downloaded; the real recordings where they are at hand."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.datasets import Framing, SpeechFeatures, load
from polystep_snn.datasets import spoken_digits_files as files
from polystep_snn.datasets.speech_features import level_crossings
from polystep_snn.datasets.spoken_digits import load_spoken_digits
from polystep_snn.datasets.wav import read_wav
from polystep_snn.errors import InputError
from tests.datasets.spoken_files import (
    base,  # noqa: F401 (fixtures)
    tone,
    write_folder,
    write_wav,
)
from tests.publisher import serving


def recordings(base: Path) -> Path:
    return base / "FSDD" / "recordings"


def test_recordings_become_sequences(base):
    digits = load_spoken_digits(base)
    assert len(digits.sequences) == 240
    assert digits.sequences.shape == (1, 1, 32)
    assert digits.names == ("ann", "bob")
    assert digits.note == "subset: 240 of 3000 recordings, 2 speakers"
    # By digit, speaker and index: 7_bob_3 follows 7 digits, a speaker and three recordings.
    k = 7 * 24 + 12 + 3
    assert (digits.sequences.labels[k], digits.speakers[k], digits.indices[k], digits.lengths[k]) == (7, "bob", 3, 17)
    expected = SpeechFeatures().energies(read_wav(recordings(base) / "7_bob_3.wav", 8000)[0])
    np.testing.assert_array_equal(digits.sequences.values[k], expected)
    assert not expected[17:].any()
    assert expected[16].any()


def test_events_are_those_of_the_energies(base):
    energies = load_spoken_digits(base).sequences.values
    for counts in (False, True):
        events = load_spoken_digits(base, SpeechFeatures(kind="events", counts=counts)).sequences
        assert (events.shape, events.holds_spikes) == ((2, 1, 32), True)
        np.testing.assert_array_equal(events.values, level_crossings(energies, counts=counts))


def test_the_published_split(base):
    found = load("spoken-digits", base)
    everything = load_spoken_digits(base)
    assert found.title == "spoken-digits (subset: 240 of 3000 recordings, 2 speakers)"
    for part, indices in ((found.test, range(5)), (found.validation, range(5, 10)), (found.train, range(10, 12))):
        assert set(everything.indices[part.numbers]) == set(indices)
        assert np.bincount(part.labels).tolist() == [2 * len(indices)] * 10
        np.testing.assert_array_equal(part.values, everything.sequences.values[part.numbers])


def test_a_speaker_is_held_out(base):
    found = load("spoken-digits", base, speaker="bob")
    speakers, indices = load_spoken_digits(base).speakers, load_spoken_digits(base).indices
    assert found.title == "spoken-digits (subset: 240 of 3000 recordings, 2 speakers; speaker bob held out)"
    assert set(speakers[found.test.numbers]) == {"bob"}
    assert len(found.test) == 120
    assert set(speakers[np.concatenate([found.train.numbers, found.validation.numbers])]) == {"ann"}
    assert set(indices[found.validation.numbers]) == {5, 6, 7, 8, 9}
    with pytest.raises(InputError, match="speaker is 'eve', but the recordings are of ann, bob: choose one of them"):
        load("spoken-digits", base, speaker="eve")
    for path in recordings(base).glob("*_ann_*"):
        path.unlink()
    with pytest.raises(InputError, match="speaker is 'bob', but there is nobody else to learn from"):
        load("spoken-digits", base, speaker="bob")


def test_what_is_cut_is_said(base, caplog):
    assert load_spoken_digits(base).dropped == "240 are shorter and end in silence"
    # 0.30 to 0.41 s: 15 steps hold 0.30 s, which one in twelve takes.
    found = load_spoken_digits(base, SpeechFeatures(num_steps=15))
    assert found.dropped == "220 of 240 recordings are longer than 0.3 s and were cut there"
    assert "220 of 240 recordings are longer than 0.3 s and were cut there: choose more steps" in caplog.text
    assert load("spoken-digits", base, features=SpeechFeatures(num_steps=18)).dropped == (
        "100 of 240 recordings are longer than 0.36 s and were cut there; 100 are shorter and end in silence"
    )


def test_energies_are_made_once_until_a_file_changes(base, monkeypatch):
    first = load_spoken_digits(base)

    def refuse(path, rate):
        raise AssertionError(f"{path} is read again")

    monkeypatch.setattr("polystep_snn.datasets.spoken_digits.read_wav", refuse)
    np.testing.assert_array_equal(load_spoken_digits(base).sequences.values, first.sequences.values)
    load_spoken_digits(base, SpeechFeatures(kind="events"))
    with pytest.raises(AssertionError, match="is read again"):
        load_spoken_digits(base, SpeechFeatures(step_ms=10))
    os.utime(recordings(base) / "7_bob_3.wav", ns=(0, 12345))
    with pytest.raises(AssertionError, match="is read again"):
        load_spoken_digits(base)


@pytest.mark.parametrize("place", ["FSDD", "free-spoken-digit-dataset-1.0.10/recordings", "recordings", "."])
def test_where_they_are_looked_for(cache, tmp_path, monkeypatch, place):
    folder = tmp_path / "d" / place if place != "." else tmp_path / "d"
    write_folder(folder)
    assert files.find_recordings(tmp_path / "d") == folder
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(tmp_path / "d"))
    assert files.find_recordings(None) == folder
    with pytest.raises(InputError, match=r"the data folder .*nowhere does not exist"):
        files.find_recordings(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["ten_ann_0.wav", "10_ann_0.wav", "7_ann.wav", "noise.WAV", "7_ann_x.wav"])
def test_names_that_say_no_digit(base, name):
    write_wav(recordings(base) / name, tone(1))
    with pytest.raises(InputError, match=rf"{name} says no digit: name it DIGIT_SPEAKER_INDEX.wav, such as 7_theo_12.wav, or remove it$"):
        load("spoken-digits", base)


def test_one_broken_recording_is_named(base):
    write_wav(recordings(base) / "7_ann_3.wav", tone(1), rate=16_000)
    with pytest.raises(InputError, match=r"7_ann_3.wav has 16000 samples a second, expected 8000"):
        load("spoken-digits", base)
    assert not list((Path(os.environ["XDG_CACHE_HOME"])).rglob("*.safetensors"))


def test_a_digit_that_nobody_says(base):
    for path in recordings(base).glob("4_*"):
        path.unlink()
    with pytest.raises(InputError, match="holds no recording of the digit 4"):
        load("spoken-digits", base)


def test_arguments_that_do_not_belong(base):
    with pytest.raises(InputError, match="spoken-digits holds sound, which is not framed"):
        load("spoken-digits", base, Framing())
    with pytest.raises(InputError, match="digits holds no speech: leave features and speaker out"):
        load("digits", features=SpeechFeatures())
    with pytest.raises(InputError, match="mnist holds no speech"):
        load("mnist", speaker="bob")


def packed(folder: Path, change=lambda name, content: content) -> bytes:
    """An archive as GitHub makes them."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        for name, content in [("README.md", b"read me"), *((f"recordings/{p.name}", p.read_bytes()) for p in sorted(folder.iterdir()))]:
            content = change(name, content)
            entry = tarfile.TarInfo(f"free-spoken-digit-dataset-1.0.10/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return target.getvalue()


@pytest.fixture
def publisher(cache, tmp_path, monkeypatch):
    """A server in the publishers' place, with a small full set; returns the folder it was made of and what it serves."""
    folder = write_folder(tmp_path / "source")
    digest = hashlib.sha256(b"".join(p.name.encode() + p.read_bytes() for p in sorted(folder.iterdir())))
    monkeypatch.setattr(files, "_SHA256", digest.hexdigest())
    monkeypatch.setattr("polystep_snn.datasets.spoken_digits.NUM_RECORDINGS", 240)
    contents: dict[str, bytes] = {}
    with serving(contents) as address:
        monkeypatch.setattr(files, "_MIRRORS", tuple(f"{address}/{k}.tar.gz" for k in range(4)))
        yield folder, contents


def test_the_first_intact_mirror_serves(publisher, cache):
    folder, contents = publisher
    whole = packed(folder)
    contents["/1.tar.gz"] = whole[:-100]
    contents["/2.tar.gz"] = packed(folder, lambda name, content: content[:-1] if name.endswith("7_ann_3.wav") else content)
    contents["/3.tar.gz"] = whole
    assert load("spoken-digits").title == "spoken-digits"
    assert sorted(p.name for p in (cache / "FSDD").iterdir()) == ["recordings"]
    assert {p.name: p.read_bytes() for p in (cache / "FSDD" / "recordings").iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}
    contents.clear()
    assert len(load("spoken-digits").test) == 100, "the second time nothing is fetched"


def test_a_download_that_fails_leaves_nothing(publisher, cache):
    folder, contents = publisher
    contents["/0.tar.gz"] = packed(folder, lambda name, content: content + b"x" if name.endswith(".wav") else content)
    contents["/1.tar.gz"] = b"<html>"
    with pytest.raises(InputError) as error:
        load("spoken-digits")
    message = str(error.value)
    assert message.startswith("the Free Spoken Digit Dataset was not found and could not be downloaded: fetch it from https://github.com/")
    assert "has other recordings (SHA-256 " in message
    assert "Not Found" in message
    assert "\n" not in message
    assert not cache.exists()


def test_no_file_is_written_outside_of_its_folder(publisher, cache):
    _, contents = publisher
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as archive:
        entry = tarfile.TarInfo("../../recordings/../7_ann_3.wav")
        entry.size = 3
        archive.addfile(entry, io.BytesIO(b"abc"))
        link = tarfile.TarInfo("x/recordings/1_ann_1.wav")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    contents["/0.tar.gz"] = target.getvalue()
    with pytest.raises(InputError, match="has other recordings"):
        load("spoken-digits")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """The real recordings of $POLYSTEP_SNN_DATA; a fresh cache."""
    folder = os.environ.get("POLYSTEP_SNN_DATA")
    if not folder or not (Path(folder) / "FSDD").is_dir():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no folder FSDD: no recordings here")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield load_spoken_digits(Path(folder))


def test_the_real_recordings(real):
    assert len(real.sequences) == 2500
    assert real.names == ("george", "jackson", "lucas", "nicolas", "theo")
    assert real.dropped == "61 of 2500 recordings are longer than 0.8 s and were cut there; 2430 are shorter and end in silence"
    found = real.dataset()
    assert [len(part) for part in (found.train, found.validation, found.test)] == [2000, 250, 250]
    assert [len(part) for part in vars(real.dataset("theo")).values() if hasattr(part, "labels")] == [1800, 200, 500]
    assert np.bincount(found.test.labels).tolist() == [25] * 10
    # What the documentation says of its spread.
    assert real.sequences.values.std() == pytest.approx(1.53, abs=0.01)
    # Recordings of one digit are more alike than those of others: a nearest neighbour among the training part says most of them.
    mean = [part.values.reshape(len(part), 10, 4, 32).mean(2).reshape(len(part), -1) for part in (found.train, found.test)]
    nearest = (np.square(mean[0]).sum(1) - 2 * mean[1] @ mean[0].T).argmin(1)
    assert (found.train.labels[nearest] == found.test.labels).mean() > 0.9
