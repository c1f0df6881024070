"""What an evaluation of layer space costs beside one plain forward pass of the same module: the int8 MLP 784-64-10 on MNIST, one thread.

    python benchmarks/layer_step.py
    python benchmarks/layer_step.py --seconds 60

Plain forward passes under ``no_grad``, steps of ``LayerStep``, and steps with Adam's behind them take turns in one process, so that
whatever else the machine does hits all of them. Every one has a batch of its own, drawn before its clock starts. An evaluation is a
forward pass as ``LayerStep.passes`` counts them. What a step does every few steps only, such as learning credit or looking what outputs
reach, is contained: a turn is as long as the period of all of them, and measuring begins behind the first steps, which do more. Time is
processor time, as in ``paper.py``.

``ratio`` is an evaluation over a plain pass, by medians of all turns. ``ratio_undisturbed`` is the same by what a turn would take if
nothing else ran: for each of its calls the fastest one of all turns, added up.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import positive, report
from paper_tasks import TASKS
from torch import Tensor, nn

from polystep_snn.spaces.layer.step import LayerStep

# Steps before anything is measured, and steps a turn: credit is learnt in every 4th, a pass that looks is made in every 30th.
_BEFORE, _TURN = 240, 60

Part = Callable[[Tensor, Tensor], None]


def make(network: nn.Module, fused: bool) -> tuple[LayerStep, dict[str, Part]]:
    """What trains the network, and what takes turns: each one pass or step on a batch."""
    polystep = LayerStep(network, nn.CrossEntropyLoss(reduction="none"))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.9, 0.99), fused=fused)

    @torch.no_grad()
    def plain(images: Tensor, labels: Tensor) -> None:
        network(images)

    def step(images: Tensor, labels: Tensor) -> None:
        polystep.step(images, labels)

    def step_and_adam(images: Tensor, labels: Tensor) -> None:
        polystep.step(images, labels)
        optimizer.step()

    return polystep, {"plain pass": plain, "step": step, "step and Adam": step_and_adam}


def alternate(
    polystep: LayerStep, parts: dict[str, Part], batch: Callable[[], tuple[Tensor, Tensor]], budget_s: float
) -> tuple[dict[str, list[list[float]]], dict[str, list[int]]]:
    """Seconds of every call, a list for each turn that a part had, and evaluations of its turns."""
    for _ in range(_BEFORE):
        parts["step and Adam"](*batch())
    seconds: dict[str, list[list[float]]] = {name: [] for name in parts}
    evaluations: dict[str, list[int]] = {name: [] for name in parts}
    begun = time.perf_counter()
    while time.perf_counter() - begun < budget_s or len(seconds["step"]) < 5:
        for name, part in parts.items():
            before, turn = polystep.passes, []
            for _ in range(_TURN):
                images, labels = batch()
                started = time.process_time()
                part(images, labels)
                turn.append(time.process_time() - started)
            seconds[name].append(turn)
            evaluations[name].append(_TURN if name == "plain pass" else polystep.passes - before)
    return seconds, evaluations


def summary(seconds: dict[str, list[list[float]]], evaluations: dict[str, list[int]]) -> dict[str, dict[str, Any]]:
    """By part: microseconds of a call and of an evaluation, and the latter over a plain pass."""
    median = {name: 1e6 * statistics.median(map(sum, turns)) / _TURN for name, turns in seconds.items()}
    fastest = {name: 1e6 * sum(map(min, zip(*turns, strict=True))) / _TURN for name, turns in seconds.items()}
    result = {}
    for name, turns in seconds.items():
        count = sum(evaluations[name]) / len(turns) / _TURN
        result[name] = {
            "microseconds": round(median[name], 1),
            "quartiles": [round(1e6 * q / _TURN, 1) for q in statistics.quantiles(map(sum, turns), n=4)[::2]],
            "undisturbed": round(fastest[name], 1),
            "evaluations": round(count, 3),
            "microseconds_per_evaluation": round(median[name] / count, 1),
            "ratio": round(median[name] / count / median["plain pass"], 2),
            "ratio_undisturbed": round(fastest[name] / count / fastest["plain pass"], 2),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=positive, default=256)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--fused", action="store_true", help="Adam in one kernel, not torch's default, which is slower on a CPU")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long passes and steps take turns")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    task = TASKS["int8"]
    images, labels = task.data()["train"]
    polystep, parts = make(task.make(), arguments.fused)

    def batch() -> tuple[Tensor, Tensor]:
        chosen = torch.randint(len(labels), (arguments.batch_size,))
        return images[chosen], labels[chosen]

    found = summary(*alternate(polystep, parts, batch, arguments.seconds))
    rows = [{"part": name, **values} for name, values in found.items()]
    report("layer_step", found, rows, {"task": "int8", "batch_size": arguments.batch_size, "fused": arguments.fused}, arguments.json)


if __name__ == "__main__":
    main()
