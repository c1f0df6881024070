"""ETTh1's windows, what predicts without a network, and that both methods of the benchmark learn."""

import csv
import importlib
import json
import os
from pathlib import Path

import pytest
import torch

from polystep_snn.errors import InputError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def etth1():
    """The benchmark, imported as its script finds its neighbours."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        yield importlib.import_module("etth1")


@pytest.fixture
def data_module(etth1):
    return importlib.import_module("etth1_data")


def write(folder, values, name="OT"):
    (folder / "ETT").mkdir()
    with (folder / "ETT" / "ETTh1.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["date", "HUFL", name])
        rows.writerows([f"hour {k}", 0, value] for k, value in enumerate(values))


def test_no_window_reaches_across_a_border(data_module, monkeypatch, tmp_path):
    write(tmp_path, range(15_000))
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(tmp_path))
    data = data_module.load_etth1()
    assert {name: len(part.seen) for name, part in data.items()} == {"train": 8449, "validation": 2689, "test": 2689}
    # Of hours 0 to 8,639: the mean is 4,319.5, the variance (n^2 - 1) / 12.
    deviation = ((8640**2 - 1) / 12) ** 0.5
    for name, first in {"train": 0, "validation": 8640, "test": 11_520}.items():
        part, hours = data[name], data_module.HOURS[name]
        for place, start in ((0, first), (-1, first + hours - 192)):
            expected = (torch.arange(start, start + 192) - 4319.5) / deviation
            torch.testing.assert_close(torch.cat([part.seen[place], part.ahead[place]]), expected, rtol=0, atol=1e-6)
    inputs, targets = data["test"].differences()
    torch.testing.assert_close(inputs[5, :, 0] * deviation, torch.arange(-95.0, 1.0), rtol=0, atol=1e-2)
    torch.testing.assert_close(targets[5] * deviation, torch.arange(1.0, 97.0), rtol=0, atol=1e-2)


def test_files_of_something_else_are_refused_in_one_line(data_module, monkeypatch, tmp_path):
    monkeypatch.setenv("POLYSTEP_SNN_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"ETTh1.csv is missing: get it"):
        data_module.load_etth1()
    write(tmp_path, range(100))
    with pytest.raises(InputError, match="has 100 hours with a column OT: give the whole file, 14400 are used"):
        data_module.load_etth1()
    (tmp_path / "ETT" / "ETTh1.csv").write_text("date,OT\nfirst,warm\n")
    with pytest.raises(InputError, match="'warm' in line 2 is no temperature"):
        data_module.load_etth1()


def test_what_predicts_without_a_network(etth1, data_module):
    if not (Path(os.environ.get("POLYSTEP_SNN_DATA", "")) / "ETT" / "ETTh1.csv").is_file():
        pytest.skip("POLYSTEP_SNN_DATA is not set, or has no ETT/ETTh1.csv: no temperatures here")
    found = {name: row["test_mean"] for name, row in etth1.baselines(data_module.load_etth1()).items()}
    assert found == {"last value": 0.0687, "mean of the window": 0.0676, "ridge (100)": 0.0558}


@pytest.fixture
def small(etth1, data_module, monkeypatch, tmp_path):
    """Waves of a few periods, and results that go elsewhere."""
    hours = torch.arange(600.0)
    part = data_module._windows(torch.sin(hours / 4) + 0.1 * torch.sin(hours))
    data = dict.fromkeys(("train", "validation", "test"), part)
    monkeypatch.setattr(etth1, "load_etth1", lambda: data)
    for module in ("common", "etth1"):
        monkeypatch.setattr(f"{module}.RESULTS", tmp_path)
    return data


def test_the_ridge_continues_waves(data_module, small):
    predicted, _ = data_module.ridge(small)
    assert data_module.mse(predicted, small["test"]) < 0.01 * data_module.mse(small["test"].last, small["test"])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["layers", "adam"])
def test_both_methods_learn_and_count_their_passes(etth1, data_module, small, method):
    found = etth1.run(method, 0, etth1.SETTINGS[method][0], 50, small)
    assert found["test"] < 0.6 * data_module.mse(small["test"].last, small["test"])
    assert found["backward_passes"] == {"layers": 0, "adam": 50}[method]
    # Of layer space, the first step takes some more: to see which sample is which, and who consumes what layers give.
    assert found["forward_passes"] in {"layers": range(151, 161), "adam": [50]}[method]
    assert min(found["curve"]) == pytest.approx(found["validation"], abs=1e-4)
    assert len(found["curve"]) == 2


def test_settings_come_from_tuning(etth1, small, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(etth1, "SETTINGS", {"adam": [{"lr": 1e-9, "head_lr": 1e-9}, {"lr": 1e-2, "head_lr": 1e-2}]})

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["etth1.py", "--steps", "2", "--json", "--methods", "adam", *arguments])
        etth1.main()
        return json.loads(capsys.readouterr().out)

    with pytest.raises(SystemExit):
        call("--seeds", "0")
    assert "adam has no tuned setting: run `etth1.py --tune --methods adam` first" in capsys.readouterr().err
    assert call("--tune")["adam"]["chosen"] == {"lr": 1e-2, "head_lr": 1e-2}
    found = call("--seeds", "0", "1")
    assert found["adam"]["setting"] == {"lr": 1e-2, "head_lr": 1e-2}
    assert found["adam"]["seeds"] == 2
    assert found["last value"]["test_mean"] > 0
    assert json.loads((tmp_path / "etth1.json").read_text())["methods"] == found
