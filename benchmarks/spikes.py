"""Accuracy against what an inference costs, for several prices of a spike: MNIST, 784-128-10, on the chip's integers, T = 16.

    python benchmarks/spikes.py --seeds 0 1 2

Everything but ``--spike-price`` is the default of ``polystep-snn train mnist --neuron loihi``. Accuracy is that of the test set, of the
epoch that validation chose; spikes and synaptic operations are counted on the test set, as ``polystep-snn cost`` does. The price acts on
hidden spikes, so on operations of the readout; those of the first layer come from the input's spikes, and training changes them only by
weights that become 0.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from common import RESULTS, report, spread
from matplotlib.axes import Axes

from polystep_snn import plots
from polystep_snn.datasets import Dataset, load
from polystep_snn.files import write_atomically
from polystep_snn.hardware.chip_cost import CostMeter
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.deploy import deploy, encoded_test_set
from polystep_snn.training.recipes import recipe
from polystep_snn.training.run_folder import open_run
from polystep_snn.training.trainer import Trainer

PRICES = (0.0, 0.002, 0.01, 0.05, 0.2)


def run(price: float, seed: int, epochs: int, dataset: Dataset) -> dict[str, float]:
    """Train once, and count."""
    options = {**recipe("mnist", "loihi"), "neuron": "loihi", "spike_price": price, "seed": seed, "epochs": epochs, "threads": 1}
    with tempfile.TemporaryDirectory() as folder:
        summary = Trainer(TrainConfig("mnist", **options), Path(folder), dataset).fit()
        assert summary is not None
        opened = open_run(Path(folder), dataset=dataset)
    meter = CostMeter(deploy(opened).integers)
    for spikes, _ in encoded_test_set(opened):
        meter.run(spikes.numpy())
    cost = meter.cost()
    return {
        "accuracy": 100 * summary["test_accuracy"],
        "spikes": cost.total("spikes"),
        "operations_behind": cost.layers[1].synaptic_operations,
        "operations": cost.total("synaptic_operations"),
        "energy_nj": cost.total("energy_nj"),
    }


def draw(ax: Axes, results: dict[str, dict[str, Any]], quantity: str, title: str, named: bool) -> None:
    """Accuracy against a quantity, a point a price, deviations over seeds as bars; ``named``: with prices beside the points."""
    x, y = ([result[f"{name}_mean"] for result in results.values()] for name in (quantity, "accuracy"))
    bars = {f"{axis}err": [result[f"{name}_std"] for result in results.values()] for axis, name in (("x", quantity), ("y", "accuracy"))}
    ax.errorbar(x, y, **bars, color=plots.BLUE, marker="o", markersize=4, linewidth=1, capsize=2)
    for name, at, accuracy in zip(results if named else (), x, y, strict=False):
        ax.annotate(name, (at, accuracy), (6, -11), textcoords="offset points", fontsize=8, color=plots.GREY)
    ax.set_xlim(0, 1.15 * max(x))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_title(title, loc="left", fontsize=10, fontweight="bold")
    ax.set_xlabel("effective synaptic operations a sample", fontsize=9)
    ax.set_ylabel("test accuracy (%)", fontsize=9)
    ax.tick_params(labelsize=8, which="both")
    ax.spines[["top", "right"]].set_visible(False)


def draw_all(results: dict[str, dict[str, Any]]) -> None:
    """Both figures, into ``results/spikes.png``."""
    figure = plots.new_figure(9, 3.4)
    left, right = figure.subplots(1, 2)
    draw(left, results, "operations_behind", "Behind hidden neurons, where the price acts", True)
    draw(right, results, "operations", "All, those of the input included", False)
    write_atomically(RESULTS / "spikes.png", partial(figure.savefig, format="png"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--prices", type=float, nargs="+", default=PRICES, help="nats, of a neuron that fires in every step")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    dataset = load("mnist")
    runs: dict[float, list[dict[str, float]]] = {price: [] for price in arguments.prices}
    for seed in arguments.seeds:
        for price, own in runs.items():
            own.append(run(price, seed, arguments.epochs, dataset))
            told = ", ".join(f"{name} {value:,.2f}" for name, value in own[-1].items())
            print(f"price {price:g}, seed {seed}: {told}", file=sys.stderr)
    results = {
        f"price {price:g}": {
            key: value
            for name in own[0]
            for key, value in spread(name, [r[name] for r in own], digits=2 if name == "accuracy" else 1).items()
        }
        for price, own in runs.items()
    }
    rows = [
        {"": name, **{key: f"{r[f'{key}_mean']:,} ± {r[f'{key}_std']:,}" for key in runs[arguments.prices[0]][0]}}
        for name, r in results.items()
    ]
    report(
        "spikes",
        results,
        rows,
        {"epochs": arguments.epochs, "seeds": arguments.seeds, "runs": {str(p): r for p, r in runs.items()}},
        arguments.json,
    )
    draw_all(results)


if __name__ == "__main__":
    main()
