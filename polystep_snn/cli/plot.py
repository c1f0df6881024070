"""``polystep-snn plot``: figures of a run."""

import argparse
from functools import partial
from pathlib import Path

from polystep_snn.cli.console import print_json, say
from polystep_snn.cli.run_options import add_run_argument

_EXAMPLES = """examples:
  polystep-snn plot runs/mnist
  polystep-snn plot runs/mnist --sample 7
  polystep-snn plot digits-int8 --out digits-int8-figures
"""
_RATE_SAMPLES = 1000


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "plot",
        help="figures of a run: curves, spikes and membranes, firing rates, confusion matrix",
        description="Figures of a run: curves, spikes and membranes, firing rates, confusion matrix. Written to RUN/figures, or to --out.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_run_argument(parser)
    parser.add_argument("--data-dir", type=Path, metavar="D", help="where the data lies")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the figures; created (default RUN/figures)")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="test sample whose spikes are drawn (default 0)")
    parser.add_argument("--json", action="store_true", help="print the names of the figures as JSON on standard output")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Draw the figures of a run."""
    import torch

    from polystep_snn import plots
    from polystep_snn.datasets import Sequences
    from polystep_snn.datasets.config import EVENTS
    from polystep_snn.errors import InputError
    from polystep_snn.files import make_folder, write_atomically
    from polystep_snn.snn.loihi import CubaNeuron
    from polystep_snn.snn.record import record
    from polystep_snn.trained_networks import folder_of
    from polystep_snn.training.metrics import firing_rates
    from polystep_snn.training.run_folder import RunFolder, open_run

    if arguments.out is None and folder_of(arguments.run_folder) != arguments.run_folder:
        raise InputError(f"{arguments.run_folder} lies within the package, where nothing is written: name a folder with --out")
    opened = open_run(arguments.run_folder, arguments.data_dir)
    network, config, dataset = opened.network, opened.config, opened.dataset
    if not 0 <= arguments.sample < len(dataset.test):
        raise InputError(f"--sample is {arguments.sample}: {dataset.name} has test samples 0..{len(dataset.test) - 1}")
    folder = arguments.out or RunFolder(arguments.run_folder).figures
    make_folder(folder)
    feed = opened.feed(dataset.test)
    figures = {}

    figures["curves"] = plots.new_figure(8, 3.2)
    left, right = figures["curves"].subplots(1, 2)
    plots.loss_curve(left, opened.history)
    plots.accuracy_curve(right, opened.history, opened.best["epoch"])

    generator = torch.Generator(feed.labels.device).manual_seed(config.run.seed)
    frames, labels = feed.batch(torch.tensor([arguments.sample]), generator=generator)
    recording, label = record(network, frames), int(labels)
    inputs, spikes, membranes = recording.inputs.cpu().numpy(), recording.spikes[0].cpu().numpy(), recording.membranes[0].cpu().numpy()
    # The channels of a cochlea make no picture: their raster says all.
    pictured = config.data.encoder == EVENTS and dataset.test.shape[1] > 1
    figures["activity"] = plots.new_figure(9, 8 if pictured else 6)
    axes = figures["activity"].subplot_mosaic("ss;ih;mr" if pictured else "ih;mr")
    name = f"test sample {arguments.sample} (a {dataset.classes[label]})"
    if pictured:
        plots.event_strip(axes["s"], inputs.reshape(-1, *dataset.test.shape), title=f"Events of {name}: ON blue, OFF orange")
    samples = dataset.test
    if config.data.gives_currents or (isinstance(samples, Sequences) and not samples.holds_spikes):
        plots.currents(axes["i"], inputs, f"Input current of {name}")
    else:
        plots.raster(axes["i"], inputs, "Input spikes" if pictured else f"Input spikes of {name}", plots.GREY)
    plots.raster(axes["h"], spikes, "Spikes of hidden layer 1")
    # The neuron whose number of spikes is nearest to a third of the steps: neither silent nor always firing.
    shown = int(abs(spikes.sum(0) - len(spikes) / 3).argmin())
    neuron = network.layers()[0].neuron
    v_th = float(neuron.threshold) if isinstance(neuron, CubaNeuron) else network.neurons[0].v_th
    plots.membrane(axes["m"], membranes[:, shown], spikes[:, shown], v_th, f"Membrane of neuron {shown}")
    plots.decision(axes["r"], recording.readout.cpu().numpy(), dataset.classes, label)

    rates = firing_rates(network, feed, _RATE_SAMPLES, config.run.seed)
    figures["rates"] = plots.new_figure(4.2 * len(rates), 3.2)
    for k, (ax, layer) in enumerate(zip(figures["rates"].subplots(1, len(rates), squeeze=False)[0], rates, strict=True)):
        plots.rate_histogram(ax, layer.cpu().numpy(), f"Hidden layer {k + 1}")

    side = 5 if dataset.num_classes <= 10 else 8
    figures["confusion"] = plots.new_figure(side, side)
    decided = opened.evaluate().predictions.cpu().numpy()
    plots.confusion(figures["confusion"].subplots(), feed.labels.cpu().numpy(), decided, dataset.classes)
    if dataset.note:
        figures["confusion"].suptitle(dataset.title, fontsize=8, color=plots.GREY)

    written = []
    for name, figure in figures.items():
        path = folder / f"{name}.png"
        write_atomically(path, partial(figure.savefig, format="png"))
        written.append(str(path))
        say(f"wrote {path}")
    if arguments.json:
        print_json({"figures": written})
    return 0
