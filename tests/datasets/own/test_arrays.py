"""Arrays of one's own: what they become, and what is refused."""

import io
import zipfile

import numpy as np
import pytest

from polystep_snn.datasets.own import describe
from polystep_snn.datasets.own.inputs import read_inputs
from polystep_snn.errors import InputError
from tests.datasets.own.files import arrays, load, npz


def test_parts_are_those_of_the_file_and_keep_their_pixels(tmp_path):
    data, record = load(npz(tmp_path))
    given = arrays()
    for part, name in ((data.train, "train"), (data.validation, "val"), (data.test, "test")):
        # Brightest of the training part is 107: what is brighter is cut there.
        assert np.array_equal(part.images, np.minimum(given[f"x_{name}"], 107))
        assert part.full_scale == 107
        assert np.array_equal(part.labels, given[f"y_{name}"])
    assert (data.classes, data.note, record.shape, record.sizes) == (("0", "1", "2"), "", (2, 3), (18, 6, 6))
    assert data.dropped == "72 values of other parts lie beyond those of the training part, and are cut there"


def test_a_folder_of_arrays_is_the_same_data(tmp_path):
    (tmp_path / "mine").mkdir()
    for name, value in arrays().items():
        np.save(tmp_path / "mine" / f"{name}.npy", value)
    assert load(tmp_path / "mine")[1].fingerprint == load(npz(tmp_path))[1].fingerprint


def test_missing_parts_are_split_off_with_every_class(tmp_path):
    data, record = load(npz(tmp_path, x_val=None, y_val=None, x_test=None, y_test=None))
    assert record.sizes == (12, 3, 3)
    assert data.note == "20% split off as test part, 10% split off as validation part"
    together = np.concatenate([part.images for part in (data.train, data.validation, data.test)])
    assert np.array_equal(np.sort(together[:, 0, 0]), np.sort(np.minimum(arrays()["x_train"][:, 0, 0], together.max())))
    for part in (data.validation, data.test):
        assert sorted(part.labels) == [0, 1, 2]


def test_a_validation_part_has_the_share_that_is_asked_for(tmp_path):
    path = npz(tmp_path, x_val=None, y_val=None)
    data, record = load(path, validation_share=0.5)
    assert (record.sizes, data.note) == ((9, 9, 6), "50% split off as validation part")
    assert np.bincount(data.validation.labels).tolist() == [3, 3, 3]
    with pytest.raises(InputError, match=r"class 0 has 6 samples, too few to set 99\.5% apart"):
        load(path, validation_share=0.995)
    with pytest.raises(InputError, match=r"validation_share is 0\.5, but the data has a validation part of its own: leave it out"):
        load(npz(tmp_path), validation_share=0.5)


def test_columns_of_tables_are_scaled_one_by_one_on_the_training_part(tmp_path):
    x = np.stack([np.linspace(-5, 5, 18), np.full(18, 7.0), np.linspace(0, 1e6, 18)], 1)
    test = np.array([[0.0, 9.0, 2e6], [-10.0, 7.0, 5e5]])
    path = npz(tmp_path, x_train=x, x_val=None, y_val=None, x_test=test, y_test=np.array([0, 1]))
    data, record = load(path)
    assert np.allclose(data.test.images[:, 0], [[0.5, 0, 1], [0, 0, 0.5]], atol=1e-6)
    assert data.train.shape == (1, 3)
    # What a run has measured is applied again, whatever the samples are.
    again, _ = load(
        npz(tmp_path, "other.npz", x_train=10 * x, x_test=test, x_val=x, y_val=arrays()["y_train"], y_test=np.array([0, 1])), known=record
    )
    assert np.array_equal(again.test.images, data.test.images)
    unclipped, _ = load(path, clip=False)
    assert np.allclose(unclipped.test.images[:, 0], [[0.5, 0, 2], [-0.5, 0, 0.5]], atol=1e-6)


def test_sequences_are_scaled_by_their_spread_unless_they_are_spikes(tmp_path):
    x = np.random.default_rng(0).normal(3, 2, (18, 6, 2))
    given = {"x_val": x[:6], "x_test": x[:6]}
    data, record = load(npz(tmp_path, x_train=x, **given), sequences=True)
    assert np.allclose(data.train.values.mean((0, 1)), 0, atol=1e-6)
    assert np.allclose(data.train.values.std((0, 1)), 1, atol=1e-6)
    assert (record.num_steps, record.spikes) == (6, False)
    spikes = {name: value > 3 for name, value in {"x_train": x, **given}.items()}
    data, record = load(npz(tmp_path, **spikes), sequences=True)
    assert data.train.holds_spikes
    assert record.spikes
    assert np.array_equal(data.train.values, spikes["x_train"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (np.array(["cat", "ant", "bee"]), ("ant", "bee", "cat")),
        (np.array([1, 2, 3]), ("1", "2", "3")),
        (np.array([10.0, -1.0, 3.0]), ("-1", "3", "10")),
        (np.array([False, True, False]), ("0", "1")),
    ],
)
def test_classes_keep_their_names(tmp_path, names, expected):
    labels = {name: names[value] for name, value in arrays().items() if name.startswith("y")}
    data, record = load(npz(tmp_path, **labels))
    assert data.classes == expected
    assert [data.classes[k] for k in data.test.labels] == [str(int(v) if v.dtype.kind in "fb" else v) for v in labels["y_test"]]
    assert type(record).from_json(record.to_json()) == record


