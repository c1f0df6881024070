"""``polystep-snn eval``: accuracy of a trained network on the test set."""

import argparse
from pathlib import Path

from polystep_snn.cli.console import print_json, progress_bar, say
from polystep_snn.cli.run_options import add_run_argument
from polystep_snn.errors import InputError

_EXAMPLES = """examples:
  polystep-snn eval runs/mnist
  polystep-snn eval runs/mnist --limit 1000 --json
  polystep-snn eval runs/chip --backend lava --limit 500
  polystep-snn eval digits-int8 --backend simulator
"""
BACKENDS = ("torch", "simulator", "lava", "loihi2", "auto")


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "eval",
        help="accuracy of a trained network on the test set",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument(
        "--backend",
        choices=BACKENDS,
        default="torch",
        help="where the network runs; auto is Lava where it is installed, else the simulator (default torch)",
    )
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test samples")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate the validation-selected weights of a run."""
    from polystep_snn.training.run_folder import open_run

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    if arguments.backend == "torch":
        score = opened.evaluate(arguments.limit)
        backend, accuracy, samples = "torch", score.accuracy, len(score.predictions)
    else:
        backend, accuracy, samples = _on_backend(opened, arguments.backend, arguments.limit)
    result = {
        "dataset": opened.dataset.title,
        "backend": backend,
        "test_accuracy": accuracy,
        "samples": samples,
        "epoch": opened.best["epoch"],
        "val_accuracy": opened.best["val_accuracy"],
    }
    say(f"{opened.dataset.title}: test accuracy {accuracy:.2%} on {samples} samples, weights of epoch {opened.best['epoch']}, on {backend}")
    if arguments.json:
        print_json(result)
    return 0


def _on_backend(opened, name: str, limit: int | None) -> tuple[str, float, int]:
    """The backend's name, accuracy and number of samples."""
    import numpy as np

    from polystep_snn.hardware.backend import open_backend
    from polystep_snn.hardware.chip import preflight
    from polystep_snn.training.deploy import decisions, deploy

    deployed = deploy(opened)
    if deployed.fits:
        say("this network was trained in floating point: it runs with its weights quantized afterwards")
    report = preflight(deployed.integers) if name == "loihi2" else None
    if report is not None:
        report.check()
    right: list[np.ndarray] = []
    num_samples = len(opened.dataset.test) if limit is None else min(limit, len(opened.dataset.test))
    with progress_bar(name, num_samples) as bar:

        def show(samples_of_batch: int) -> None:
            bar.update(sum(map(len, right)) + samples_of_batch - bar.n)

        with open_backend(name, deployed.integers, on_progress=show) as backend:
            if report is not None:
                say(report.table())
            if backend.reason:
                say(f"running on {backend.reason}")
            bar.set_description(backend.name)
            for decided, labels in decisions(opened, backend, limit):
                right.append(decided == labels)
                show(0)
    return backend.name, float(np.concatenate(right).mean()), sum(map(len, right))
