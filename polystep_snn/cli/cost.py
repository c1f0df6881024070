"""``polystep-snn cost``: what an inference costs the chip: spikes, synaptic operations, energy, latency."""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from polystep_snn.cli.console import print_json, progress_bar, say
from polystep_snn.errors import InputError
from polystep_snn.trained_networks import folder_of

if TYPE_CHECKING:
    import numpy as np

    from polystep_snn.hardware.chip_cost import ChipCost
    from polystep_snn.hardware.integer_network import IntegerNetwork

_EXAMPLES = """examples:
  polystep-snn cost runs/chip
  polystep-snn cost runs/mnist --limit 1000 --json
  polystep-snn cost digits.safetensors --data digits
  polystep-snn cost events.nir --data spikes.npy
"""
_BATCH = 1000


class _Given(NamedTuple):
    """What is looked at.

    Attributes:
        name: of the data or the file.
        network: that runs.
        num_samples: of all batches.
        batches: spikes ``[T, B, M]``, and labels ``[B]`` or None where nobody knows them.
        quantized: whether the network was trained in floating point.
    """

    name: str
    network: "IntegerNetwork"
    num_samples: int
    batches: "Iterator[tuple[np.ndarray, np.ndarray | None]]"
    quantized: bool


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "cost",
        help="what an inference costs the chip: spikes, synaptic operations, energy, latency",
        description="What an inference costs the chip, measured on test data: spikes, synaptic operations and updates of neurons are "
        "counted; energy and latency are estimated from them, beside the same network without spikes. The figure of a run is "
        "RUN/figures/cost.png.",
        epilog=_EXAMPLES
        + """
A run is looked at as it is exported: one that was trained in floating point with its weights quantized afterwards. A file (.safetensors or
.nir of `export`, or a NIR file of another program) needs --data: a data set of images, which the network's own code makes spikes of, or
a file of numpy, [steps, samples, inputs], zeros and ones in uint8 or bool.
""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("network", type=Path, metavar="RUN", help="folder of a run, name of a trained network, or file of a network")
    parser.add_argument("--data", metavar="X", help="of a file: name of a data set of images, or a .npy file of spikes")
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test samples")
    parser.add_argument("--json", action="store_true", help="print the result as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Count, sample after sample."""
    if arguments.limit is not None and arguments.limit < 1:
        raise InputError(f"--limit is {arguments.limit}: choose at least 1")
    folder = folder_of(arguments.network)
    is_run = folder.is_dir()
    if is_run and arguments.data is not None:
        raise InputError(f"--data is {arguments.data}, but the run in {arguments.network} has data of its own: leave it out")
    given = _of_run(arguments) if is_run else _of_file(arguments)
    cost, accuracy = _measured(given)

    from polystep_snn.hardware.cost_report import as_values, table

    say(f"{given.name}: {'-'.join(map(str, given.network.sizes))}" + ("" if accuracy is None else f", accuracy {accuracy:.2%}"))
    say(table(cost))
    # Nothing is written where a trained network lies within the package.
    figure = _draw(cost, given.name, folder) if is_run and folder == arguments.network else None
    if arguments.json:
        rest = {"quantized": given.quantized, "accuracy": accuracy, "figure": None if figure is None else str(figure)}
        print_json({"network": given.name, **rest, **as_values(cost)})
    return 0


def _measured(given: _Given) -> "tuple[ChipCost, float | None]":
    """What was counted, and how many decisions are right, where labels say so."""
    from polystep_snn.hardware.chip_cost import CostMeter

    meter, right, known = CostMeter(given.network), 0, True
    with progress_bar("cost", given.num_samples) as bar:
        for spikes, labels in given.batches:
            values = meter.run(spikes)
            known = known and labels is not None
            right += int((values.argmax(1) == labels).sum()) if labels is not None else 0
            bar.update(spikes.shape[1])
    return meter.cost(), right / given.num_samples if known else None


def _of_run(arguments: argparse.Namespace) -> _Given:
    from polystep_snn.training.deploy import deploy, encoded_test_set
    from polystep_snn.training.run_folder import open_run

    opened = open_run(arguments.network, arguments.data_dir)
    deployed, num_samples = deploy(opened), len(opened.dataset.test)
    if deployed.fits:
        _say_quantized(opened.config.network.reset != "zero")
    # Of real targets none is right or wrong.
    known = not opened.dataset.holds_values
    batches = ((spikes.cpu().numpy(), labels if known else None) for spikes, labels in encoded_test_set(opened, arguments.limit))
    num_samples = num_samples if arguments.limit is None else min(arguments.limit, num_samples)
    return _Given(opened.dataset.title, deployed.integers, num_samples, batches, bool(deployed.fits))


