r"""Optimal transport maps learned from samples, where the optimal map is known; from noise to digits; memory; a figure.

    python benchmarks/transport.py                                    # ten minutes on one core
    python benchmarks/transport.py --pairs convex-8 --seeds 100       # to results/transport-part.json
    python benchmarks/transport.py --tune                             # the settings that were compared, on other pairs

100,000 samples of the source and as many of the target, that do not belong together, are all that a map sees. 10,000 others measure it:
L2-UVP (unexplained variance in percent, 0 is perfect) of the map and of its inverse, cosine of displacements. A seed decides the pair, the
samples and the training; settings were chosen on pairs of seed 0. ``potential, without the linear map`` has plain coordinates (one seed).
Seconds are those of the processor, of one thread.
"""

import argparse
import json
import statistics
import sys
import time
from typing import Any

import torch
import transport_digits
import transport_figure
import transport_memory
from common import RESULTS, report, table
from torch import Tensor
from transport_pairs import PAIRS, Pair, make_pair

from polystep_snn.transport_maps import DiagonalMap, GaussianMap, PotentialMap, l2_uvp, map_cosine

SEEDS = (100, 101, 102)
NUM_TRAINED, NUM_MEASURED = 100_000, 10_000
# Compared on seed 0. A rate of 0.1 is better where maps are not linear, 0.01 between Gaussians of many dimensions; 0.03 is between.
TUNED: tuple[dict[str, Any], ...] = ({}, {"learning_rate": 0.01}, {"learning_rate": 0.1}, {"widths": (128, 128)})
TUNED_PAIRS = ("gaussian-2", "gaussian-32", "convex-2", "convex-16")


class Identity:
    """Leaves points where they are."""

    def map(self, x: Tensor) -> Tensor:
        return x

    def inverse(self, z: Tensor) -> Tensor:
        return z


def samples(pair: Pair, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Source and target to learn from, float32, and source and its image to measure with, float64."""
    generator = torch.Generator().manual_seed(10_000 + seed)
    source, other = (pair.source(NUM_TRAINED, generator) for _ in range(2))
    x = pair.source(NUM_MEASURED, generator)
    return source.float(), pair.map(other).float(), x, pair.map(x)


def measure(name: str, seed: int, again: bool = False, **settings: Any) -> dict[str, dict[str, Any]]:
    """Every map's figures on one pair; ``again`` trains the potential once more, in plain coordinates."""
    source, target, x, z = samples(make_pair(name, seed), seed)
    maps: dict[str, Any] = {"identity": Identity, "diagonal": DiagonalMap, "linear": GaussianMap}
    maps["potential"] = lambda: PotentialMap(seed=seed, **settings)
    if again:
        maps["potential, without the linear map"] = lambda: PotentialMap(seed=seed, coordinates="identity")
    found = {}
    for method, make in maps.items():
        began = time.process_time()
        learned = make()
        if method != "identity":
            learned.fit(source, target)
        seconds = time.process_time() - began
        mapped, back = learned.map(x), learned.inverse(z)
        found[method] = {
            "forward_uvp": l2_uvp(mapped, z),
            "backward_uvp": l2_uvp(back, x),
            "cosine": map_cosine(mapped, z, x),
            "seconds": round(seconds, 2),
        }
        if isinstance(learned, PotentialMap):
            unseen = learned.evaluate(x, z)
            keys = ("converged", "residual", "mean_iterations", "max_iterations", "gap", "gap_error", "unconverged_steps")
            found[method] |= {key: getattr(unseen, key) for key in keys}
        print(f"{name}, seed {seed}, {method}: {found[method]}", file=sys.stderr, flush=True)
    return found


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Means over seeds, and the worst."""
    found = {f"{key}_mean": statistics.mean(run[key] for run in runs) for key in ("forward_uvp", "backward_uvp", "cosine", "seconds")}
    return found | {f"{key}_worst": max(run[key] for run in runs) for key in ("forward_uvp", "backward_uvp")}


def row(name: str, method: str, s: dict[str, float]) -> dict[str, Any]:
    """A line of the table."""
    return {
        "pair": name,
        "map": method,
        "L2-UVP %": f"{s['forward_uvp_mean']:.3f}",
        "worst": f"{s['forward_uvp_worst']:.3f}",
        "inverse": f"{s['backward_uvp_mean']:.3f}",
        "inverse, worst": f"{s['backward_uvp_worst']:.3f}",
        "cosine": f"{s['cosine_mean']:.4f}",
        "seconds": f"{s['seconds_mean']:.1f}",
    }


def tune() -> None:
    """The settings that were compared, on pairs of their own."""
    rows = []
    for settings in TUNED:
        for name in TUNED_PAIRS:
            rows.append(row(name, json.dumps(settings), summary([measure(name, 0, **settings)["potential"]])))
            print(table(rows), file=sys.stderr, flush=True)
    report("transport-tune", {}, rows, {"rows": rows}, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output: map, then pair")
    parser.add_argument("--tune", action="store_true", help="compare settings in place of the maps")
    arguments = parser.parse_args()
    if 0 in arguments.seeds:
        parser.error("seed 0 is what settings were chosen on: choose others")
    torch.set_num_threads(1)
    if arguments.tune:
        tune()
        return
    first = arguments.seeds[0]
    runs = {name: [measure(name, seed, seed == first and "gaussian" in name) for seed in arguments.seeds] for name in arguments.pairs}
    methods: dict[str, dict[str, Any]] = {}
    rows = []
    for name, by_seed in runs.items():
        for method in by_seed[0]:
            values = [run[method] for run in by_seed if method in run]
            methods.setdefault(method, {})[name] = summary(values)
            rows.append(row(name, method, methods[method][name]))
    details: dict[str, Any] = {"seeds": list(arguments.seeds), "runs": runs}
    whole = set(arguments.pairs) == set(PAIRS) and len(arguments.seeds) >= len(SEEDS)
    if whole:
        details["memory"] = transport_memory.measure()
        details["digits"] = [transport_digits.measure(seed) for seed in arguments.seeds]
        print(f"\nbytes of a step\n\n{table(details['memory'])}", file=sys.stderr)
        judged = list(details["digits"][0])
        digits = [{"map": n} | {k: [run[n][k] for run in details["digits"]] for k in ("accuracy", "energy_distance")} for n in judged]
        print(f"\ndigits from noise, a value a seed\n\n{table(digits)}", file=sys.stderr)
        pair = make_pair("convex-2", first)
        learned = PotentialMap(seed=first).fit(*samples(pair, first)[:2])
        RESULTS.mkdir(exist_ok=True)
        transport_figure.draw(RESULTS / "transport.png", pair, learned)
    report("transport" if whole else "transport-part", methods, rows, details, arguments.json)


if __name__ == "__main__":
    main()