def test_real_targets_are_learned_in_units_of_their_spread(tmp_path):
    y = np.random.default_rng(0).normal(5, 3, (30, 2))
    data, record = load(npz(tmp_path, y_train=y[:18], y_val=y[18:24], y_test=y[24:]), values=True)
    assert np.allclose(data.train.labels.mean(0), 0, atol=1e-6)
    assert np.allclose(data.train.labels.std(0), 1, atol=1e-6)
    assert np.allclose(record.targets.undo(data.test.labels), y[24:], atol=1e-5)
    assert data.holds_values


NAN = np.array([[[0.0, 1, 2], [3, np.nan, 5]]] * 18)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": None, "y_train": None}, "has no array x_train: it needs x_train and y_train"),
        ({"y_test": None}, "has x_test but no y_test: add it, or remove x_test"),
        ({"x_train": arrays()["x_train"][:17]}, "has 17 samples in x_train, but 18 in y_train: give one target a sample"),
        ({"x_test": arrays()["x_test"][:, :1]}, r"x_test of .* has samples of \[1, 3\], x_train of \[2, 3\]: make them alike"),
        ({"x_train": np.zeros((0, 2, 3)), "y_train": np.zeros(0, int)}, r"x_train of .* is empty, of shape \[0, 2, 3\]"),
        ({"x_train": NAN}, "x_train of .* contains NaN or infinity, first in sample 0: clean the data"),
        ({"x_train": np.full((18, 2, 3), 4.0)}, "x_train of .* is 4 throughout: give samples that differ"),
        ({"x_train": np.full((18, 2, 3), "a")}, "x_train of .* is <U1: give numbers"),
        ({"x_train": np.zeros((18, 2, 3), complex)}, "x_train of .* is complex128: give numbers"),
        ({"y_train": np.ones(18, int)}, "y_train of .* holds one class, 1: give samples of at least two"),
        ({"y_train": np.linspace(0, 1, 18)}, "holds 0.0588235, but classes are whole numbers or text: for real targets choose --cost mse"),
        ({"y_train": np.full(18, np.nan)}, "y_train of .* contains NaN or infinity: remove these samples"),
        ({"y_train": np.eye(18)}, r"y_train of .* is \[18, 18\]: give one label a sample, such as argmax"),
        ({"y_test": np.array([0, 1, 2, 3, 0, 1])}, "y_test of .* has the class 3, which the training part has not"),
        ({"y_test": np.array(list("aabbcc"))}, "y_test of .* holds a, but classes are called 0, 1, 2: give these"),
        ({"x_test": None, "y_test": None, "y_train": np.array([0] * 10 + [1] * 7 + [2])}, "has 1 samples, too few to set 20% apart"),
    ],
)
def test_what_cannot_be_learned_from_is_refused_in_a_line(tmp_path, changes, message):
    path = npz(tmp_path, **changes)
    with pytest.raises(InputError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    ragged = np.empty(18, object)
    ragged[:] = [Trap()] * 18
    np.savez(tmp_path / "mine.npz", **arrays(x_train=ragged))
    with pytest.raises(InputError, match=r"x_train of .* holds Python objects, which are never loaded"):
        load(tmp_path / "mine.npz")
    assert not (tmp_path / "sprung").exists()


def test_what_unpacks_to_more_than_data_can_is_not_unpacked(tmp_path):
    # 200 MB of zeros in 200 kB.
    with zipfile.ZipFile(tmp_path / "mine.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, value in arrays(x_train=None).items():
            packed = io.BytesIO()
            np.save(packed, value)
            archive.writestr(f"{name}.npy", packed.getvalue())
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (18, 10000, 1200)})
        archive.writestr("x_train.npy", header.getvalue() + bytes(18 * 10000 * 1200))
    with pytest.raises(InputError, match=r"unpacks x_train.npy from .* to 216,000,.* bytes, which no data does"):
        describe(tmp_path / "mine.npz")
    record = load(npz(tmp_path, "small.npz"))[1]
    with pytest.raises(InputError, match=r"unpacks x_train.npy from .* to 216,000,.* bytes, which no data does"):
        read_inputs(tmp_path / "mine.npz", record, "images", True, None, None, None)


@pytest.mark.parametrize("cut", [0, 10, 200, 900])
def test_damaged_files_are_named(tmp_path, cut):
    path = npz(tmp_path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match=r"mine.npz is no .npz file"):
        load(path)


def test_damaged_arrays_are_named(tmp_path):
    folder = tmp_path / "my data"
    folder.mkdir()
    for name, value in arrays().items():
        np.save(folder / f"{name}.npy", value)
    whole = (folder / "x_test.npy").read_bytes()
    (folder / "x_test.npy").write_bytes(whole[:-5])
    with pytest.raises(InputError, match=r"x_test.npy cannot be read"):
        load(folder)