def _say_quantized(resets_otherwise: bool) -> None:
    say("this network was trained in floating point: what is counted is its weights quantized afterwards, as `export` does")
    if resets_otherwise:
        say("its reset becomes the chip's, to zero")


def _of_file(arguments: argparse.Namespace) -> _Given:
    """A network's file, and data for it."""
    from polystep_snn.hardware import network_file

    path, data = arguments.network, arguments.data
    if path.suffix not in (".safetensors", ".nir"):
        raise InputError(f"{path} is neither the folder of a run nor a file of a network: give one that ends in .safetensors or .nir")
    if data is None:
        raise InputError(f"{path} has no data of its own: name some with --data, a data set of images or a .npy file of spikes")
    spikes = _spikes_in(Path(data)) if data.endswith(".npy") else None
    network, quantized = (network_file.load(path), False) if path.suffix == ".safetensors" else _from_nir(path, spikes)
    if spikes is not None:
        spikes = spikes[:, : arguments.limit]
        batches = ((spikes[:, k : k + _BATCH], None) for k in range(0, spikes.shape[1], _BATCH))
        return _Given(path.name, network, spikes.shape[1], batches, quantized)
    return _of_images(arguments, network, quantized)


def _of_images(arguments: argparse.Namespace, network: "IntegerNetwork", quantized: bool) -> _Given:
    import numpy as np

    from polystep_snn.datasets import Samples, load
    from polystep_snn.hardware.encoders import encode

    if network.encoder not in ("rate", "latency"):
        raise InputError(
            f"{arguments.network} takes {network.encoder!r} input, which is not made of images here: give a .npy file of spikes"
        )
    dataset = load(arguments.data, arguments.data_dir)
    test = dataset.test
    if not isinstance(test, Samples):
        raise InputError(f"--data is {arguments.data}, which does not hold images: give a data set of images, or a .npy file of spikes")
    num_samples = len(test) if arguments.limit is None else min(arguments.limit, len(test))

    def batches() -> "Iterator[tuple[np.ndarray, np.ndarray | None]]":
        for start in range(0, num_samples, _BATCH):
            part = slice(start, min(start + _BATCH, num_samples))
            images = test.images[part].reshape(part.stop - start, -1).astype(np.float32) / test.full_scale
            yield encode(network.encoder, network.num_steps, images), test.labels[part]

    return _Given(f"{arguments.network.name} on {dataset.title}", network, num_samples, batches(), quantized)


def _spikes_in(path: Path) -> "np.ndarray":
    """``[T, B, M]``; whether they are spikes is checked where they run."""
    import numpy as np

    try:
        spikes = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read ({error}): give spikes that numpy.save wrote, without pickling") from None
    if spikes.ndim != 3 or not spikes.size:
        raise InputError(f"{path} holds {spikes.dtype} {list(spikes.shape)}: give spikes [steps, samples, inputs], at least one of each")
    return spikes


def _from_nir(path: Path, spikes: "np.ndarray | None") -> "tuple[IntegerNetwork, bool]":
    """One of ours, or one of another program, which is quantized."""
    from polystep_snn.hardware.formats import nir
    from polystep_snn.hardware.formats.embedded import NAME

    metadata = nir.read_graph(path).get("metadata")
    if isinstance(metadata, dict) and NAME in metadata:
        return nir.read(path), False
    from polystep_snn.convert import quantized, to_integer_network
    from polystep_snn.snn.from_nir import from_nir

    if spikes is None:
        raise InputError(f"{path} is of another program and does not say how it is fed: give spikes, --data FILE.npy")
    network = from_nir(path)
    resets_otherwise = any(getattr(neuron, "reset", "zero") != "zero" for neuron in network.neurons)
    network, _ = quantized(network)
    _say_quantized(resets_otherwise)
    first = network.architecture[0]
    shape = (first,) if isinstance(first, int) else cast(tuple[int, ...], first)
    return to_integer_network(network, len(spikes), "events", shape, [str(k) for k in range(network.sizes[-1])]), True


def _draw(cost: "ChipCost", name: str, folder: Path) -> Path:
    from polystep_snn import plots
    from polystep_snn.files import make_folder, write_atomically
    from polystep_snn.training.figures import cost_figure
    from polystep_snn.training.run_folder import RunFolder

    figure = cost_figure(cost)
    figure.suptitle(f"{name}: a sample of {cost.num_steps} steps, on average over {cost.samples:,}", fontsize=8, color=plots.GREY)
    path = RunFolder(folder).figures / "cost.png"
    make_folder(path.parent)
    write_atomically(path, partial(figure.savefig, format="png"))
    say(f"wrote {path}")
    return path
