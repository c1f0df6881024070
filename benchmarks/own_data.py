"""Data of one's own: real sets written out as a stranger would have them, trained and tested from there.

    python benchmarks/own_data.py spoken                 spoken digits as class folders of wav files, beside the built-in set
    python benchmarks/own_data.py fashion --seeds 0 1 2  Fashion-MNIST as .npz, 784-256-128-10, chained credit, beside BPTT
    python benchmarks/own_data.py forecast --seeds 0 1 2 ETTh1: 96 hours from 96, differences from the last value as .npz, --cost mse
    python benchmarks/own_data.py start                  60,000 images from .npz: memory, and time to the first step

``fashion --tune`` and ``forecast --tune`` compare settings on the validation part. What stands in the file of ``fashion --tune``, with the
same base and seeds, is not tried again.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, report, spread
from etth1_data import load_etth1

from polystep_snn.datasets import load
from polystep_snn.training.build import build_bptt
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.data import load_run_data
from polystep_snn.training.trainer import Trainer

# The first of the trials; windows and radius are the best of some twenty settings on validation with seed 0 before.
FASHION = {"hidden": (256, 128), "epochs": 10, "standardize": True}
FASHION_FORWARD = {"credit": "chained", "windows": 5, "radius": 1.0, "lr": 3e-3, "weight_decay": 0.1, "batch_size": 256}
FASHION_BPTT = {"lr": 1e-3, "weight_decay": 0.05}
FASHION_TRIALS: list[dict[str, Any]] = [
    {},
    {"weight_decay": 0.2},
    {"lr": 2e-3, "weight_decay": 0.2},
    {"batch_size": 128},
    {"standardize": False},
    {"label_smoothing": 0.1},
    {"label_smoothing": 0.1, "weight_decay": 0.2},
    {"label_smoothing": 0.1, "beta": 1.0},
    {"flip_lr": 0.5},
]
FASHION_BPTT_TRIALS: list[dict[str, Any]] = [{}, {"standardize": False}, {"lr": 2e-3}]
# Of the trials, the best on a tenth of the training part, mean of seeds 0 to 2.
FASHION_CHOSEN: dict[str, dict[str, Any]] = {"forward-only": {"label_smoothing": 0.1, "weight_decay": 0.2}, "BPTT": {}}
# Tested after training on nearly all of that part. The 600 samples that are left do not tell which of ten epochs was best.
FASHION_TEST = {"validation_share": 0.01, "keep": "last"}
# The first of TRIALS. On validation with seed 0 twice as many epochs explain 0.3 points more of the variance.
FORECAST: dict[str, Any] = {"cost": "mse", "encoder": "sequence", "hidden": (64,), "epochs": 10, "batch_size": 64, "lr": 3e-3}
TRIALS: list[dict[str, Any]] = [{}, {"lr": 1e-2}, {"epochs": 20}, {"hidden": (128,)}, {"hidden": ("64r",)}]


def words(name: str, value: Any) -> list[str]:
    """An option as the command line takes it."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *(str(v) for v in (value if isinstance(value, tuple) else (value,)))]


