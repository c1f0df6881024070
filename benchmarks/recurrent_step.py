"""Time and memory of a training step of a recurrent network, forward-only and by backpropagation through time, over timesteps.

    python benchmarks/recurrent_step.py
    python benchmarks/recurrent_step.py --num-steps 40 400 --seconds 10 --json

40-128r-10 on random currents, batches of 128, eight windows, the optimizer of ``train`` included; both compiled. The methods take turns;
times are processor time, so that other programs do not count. Memory is what a step of 784-128r-10 on Poisson spikes needs beyond what is
there between steps, as ``polystep-snn profile`` measures it.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from common import positive, report

from polystep_snn import NodeSpace, PolyStep, Recurrent, SpikingNetwork
from polystep_snn.baselines.bptt import SurrogateBPTT
from polystep_snn.profiling import measure
from polystep_snn.training.adamw import AdamW
from polystep_snn.training.config import TrainConfig

_BATCH, _WINDOWS = 128, 8


def make(method: str, num_steps: int) -> Callable[[], None]:
    """A step on one batch."""
    generator = torch.Generator().manual_seed(0)
    network = SpikingNetwork([40, Recurrent(128), 10], generator=generator)
    inputs = torch.rand(num_steps, _BATCH, 40, generator=generator)
    target = torch.randint(10, (_BATCH,), generator=generator)
    filler = PolyStep(network, NodeSpace(num_windows=_WINDOWS)) if method == "polystep" else SurrogateBPTT(network)
    optimizer = AdamW(network.parameters(), lr=1e-4, weight_decay=0.01)

    def step() -> None:
        filler.step(inputs, target)
        optimizer.step()

    for _ in range(3):
        step()
    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-steps", type=positive, nargs="+", default=[40, 400])
    parser.add_argument("--seconds", type=float, default=10, help="of measuring each number of steps")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results: dict[str, dict] = {"polystep": {}, "bptt": {}}
    rows = []
    for num_steps in arguments.num_steps:
        steps = {method: make(method, num_steps) for method in results}
        times: dict[str, list[float]] = {method: [] for method in results}
        begun = time.perf_counter()
        while time.perf_counter() - begun < arguments.seconds or len(times["bptt"]) < 5:
            for method, step in steps.items():
                started = time.process_time()
                step()
                times[method].append(time.process_time() - started)
        options = {"hidden": ("128r",), "encoder": "poisson", "windows": _WINDOWS, "num_steps": num_steps, "batch_size": _BATCH}
        config = TrainConfig("mnist", threads=1, device="cpu", **options).to_json()
        row: dict = {"T": num_steps}
        for method, own in results.items():
            own[str(num_steps)] = {
                "ms_per_step": round(1e3 * statistics.median(times[method]), 2),
                "peak_mb": round(measure(method, num_steps, config, 10)["peak_mb"], 2),
            }
            row |= {f"{method} {name}": value for name, value in own[str(num_steps)].items()}
        ours, theirs = (results[method][str(num_steps)]["ms_per_step"] for method in ("polystep", "bptt"))
        rows.append({**row, "ratio of times": round(ours / theirs, 2)})
    report("recurrent_step", results, rows, {"arguments": vars(arguments)}, arguments.json)


if __name__ == "__main__":
    main()
