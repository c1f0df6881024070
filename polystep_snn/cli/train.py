"""``polystep-snn train``: train a spiking network, forward-only."""

import argparse
import shlex
import signal
from pathlib import Path

from polystep_snn.cli.console import ConsoleObserver, described, print_json, say, speaks
from polystep_snn.cli.own_data import describe_given
from polystep_snn.cli.run_options import add_run_options, given_options
from polystep_snn.datasets import NAMES
from polystep_snn.errors import InputError
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.observer import Observer
from polystep_snn.training.recipes import recipe

_EXAMPLES = """examples:
  polystep-snn train digits --out runs/digits
  polystep-snn train mnist --out runs/mnist --hidden 512
  polystep-snn train mnist --out runs/maps --hidden 16c5s2 32c5s2 --num-steps 10 --probed 64 0
  polystep-snn train mnist --out runs/deep --hidden 256 128 --num-steps 10 --encoder rate
  polystep-snn train mnist --out runs/chip --neuron loihi
  polystep-snn train fashion-mnist --out runs/fashion --hidden 512
  polystep-snn train nmnist --out runs/events
  polystep-snn train mnist --out runs/rows --encoder rows
  polystep-snn train spoken-digits --out runs/digits --speaker theo
  polystep-snn train shd --out runs/spoken --data-dir data
  polystep-snn train mnist --out runs/weights --space weight --epochs 20
  polystep-snn train nmnist --out runs/still --neuron loihi --window-us 105000 --stabilize --shift 2 --jitter 0.5
  polystep-snn train mnist --out runs/born --on-chip --epochs 3
  polystep-snn train mine.npz --out runs/mine
  polystep-snn train photos --out runs/photos --neuron loihi --hidden 16c5s2 32c3s2
  polystep-snn train windows.npz --out runs/forecast --encoder sequence --hidden 128r --cost mse
  polystep-snn train mnist --out runs/mnist --resume
  torchrun --nproc-per-node 2 -m polystep_snn.cli.main train mnist --out runs/mnist
"""