def trained(data: Path, out: Path, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """The summary of ``polystep-snn train DATA`` with some options, in a process of its own."""
    given = [word for name, value in options.items() for word in words(name, value)]
    command = [sys.executable, "-m", "polystep_snn.cli.main", "train", str(data), "--out", str(out), "--seed", str(seed), "--threads", "1"]
    done = subprocess.run([*command, *given, "--json"], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def spoken(arguments: argparse.Namespace, folder: Path) -> None:
    """Links in class folders, in the published parts; validation is split off here, and by number there."""
    source = Path(os.environ["POLYSTEP_SNN_DATA"]) / "FSDD" / "recordings"
    for file in sorted(source.glob("*.wav")):
        digit, _, number = file.stem.split("_")
        own = folder / "data" / ("test" if int(number) < 5 else "train") / digit
        own.mkdir(parents=True, exist_ok=True)
        (own / file.name).symlink_to(file.absolute())
    found: dict[str, list[float]] = {"class folders": [], "spoken-digits": []}
    for seed in arguments.seeds:
        for name, data in (("class folders", folder / "data"), ("spoken-digits", Path("spoken-digits"))):
            found[name].append(100 * trained(data, folder / f"{name}{seed}", seed, {})["test_accuracy"])
            print(f"{name}, seed {seed}: {found[name][-1]:.2f} %", file=sys.stderr, flush=True)
    show("own-data-spoken", found, "accuracy", arguments)


def fashion(arguments: argparse.Namespace, folder: Path) -> None:
    """All 60,000 training images; a validation part is split off, a small one for the test."""
    data = load("fashion-mnist")
    images = np.concatenate([data.train.images, data.validation.images])
    labels = np.array(data.classes)[np.concatenate([data.train.labels, data.validation.labels])]
    path = folder / "fashion.npz"
    np.savez(path, x_train=images, y_train=labels, x_test=data.test.images, y_test=np.array(data.classes)[data.test.labels])

    def forward_only(name: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
        return trained(path, folder / name, seed, FASHION | options)

    def backwards(name: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
        config = TrainConfig(str(path), kind="images", seed=seed, threads=1, device="cpu", **{**FASHION, **options})
        dataset, record = load_run_data(config)
        summary = Trainer(config, folder / name, dataset, make_method=build_bptt, record=record).fit()
        assert summary is not None
        return summary

    methods = {"forward-only": (forward_only, FASHION_FORWARD, FASHION_TRIALS), "BPTT": (backwards, FASHION_BPTT, FASHION_BPTT_TRIALS)}
    if arguments.tune:
        trials = [(method, trial) for method, (_, _, own) in methods.items() for trial in own]
        details = {"base": {method: str(FASHION | base) for method, (_, base, _) in methods.items()}, "seeds": arguments.seeds}
        results = RESULTS / "own-data-fashion-tune.json"
        before = json.loads(results.read_text()) if results.exists() else {}
        known = before["methods"] if {name: before.get(name) for name in details} == details else {}
        rows = []
        for k, (method, trial) in enumerate(trials):
            if f"{method} {trial}" in known:
                rows.append(known[f"{method} {trial}"])
                continue
            train, base, _ = methods[method]
            own = [100 * train(f"trial{k}-{seed}", seed, base | trial)["val_accuracy"] for seed in arguments.seeds]
            rows.append({"method": method, "settings": str(trial), **spread("val_accuracy", own, 2)})
            print(rows[-1], file=sys.stderr, flush=True)
        report("own-data-fashion-tune", {f"{row['method']} {row['settings']}": row for row in rows}, rows, details, arguments.json)
        return
    found: dict[str, list[float]] = {method: [] for method in methods}
    for seed in arguments.seeds:
        for method, (train, options, _) in methods.items():
            found[method].append(100 * train(f"{method}{seed}", seed, options | FASHION_CHOSEN[method] | FASHION_TEST)["test_accuracy"])
        print(f"seed {seed}: " + ", ".join(f"{name} {own[-1]:.2f} %" for name, own in found.items()), file=sys.stderr, flush=True)
    show("own-data-fashion", found, "accuracy", arguments, chosen=FASHION_CHOSEN, **FASHION_TEST)


def forecast(arguments: argparse.Namespace, folder: Path) -> None:
    """Differences from the last value that is seen, 96 steps of one value."""
    path, arrays = folder / "etth1.npz", {}
    for part, windows in load_etth1().items():
        x, y = windows.differences()
        name = {"validation": "val"}.get(part, part)
        arrays |= {f"x_{name}": x.numpy(), f"y_{name}": y.numpy()}
    np.savez(path, **arrays)
    if arguments.tune:
        rows = []
        for k, trial in enumerate(TRIALS):
            val = trained(path, folder / f"trial{k}", 0, FORECAST | trial)["val_r2"]
            rows.append({"settings": str(trial), "val_r2": round(val, 4)})
            print(rows[-1], file=sys.stderr, flush=True)
        report("own-data-forecast-tune", {row["settings"]: row for row in rows}, rows, {"base": str(FORECAST)}, arguments.json)
        return
    found: dict[str, list[float]] = {"forward-only": []}
    for seed in arguments.seeds:
        found["forward-only"].append(trained(path, folder / f"run{seed}", seed, FORECAST)["test_mse"])
        print(f"seed {seed}: {found['forward-only'][-1]:.4f}", file=sys.stderr, flush=True)
    found["last value again"] = [float(np.square(arrays["y_test"]).mean())]
    show("own-data-forecast", found, "mse", arguments, digits=4)


def start(arguments: argparse.Namespace, folder: Path) -> None:
    """A process of its own that reads, and takes one step."""
    data = load("mnist")
    images = np.concatenate([data.train.images, data.validation.images])
    path = folder / "mnist.npz"
    np.savez(
        path,
        x_train=images,
        y_train=np.concatenate([data.train.labels, data.validation.labels]),
        x_test=data.test.images,
        y_test=data.test.labels,
    )
    rows = []
    for name, given in (("nothing but imports", None), (".npz", path)):
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, __file__, "child", *([] if given is None else [str(given)])], stdout=subprocess.PIPE, text=True, check=True
        )
        peak_mb, first_step_s = json.loads(done.stdout)
        rows.append(
            {"data": name, "peak_mb": round(peak_mb, 1), "seconds": round(first_step_s, 2), "process_s": round(time.monotonic() - began, 2)}
        )
    file_mb = path.stat().st_size / 1e6
    rows[1]["over_file"] = round((rows[1]["peak_mb"] - rows[0]["peak_mb"]) / file_mb, 2)
    rows[0]["over_file"] = 0.0
    report("own-data-start", {row["data"]: row for row in rows}, rows, {"file_mb": round(file_mb, 1)}, arguments.json)


def child(path: str | None) -> None:
    """What ``start`` measures: peak memory in MB, and seconds from the start of the process to the end of the first step."""
    import torch

    from polystep_snn.training.ahead import compiled_ahead

    config = TrainConfig(path or "digits", kind="images" if path else "", threads=1, device="cpu", batch_size=128, epochs=1)
    with tempfile.TemporaryDirectory() as folder, compiled_ahead(config):
        dataset, record = load_run_data(config)
        trainer = Trainer(config, Path(folder) / "run", dataset, record=record)
    trainer._step(torch.arange(len(dataset.train)))
    with open("/proc/self/stat") as own:
        started = int(own.read().rsplit(")", 1)[1].split()[19]) / os.sysconf("SC_CLK_TCK")
    seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - started
    print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, seconds]))


def show(name: str, found: dict[str, list[float]], what: str, arguments: argparse.Namespace, digits: int = 3, **given: Any) -> None:
    results = {method: spread(what, values, digits) for method, values in found.items()}
    rows = [{"method": method, **results[method], "of seeds": " ".join(f"{v:.{digits - 1}f}" for v in found[method])} for method in found]
    report(name, results, rows, {"seeds": arguments.seeds, **given, "values": found}, arguments.json)


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        child(*(sys.argv[2:] or [None]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tasks = {"spoken": spoken, "fashion": fashion, "forecast": forecast, "start": start}
    parser.add_argument("task", choices=tasks)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tune", action="store_true", help="of fashion and forecast: compare settings on validation")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tasks[arguments.task](arguments, Path(folder))


if __name__ == "__main__":
    main()
