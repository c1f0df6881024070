"""``polystep-snn verify``: every spike and membrane of a trained network, in torch, in the simulator and on a backend."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from polystep_snn.cli.console import print_json, progress_bar, say
from polystep_snn.cli.run_options import add_run_argument
from polystep_snn.errors import InputError

_EXAMPLES = """examples:
  polystep-snn verify runs/chip
  polystep-snn verify runs/chip --backend lava --limit 500
"""


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "verify",
        help="every spike and membrane against the simulator or Lava",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES
        + """
What runs is RUN/network.safetensors where training wrote one, else the network quantized now. Exit code 0 where all are equal, 1 at a
difference. Membranes are not read from a chip: `eval --backend loihi2` holds its first samples against the simulator.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument(
        "--backend",
        choices=("simulator", "lava", "auto"),
        default="simulator",
        help="what torch is compared with beside the simulator; auto is Lava where it is installed (default simulator)",
    )
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test samples")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Compare, layer by layer and step by step."""
    from polystep_snn.hardware import network_file
    from polystep_snn.hardware.backend import open_backend
    from polystep_snn.trained_networks import folder_of
    from polystep_snn.training.deploy import deploy, verify
    from polystep_snn.training.run_folder import RunFolder, open_run

    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    deployed = deploy(opened)
    if deployed.network is None:
        raise InputError(f"{arguments.run_folder} holds integers that torch cannot represent: compare `eval --backend simulator` with lava")
    integers, path = deployed.integers, RunFolder(folder_of(arguments.run_folder)).network
    if path.exists():
        integers = network_file.load(path)
    found = {}
    with ExitStack() as stack:
        backends = [stack.enter_context(open_backend("simulator", integers))]
        if arguments.backend != "simulator":
            other = stack.enter_context(open_backend(arguments.backend, integers))
            if other.reason:
                say(f"comparing with {other.reason}")
            if other.name != "simulator":
                backends.append(other)
        num_samples = len(opened.dataset.test) if arguments.limit is None else min(arguments.limit, len(opened.dataset.test))
        for backend in backends:
            with progress_bar(backend.name, num_samples) as bar:
                found[backend.name] = verify(opened, deployed.network, backend, arguments.limit, bar.update)
    spikes, membranes, differences = (
        sum(getattr(f, name) for f in found.values()) for name in ("spikes_compared", "membranes_compared", "differences")
    )
    first = next((f"{name}: {f.first_difference}" for name, f in found.items() if f.first_difference), None)
    samples = found["simulator"].samples
    say(
        f"torch, {', '.join(found)}: {samples} samples, {spikes:,} spikes and {membranes:,} membranes compared, {differences:,} differences"
    )
    if first:
        say(f"first difference: {first}")
    if arguments.json:
        print_json(
            {
                "samples": samples,
                "backends": list(found),
                "spikes_compared": spikes,
                "membranes_compared": membranes,
                "differences": differences,
                "first_difference": first,
            }
        )
    return 1 if differences else 0
