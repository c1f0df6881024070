"""An LSTM on ETTh1, trained from forward passes alone: 96 hours of oil temperature are seen, the next 96 are predicted.

    python benchmarks/etth1.py --methods layers adam     # five seeds each; two minutes a seed on one core
    python benchmarks/etth1.py --tune                    # four settings a method on the validation part, seed 0

The network is an LSTM of 64 and a linear layer on its last state. It sees differences from the last value and predicts differences from it.
``layers`` trains it in layer space, ``adam`` by backpropagation through time; both take the same steps on the same batches from the same
weights, and their steps go to Adam, whose learning rate falls along a cosine. Forget gates start open (a bias of 2 more): the state has to
outlast 96 hours. Validation chooses the weights of a run, every 25 steps, and the settings, by ``--tune``; the test part is looked at once
a run. What predicts without a network stands beside: the last value again, the mean of what was seen, and a ridge on the differences.
"""

import argparse
import copy
import json
import math
import statistics
import sys
import time
from typing import Any

import torch
from common import RESULTS, positive, report
from etth1_data import AHEAD, Windows, load_etth1, mse, ridge
from torch import Tensor, nn

from polystep_snn import LSTM, LayerSpace, LayerStep
from polystep_snn.errors import InputError
from polystep_snn.files import read_json
from polystep_snn.polystep.budget import Budget

_HIDDEN, _BATCH, _VALIDATE_EVERY, _AT_ONCE = 64, 128, 25, 1000
_OPEN = 2.0
_INPUT_STAYS = ["lstm.recurrent_gates.*", "head"]
# Four settings a method, among which validation chooses: rates of the LSTM and of the head; which layers are probed, in how many windows of
# time. Where the input's layer is not probed its weights stay as they are drawn; the gates' biases are trained with the recurrent layer's.
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "layers": [
        {"lr": lr, "head_lr": 1e-2, "layers": layers, "windows": windows}
        for layers, windows in ((_INPUT_STAYS, 4), (None, 1))
        for lr in (3e-4, 1e-3)
    ],
    "adam": [{"lr": lr, "head_lr": head_lr} for lr, head_lr in ((1e-3, 1e-2), (3e-3, 3e-3), (3e-3, 1e-2), (1e-2, 1e-2))],
}
_TUNED = "etth1-tune"


class Forecaster(nn.Module):
    """Of differences ``[B, 96, 1]`` makes those of the next hours, ``[B, 96]``."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.head = LSTM(1, _HIDDEN, batch_first=True), nn.Linear(_HIDDEN, AHEAD)
        with torch.no_grad():
            self.lstm.input_gates[0].bias[_HIDDEN : 2 * _HIDDEN] += _OPEN

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(x)[0][:, -1])


def cost(output: Tensor, target: Tensor) -> Tensor:
    """Each sample's mean squared error, ``[B]``."""
    return (output - target).square().mean(1)


@torch.no_grad()
def error(network: nn.Module, windows: Windows) -> float:
    """The network's mean squared error on a part."""
    x, _ = windows.differences()
    return mse(windows.last + torch.cat([network(some) for some in x.split(_AT_ONCE)]), windows)


class Backward:
    """Backpropagation through time, in the place of ``LayerStep``; a pass of each step is a forward pass."""

    def __init__(self, network: nn.Module, budget: Budget):
        self.network, self.budget = network, budget

    def step(self, x: Tensor, target: Tensor, progress: float) -> None:
        self.budget.spend(1)
        self.network.zero_grad()
        cost(self.network(x), target).mean().backward()


def run(name: str, seed: int, setting: dict[str, Any], steps: int, data: dict[str, Windows], test: bool = True) -> dict[str, Any]:
    """Train once; errors on validation and test of the weights that were best on validation."""
    torch.manual_seed(seed)
    network = Forecaster()
    budget = Budget(10 * steps)
    method: LayerStep | Backward
    if name == "layers":
        space = LayerSpace(layers=setting["layers"], windows=setting["windows"])
        method = LayerStep(network, cost, space, budget=budget, seed=seed)
    else:
        method = Backward(network, budget)
    rates = {network.lstm: setting["lr"], network.head: setting["head_lr"]}
    optimizer = torch.optim.Adam([{"params": list(part.parameters()), "lr": lr} for part, lr in rates.items()], betas=(0.9, 0.99))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    inputs, targets = data["train"].differences()
    order = torch.Generator().manual_seed(seed)
    best, kept, curve, seconds = math.inf, None, [], 0.0
    for k in range(steps):
        batch = torch.randint(len(inputs), (_BATCH,), generator=order)
        started = time.process_time()
        method.step(inputs[batch], targets[batch], k / steps)
        optimizer.step()
        cosine.step()
        seconds += time.process_time() - started
        if (k + 1) % _VALIDATE_EVERY == 0 or k + 1 == steps:
            curve.append(error(network, data["validation"]))
            if curve[-1] < best:
                best, kept = curve[-1], copy.deepcopy(network.state_dict())
    if kept is None:
        raise InputError(f"{name} has diverged with {setting}: choose a smaller learning rate")
    network.load_state_dict(kept)
    return {
        "method": name,
        "seed": seed,
        "setting": setting,
        "validation": round(best, 5),
        "test": round(error(network, data["test"]), 5) if test else None,
        "forward_passes": budget.spent,
        "backward_passes": steps if name == "adam" else 0,
        "seconds": round(seconds, 1),
        "curve": [round(v, 4) for v in curve],
    }


