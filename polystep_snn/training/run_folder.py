"""The folder of a run: which file is what, and what can be read back from it."""

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from polystep_snn.datasets import Dataset
from polystep_snn.datasets.own.record import DataRecord
from polystep_snn.errors import InputError
from polystep_snn.files import read_json, remove_temporaries
from polystep_snn.folder_lock import FolderLock
from polystep_snn.hardware import network_file
from polystep_snn.snn.calibrate import with_thresholds
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.trained_networks import folder_of, pretrained_names
from polystep_snn.training import checkpoint
from polystep_snn.training.build import build_network, resolve
from polystep_snn.training.checked_state import Content
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.integer_run import from_integers
from polystep_snn.training.opened_run import OpenedRun


class RunFolder(NamedTuple):
    """The files of a run in the folder ``path``."""

    path: Path

    @property
    def config(self) -> Path:
        """The options."""
        return self.path / "config.json"

    @property
    def data(self) -> Path:
        """What its data was."""
        return self.path / "data.json"

    @property
    def metrics(self) -> Path:
        """A line an epoch."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        """All that a run needs to go on."""
        return self.path / "checkpoint.safetensors"

    @property
    def network(self) -> Path:
        """The chip's integers."""
        return self.path / "network.safetensors"

    @property
    def summary(self) -> Path:
        """The result."""
        return self.path / "summary.json"

    @property
    def figures(self) -> Path:
        """The folder of figures."""
        return self.path / "figures"

    def check_free(self) -> None:
        """InputError where there is a run or a network already."""
        if self.checkpoint.exists():
            raise InputError(f"{self.path} already holds a run: go on with --resume, or choose another folder")
        if self.network.exists() or self.config.exists():
            raise InputError(f"{self.path} already holds a network: choose another folder")

    def lock(self, doing: str) -> FolderLock:
        """The folder for this process alone, without what one that was killed while it wrote has left.

        Raises:
            InputError: another process ``doing`` something there.
        """
        lock = FolderLock(self.path, doing)
        for file in (self.config, self.data, self.metrics, self.checkpoint, self.network, self.summary):
            remove_temporaries(file)
        return lock

    def clean_up(self) -> None:
        """Delete what a killed process has left, unless somebody works there now or nothing can be written there."""
        with suppress(InputError, OSError):
            self.lock("works").release()


def open_run(path: Path, data_dir: Path | None = None, dataset: Dataset | None = None) -> OpenedRun:
    """Read a run back: of ``train``, of ``train --on-chip``, of ``adapt``, or a trained network that comes with the package.

    Args:
        path: its folder, or the name of a trained network.
        data_dir: where its data is looked for first, when it is first asked for.
        dataset: its data, where that was given from Python.

    Raises:
        InputError: no run there, or a damaged one; data for another network.
    """
    folder = RunFolder(folder_of(path))
    if not folder.config.is_file():
        raise InputError(
            f"{path} holds no run (no config.json): train first, name another folder, or a trained network: {', '.join(pretrained_names())}"
        )
    folder.clean_up()
    config = TrainConfig.from_json(read_json(folder.config))
    if dataset is not None and dataset.name != config.data.dataset:
        raise InputError(f"the data is {dataset.name}, but the run in {path} was trained on {config.data.dataset}: give that")
    record = DataRecord.from_json(read_json(folder.data)) if folder.data.is_file() else None
    if folder.checkpoint.exists() or not folder.network.is_file():
        tensors, meta = checkpoint.load(folder.checkpoint)
        integers = None
    else:
        integers = network_file.load(folder.network)
        tensors, meta = from_integers(config, folder.metrics, integers)
    check_config(config, meta, folder)
    content = Content(folder.checkpoint, tensors, meta, config.method.score)
    epochs = content.count("epoch", config.optimizer.epochs)
    best, history = content.best(epochs), content.history(epochs, integers is not None)
    if best is None:
        command = f"polystep-snn train {shlex.quote(config.data.dataset)} --out {shlex.quote(str(path))} --resume"
        raise InputError(f"the run in {path} has not finished an epoch: go on with `{command}`")
    run = OpenedRun(path, resolve(config.replace(device="auto")), record, best, history, None, integers, data_dir, dataset)
    if tensors:
        run.latent = _network(run, content)
    return run


def _network(run: OpenedRun, content: Content) -> SpikingNetwork:
    """With the weights of the best epoch."""
    # Runs of version 0.1 do not say what their data is like; data that is given may be of another network.
    known = run.record is not None and run.given is None
    shape, outputs = (run.shape, len(run.classes)) if known else (run.dataset.train.shape, run.dataset.num_classes)
    network = build_network(run.config, shape, outputs)
    ours, theirs = ({name: p.shape for name, p in some.items()} for some in (network.state_dict(), content.part("best")))
    if run.given is not None and ours != theirs:
        raise InputError(
            f"a network for data of {list(shape)} with {outputs} classes is another one than that of the run in {run.path}: give the data "
            "that it was trained on"
        )
    weights, thresholds = content.weights("best", network), content.thresholds(len(network.neurons))
    network.load_state_dict(weights)
    try:
        network.neurons[:] = with_thresholds(network.neurons, thresholds)
    except ValueError as error:
        raise checkpoint.damaged(content.path, str(error)) from None
    return network


def check_config(config: TrainConfig, meta: dict[str, Any], folder: RunFolder) -> None:
    """InputError unless a checkpoint was written by a run of this configuration."""
    if TrainConfig.from_json(meta.get("config")) != config:
        raise InputError(f"{folder.checkpoint} belongs to another configuration than {folder.config}: restore the one or the other")
