"""Networks with memory on sequences: what is compared, how it is tuned, and the events of touch."""

import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polystep_snn.errors import InputError

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def modules(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import over_time
    import touch_data

    yield over_time, touch_data
    for name in ("over_time", "touch_data", "common"):
        sys.modules.pop(name, None)


def test_methods_differ_in_what_their_name_says(modules):
    over_time, _ = modules
    ours, theirs, without_price, without_memory = (
        over_time.options_of("rows", "recurrent", method, {}) for method in ("polystep", "bptt", "without price", "without memory")
    )
    assert without_price == {**ours, "recurrent_credit": False}
    assert without_memory == {**ours, "hidden": ("128",)}
    assert {name for name in ours if ours[name] != theirs[name]} <= {"lr", "radius"}
    assert over_time.options_of("spoken", "delayed", "without memory", {})["hidden"] == ("128", "128")


@pytest.mark.parametrize("argument", ["lr", "surrogate=sharp"])
def test_settings_that_cannot_be_tried(modules, monkeypatch, capsys, argument):
    over_time, _ = modules
    monkeypatch.setattr("sys.argv", ["over_time.py", "rows", "--tune", argument])
    with pytest.raises(SystemExit):
        over_time.main()
    assert "--tune takes options" in (err := capsys.readouterr().err) or "surrogates are" in err


@pytest.mark.slow
def test_tuning_adds_to_its_file_and_tests_nothing(modules, monkeypatch, tmp_path):
    over_time, _ = modules
    monkeypatch.setitem(over_time.TASKS, "rows", {"dataset": "digits", "encoder": "rows"})
    monkeypatch.setattr(over_time, "RESULTS", tmp_path)
    monkeypatch.setattr("common.RESULTS", tmp_path)
    monkeypatch.setitem(over_time.NETWORKS, "recurrent", ("12r",))
    for lr in ("1e-3", "1e-2"):
        monkeypatch.setattr("sys.argv", ["over_time.py", "rows", "--methods", "polystep", "--epochs", "1", "--tune", f"lr={lr}"])
        over_time.main()
    found = json.loads((tmp_path / "over-time-tune-rows-recurrent-epochs1.json").read_text())["methods"]
    assert list(found) == ["polystep, lr 0.001", "polystep, lr 0.01"]
    assert all(0 < own["val_accuracy_mean"] < 100 and own.keys() == {"val_accuracy_mean", "val_accuracies"} for own in found.values())


def write(path, files):
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, values in files.items():
            buffer = io.BytesIO()
            np.save(buffer, values)
            archive.writestr(name, buffer.getvalue())


def test_touch_is_read_step_by_step(modules, monkeypatch, tmp_path):
    _, touch_data = modules
    generator = np.random.default_rng(0)
    files = {
        f"Ev-Objects/{part}/sample_{k}_label_{k % 36}.npy": (generator.random((39, 2, 250)) < 0.1).astype(np.float32)
        for part, count in (("train", 180), ("test", 36))
        for k in range(count)
    }
    write(tmp_path / "tactile" / "Ev-Objects.zip", files)
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(tmp_path))
    found = touch_data.load_touch()
    assert [len(part) for part in (found.train, found.validation, found.test)] == [144, 36, 36]
    assert np.bincount(found.validation.labels).tolist() == [1] * 36
    given = files["Ev-Objects/test/sample_7_label_7.npy"]
    for taxel, polarity, step in zip(*np.nonzero(given), strict=True):
        assert found.test.values[7, step, polarity * 39 + taxel] == 1
    assert found.test.values[7].sum() == given.sum()


def test_touch_that_is_missing_or_something_else(modules, monkeypatch, tmp_path):
    _, touch_data = modules
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(tmp_path))
    with pytest.raises(InputError, match="is missing: set POLYSTEP_SNN_DATA"):
        touch_data.load_touch()
    write(tmp_path / "tactile" / "Ev-Objects.zip", {"Ev-Objects/train/sample_0_label_0.npy": np.full((39, 2, 250), 2.0)})
    with pytest.raises(InputError, match="of 0 and 1"):
        touch_data.load_touch()
