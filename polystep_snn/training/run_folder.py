"""The folder of a run: which file is what, and what can be read back from it."""

from pathlib import Path
from typing import Any, NamedTuple

from polystep_snn.datasets import Dataset
from polystep_snn.datasets.base import Part
from polystep_snn.errors import InputError
from polystep_snn.files import read_json
from polystep_snn.snn.calibrate import with_thresholds
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training import checkpoint
from polystep_snn.training.build import build_cost, build_network, load_data, resolve
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.feed import Feed, make_feed
from polystep_snn.training.metrics import Evaluation, evaluate


class RunFolder(NamedTuple):
    """The files of a run."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def network(self) -> Path:
        return self.path / "network.safetensors"

    @property
    def summary(self) -> Path:
        return self.path / "summary.json"

    @property
    def figures(self) -> Path:
        return self.path / "figures"


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


def open_run(path: Path, data_dir: Path | None = None) -> OpenedRun:
    """Read a run back.

    Raises:
        InputError: no run there, a damaged one, or data that is missing.
    """
    folder = RunFolder(path)
    if not folder.config.is_file():
        raise InputError(f"{path} holds no run (no config.json): train first, or name another folder")
    config = TrainConfig.from_json(read_json(folder.config))
    tensors, meta = checkpoint.load(folder.checkpoint)
    check_config(config, meta, folder)
    try:
        best, history, thresholds = meta["best"], meta["history"], meta["thresholds"]
    except KeyError as error:
        raise InputError(f"{folder.checkpoint} lacks {error}: it was written by another version, use that one") from None
    if best is None:
        raise InputError(
            f"the run in {path} has not finished an epoch: go on with `polystep-snn train {config.data.dataset} --out {path} --resume`"
        )
    config = resolve(config.replace(device="auto"))
    dataset = load_data(config, data_dir)
    network = build_network(config, dataset.train.shape, dataset.num_classes)
    try:
        network.load_state_dict(checkpoint.part(tensors, "best"))
        network.neurons[:] = with_thresholds(network.neurons, thresholds)
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{folder.checkpoint} is the checkpoint of another network ({reason}): name the folder it belongs to") from None
    return OpenedRun(config, dataset, network, best, history)


def check_config(config: TrainConfig, meta: dict[str, Any], folder: RunFolder) -> None:
    """InputError unless a checkpoint was written by a run of this configuration."""
    if TrainConfig.from_json(meta.get("config")) != config:
        raise InputError(f"{folder.checkpoint} belongs to another configuration than {folder.config}: restore the one or the other")