def baselines(data: dict[str, Windows]) -> dict[str, dict[str, Any]]:
    """What predicts without a network."""
    test, (predicted, strength) = data["test"], ridge(data)
    found = {"last value": test.last, "mean of the window": test.seen.mean(1, keepdim=True), f"ridge ({strength:g})": predicted}
    return {name: {"test_mean": round(mse(p, test), 4), "seeds": 0} for name, p in found.items()}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one method's runs: mean, standard deviation and worst over seeds."""
    tests = [r["test"] for r in runs]
    return {
        "test_mean": round(statistics.mean(tests), 4),
        "test_std": round(statistics.stdev(tests), 4) if len(tests) > 1 else None,
        "test_worst": round(max(tests), 4),
        "validation_mean": round(statistics.mean(r["validation"] for r in runs), 4),
        "seeds": len(runs),
        "setting": runs[0]["setting"],
        "forward_passes": runs[0]["forward_passes"],
        "backward_passes": runs[0]["backward_passes"],
        "seconds": round(statistics.median(r["seconds"] for r in runs), 1),
    }


def tune(arguments: argparse.Namespace, data: dict[str, Windows]) -> None:
    """What validation says of every setting; the test part is not looked at."""
    file = RESULTS / f"{_TUNED}.json"
    results = read_json(file)["methods"] if file.is_file() else {}
    for name in arguments.methods:
        found = [run(name, 0, setting, arguments.steps, data, test=False) for setting in SETTINGS[name]]
        results[name] = {"chosen": min(found, key=lambda r: r["validation"])["setting"], "runs": found}
        rows = [{"method": n, **{k: r[k] for k in ("setting", "validation", "seconds")}} for n in results for r in results[n]["runs"]]
        report(_TUNED, results, rows, {"steps": arguments.steps, "batch_size": _BATCH}, False)
    if arguments.json:
        print(json.dumps(results))


def chosen(name: str) -> dict[str, Any]:
    """The setting that ``tune`` found best.

    Raises:
        InputError: the method has not been tuned, or not with the settings that there are now.
    """
    file = RESULTS / f"{_TUNED}.json"
    found = read_json(file)["methods"] if file.is_file() else {}
    if name not in found or found[name]["chosen"] not in SETTINGS[name]:
        raise InputError(f"{name} has no tuned setting: run `etth1.py --tune --methods {name}` first")
    return found[name]["chosen"]


def compare(arguments: argparse.Namespace, data: dict[str, Windows]) -> None:
    """The table."""
    settings = {name: chosen(name) for name in arguments.methods}
    runs: list[dict[str, Any]] = []
    methods: dict[str, dict[str, Any]] = {}
    for seed in arguments.seeds:
        for name in arguments.methods:
            runs.append(run(name, seed, settings[name], arguments.steps, data))
            print({k: v for k, v in runs[-1].items() if k != "curve"}, file=sys.stderr, flush=True)
            own = {n: summary([r for r in runs if r["method"] == n]) for n in arguments.methods if any(r["method"] == n for r in runs)}
            methods = own | baselines(data)
            keys = ("test_mean", "test_std", "test_worst", "seeds", "forward_passes", "backward_passes", "seconds")
            rows = [{"method": n, **{k: m.get(k, "") for k in keys}} for n, m in methods.items()]
            # After every run: what stands is kept.
            report("etth1", methods, rows, {"steps": arguments.steps, "batch_size": _BATCH, "runs": runs}, False)
    if arguments.json:
        print(json.dumps(methods))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--steps", type=positive, default=300, help="batches of a run, for all methods")
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--tune", action="store_true", help="compare settings on the validation part instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    try:
        data = load_etth1()
        (tune if arguments.tune else compare)(arguments, data)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
