"""The folder of a run: which file is what, and what can be read back from it."""

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from polystep_snn.datasets import NAMES, Dataset
from polystep_snn.datasets.base import Part
from polystep_snn.errors import InputError
from polystep_snn.files import read_json, remove_temporaries
from polystep_snn.folder_lock import FolderLock
from polystep_snn.snn.calibrate import with_thresholds
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training import checkpoint
from polystep_snn.training.build import build_cost, build_network, load_data, resolve
from polystep_snn.training.checked_state import Content
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import Feed, make_feed
from polystep_snn.training.metrics import Evaluation, evaluate


class RunFolder(NamedTuple):
    """The files of a run in the folder ``path``."""

    path: Path

    @property
    def config(self) -> Path:
        """The options."""
        return self.path / "config.json"

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
        for file in (self.config, self.metrics, self.checkpoint, self.network, self.summary):
            remove_temporaries(file)
        return lock

    def clean_up(self) -> None:
        """Delete what a killed process has left, unless somebody works there now or nothing can be written there."""
        with suppress(InputError, OSError):
            self.lock("works").release()


class OpenedRun(NamedTuple):
    """A finished epoch or more of a run, read back.

    Attributes:
        config: its configuration.
        dataset: its data.
        network: with the weights of the epoch that scored best on validation.
        best: that epoch and its scores.
        history: the metrics of every epoch.
    """

    config: TrainConfig
    dataset: Dataset
    network: SpikingNetwork
    best: dict[str, Any]
    history: list[dict[str, Any]]

    def feed(self, samples: Part) -> Feed:
        """Some of its samples, as the network sees them: unchanged."""
        return make_feed(self.config, samples)

    def evaluate(self, limit: int | None = None) -> Evaluation:
        """Scores on the first ``limit`` test samples, or on all."""
        return evaluate(self.network, self.feed(self.dataset.test), build_cost(self.config), limit)


def open_run(path: Path, data_dir: Path | None = None, dataset: Dataset | None = None) -> OpenedRun:
    """Read a run back.

    Args:
        path: its folder.
        data_dir: where its data is looked for first.
        dataset: its data, where that is one's own.

    Raises:
        InputError: no run there, a damaged one, data that is missing, or other data than it was trained on.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise InputError(f"{path} holds no run (no config.json): train first, or name another folder")
    folder.clean_up()
    config = TrainConfig.from_json(read_json(folder.config))
    tensors, meta = checkpoint.load(folder.checkpoint)
    check_config(config, meta, folder)
    content = Content(folder.checkpoint, tensors, meta)
    epochs = content.count("epoch", config.optimizer.epochs)
    best, history = content.best(epochs), content.history(epochs)
    if best is None:
        raise InputError(
            f"the run in {path} has not finished an epoch: go on with `polystep-snn train {config.data.dataset} --out {path} --resume`"
        )
    config = resolve(config.replace(device="auto"))
    given = dataset is not None
    if dataset is None:
        if config.data.dataset not in NAMES:
            raise InputError(
                f"the run in {path} was trained on {config.data.dataset!r}, which is none of {', '.join(NAMES)}: open it from Python, with "
                "open_run(path, dataset=...)"
            )
        dataset = load_data(config, data_dir)
    elif dataset.name != config.data.dataset:
        raise InputError(f"the data is {dataset.name}, but the run in {path} was trained on {config.data.dataset}: give that")
    network = build_network(config, dataset.train.shape, dataset.num_classes)
    ours, theirs = ({name: p.shape for name, p in some.items()} for some in (network.state_dict(), content.part("best")))
    if given and ours != theirs:
        raise InputError(
            f"a network for data of {list(dataset.train.shape)} with {dataset.num_classes} classes is another one than that of the run in "
            f"{path}: give the data that it was trained on"
        )
    weights, thresholds = content.weights("best", network), content.thresholds(len(network.neurons))
    network.load_state_dict(weights)
    try:
        network.neurons[:] = with_thresholds(network.neurons, thresholds)
    except ValueError as error:
        raise checkpoint.damaged(folder.checkpoint, str(error)) from None
    return OpenedRun(config, dataset, network, best, history)


def check_config(config: TrainConfig, meta: dict[str, Any], folder: RunFolder) -> None:
    """InputError unless a checkpoint was written by a run of this configuration."""
    if TrainConfig.from_json(meta.get("config")) != config:
        raise InputError(f"{folder.checkpoint} belongs to another configuration than {folder.config}: restore the one or the other")
