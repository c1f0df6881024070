"""snnTorch's ``Leaky`` network of ``examples/snntorch_network.py`` on MNIST, from forward passes alone, seed by seed.

    python benchmarks/snntorch_mnist.py    # three seeds, about a minute and a half each on one core

784-128-10, 15 steps; the example's settings, which were chosen on validation. The weights after the last epoch are tested.
"""

import argparse
import contextlib
import json
import runpy
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import positive, report, require, spread

from polystep_snn.datasets import load

_EXAMPLE = Path(__file__).parents[1] / "examples" / "snntorch_network.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=positive, default=5)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    require(parser, "snntorch")
    torch.set_num_threads(arguments.threads)
    example, dataset = runpy.run_path(str(_EXAMPLE)), load("mnist")
    runs: list[dict[str, Any]] = []
    methods: dict[str, dict[str, Any]] = {}
    for seed in arguments.seeds:
        torch.manual_seed(seed)
        network = example["snntorch_network"](784)
        started = time.process_time()
        with contextlib.redirect_stdout(sys.stderr):
            example["train"](network, dataset, arguments.epochs)
        seconds = time.process_time() - started
        validation, test = (100 * example["accuracy"](network, part) for part in (dataset.validation, dataset.test))
        runs.append({"seed": seed, "validation": round(validation, 2), "test": round(test, 2), "seconds": round(seconds, 1)})
        print(runs[-1], file=sys.stderr, flush=True)
        tests = [r["test"] for r in runs]
        methods["layers"] = {
            **spread("test", tests, 2, None),
            "test_worst": min(tests),
            "seconds": round(statistics.median(r["seconds"] for r in runs), 1),
            "seeds": len(runs),
        }
        # After every run: what stands is kept.
        details = {"epochs": arguments.epochs, "runs": runs}
        report("snntorch-mnist", methods, [{"method": name, **m} for name, m in methods.items()], details, False)
    if arguments.json:
        print(json.dumps(methods))


if __name__ == "__main__":
    main()