def add_parser(commands) -> None:
    """Register the command."""
    parser = commands.add_parser(
        "train",
        help="train a spiking network, forward-only",
        description=__doc__.split(": ", 1)[1],
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "dataset",
        metavar="DATA",
        help=f"what to train on: {', '.join(NAMES)}, or data of one's own: a .npz file, or a folder of .npy files or of classes",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="folder of the run; created")
    parser.add_argument(
        "--data-dir", type=Path, metavar="D", help="where the data lies; else $POLYSTEP_SNN_DATA, the cache folder, or a download"
    )
    parser.add_argument("--on-chip", action="store_true", help="learn where the network runs, from random int8 weights, in integers alone")
    parser.add_argument("--backend", choices=("simulator", "lava"), default="simulator", help="of --on-chip (default simulator)")
    parser.add_argument("--limit", type=int, metavar="N", help="of --on-chip: only the first N training samples")
    parser.add_argument("--tensorboard", action="store_true", help="write metrics to RUN/tensorboard too; needs the package tensorboard")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --out, bit for bit")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON on standard output")
    add_run_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Train, or go on with a run."""
    from polystep_snn.datasets.own.record import DataRecord
    from polystep_snn.files import read_json
    from polystep_snn.training.ahead import compiled_ahead
    from polystep_snn.training.build import resolve
    from polystep_snn.training.data import load_run_data
    from polystep_snn.training.run_folder import RunFolder
    from polystep_snn.training.trainer import Trainer

    if arguments.tensorboard:
        from polystep_snn.training.tensorboard import require_tensorboard

        require_tensorboard()
        if arguments.on_chip:
            raise InputError("--tensorboard shows epochs of train, which --on-chip does not have: leave one of them out")
    given = given_options(arguments)
    own = None if arguments.resume or arguments.dataset in NAMES else describe_given(arguments.dataset, arguments.data_dir, given)
    if arguments.on_chip:
        from polystep_snn.cli import on_chip

        return on_chip.run(arguments, own)
    if arguments.resume:
        folder = RunFolder(arguments.out)
        if not folder.checkpoint.is_file():
            raise InputError(f"{arguments.out} holds no run to resume: leave --resume out to start one")
        config = TrainConfig.from_json(read_json(folder.config))
        if config.data.dataset != arguments.dataset:
            raise InputError(
                f"the run in {arguments.out} is on {config.data.dataset}, not {arguments.dataset}: name the other folder or data set"
            )
        wanted, resumed = resolve(config.replace(**given)).options(), config.options()
        for name in given:
            if wanted[name] != resumed[name]:
                flag, theirs = name.replace("_", "-"), resumed[name]
                raise InputError(f"{flag} is {wanted[name]}, but the run in {arguments.out} has {theirs}: leave it out, or start a new run")
    else:
        defaults = recipe(
            *(arguments.dataset, given.get("neuron", "lif"), given.get("space", "node"), given.get("encoder"), given.get("hidden", ())),
            own=own,
        )
        if "num_steps" in given and "windows" in defaults:
            defaults["windows"] = min(defaults["windows"], max(1, given["num_steps"]))
        config = TrainConfig(arguments.dataset, **{**defaults, **given})
    # A run that goes on treats its data as it did before.
    kept = RunFolder(arguments.out).data
    known = DataRecord.from_json(read_json(kept)) if arguments.resume and kept.is_file() else None
    observer: Observer = ConsoleObserver(config.optimizer.epochs, config.optimizer.batch_size)
    with compiled_ahead(config):
        dataset, record = load_run_data(config, arguments.data_dir, known)
        trainer = Trainer(config, arguments.out, dataset, arguments.resume, observer, record=record)
    if arguments.tensorboard and speaks():
        from polystep_snn.training.tensorboard import TensorBoardObserver

        # After the run's folder was made, and found to be free.
        observer = trainer.observer = TensorBoardObserver(arguments.out / "tensorboard", observer)
    sizes = "-".join(map(str, (trainer.network.sizes[0], *config.network.hidden, trainer.network.sizes[-1])))
    say(
        f"{dataset.title}: {sizes}, {config.data.total_steps} steps, {config.data.encoder} input, {config.network.readout} readout, "
        f"{len(dataset.train)} training samples"
    )
    if dataset.dropped:
        say(dataset.dropped)
    if trainer.position.epoch or trainer.position.step:
        say(f"going on after epoch {trainer.position.epoch}, step {trainer.position.step}")

    stopped_by = signal.SIGINT

    def stop(number, frame):
        nonlocal stopped_by
        stopped_by = number
        say("finishing this step; once more to stop at once")
        trainer.stop_requested = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        summary = trainer.fit()
    finally:
        observer.close()
        for number, handler in previous.items():
            signal.signal(number, handler)
    if summary is None:
        say(f"saved after step {trainer.position.step} of epoch {trainer.position.epoch + 1}; go on with:")
        say(f"  polystep-snn train {shlex.quote(config.data.dataset)} --out {shlex.quote(str(arguments.out))} --resume")
        return 128 + stopped_by
    say(f"{dataset.title}: {described(summary)} with the weights of epoch {summary['epoch']}; run in {arguments.out}")
    if config.network.neuron == "loihi" and speaks():
        from polystep_snn.hardware import network_file
        from polystep_snn.training.deploy import deploy
        from polystep_snn.training.kept_statistics import with_statistics
        from polystep_snn.training.run_folder import open_run

        path = RunFolder(arguments.out).network
        opened = open_run(arguments.out, arguments.data_dir)
        network_file.save(path, with_statistics(opened, deploy(opened).integers))
        say(f"the chip's integers are in {path}")
    if arguments.json:
        print_json(summary)
    return 0
