"""A run that was read back. Its data is read when it is first asked for: what needs none works where there is none."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from polystep_snn.datasets import NAMES, Dataset, event_set
from polystep_snn.datasets.base import Part
from polystep_snn.datasets.own.inputs import Inputs, read_inputs
from polystep_snn.datasets.own.paths import looks_like_path
from polystep_snn.datasets.own.record import DataRecord, holds_spikes, record_of
from polystep_snn.errors import InputError
from polystep_snn.files import write_json
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.training.build import build_cost
from polystep_snn.training.config import TrainConfig
from polystep_snn.training.data import UNBOUNDED, load_run_data
from polystep_snn.training.feed import Feed, make_feed
from polystep_snn.training.metrics import Evaluation, evaluate


@dataclass
class OpenedRun:
    """A finished epoch or more of a run, or a network that has learned on the chip.

    Attributes:
        path: its folder.
        config: its configuration.
        record: what it remembers of its data; None for runs of version 0.1.
        best: the epoch whose weights are kept, as a rule the one that scored best on validation, and its scores.
        history: the metrics of every epoch.
        latent: the network in torch, with the weights of that epoch; None where the folder holds integers that torch cannot represent.
        integers: those that the folder holds in place of a checkpoint; else None.
        data_dir: where its data is looked for first.
        given: its data, where that was given from Python, or other data that it is tested on; None where it is read when it is asked for.
    """

    path: Path
    config: TrainConfig
    record: DataRecord | None
    best: dict[str, Any]
    history: list[dict[str, Any]]
    latent: SpikingNetwork | None
    integers: IntegerNetwork | None = None
    data_dir: Path | None = None
    given: Dataset | None = field(default=None, repr=False)

    @property
    def network(self) -> SpikingNetwork:
        """The network in torch.

        Raises:
            InputError: the folder holds integers alone.
        """
        if self.latent is None:
            raise InputError(f"{self.path} holds integers alone, without a network for torch: choose --backend simulator, lava or auto")
        return self.latent

    @cached_property
    def dataset(self) -> Dataset:
        """Its data.

        Raises:
            InputError: data that is not there, or that the network is not for.
        """
        if self.given is not None:
            return self.given
        if self.config.data.dataset not in NAMES and self.data_dir is None and not looks_like_path(self.config.data.dataset):
            raise InputError(
                f"the run in {self.path} was trained on {self.config.data.dataset!r}, arrays that were given from Python: say with "
                "--data-dir where a .npz file of them lies, or use open_run(path, dataset=...)"
            )
        return self._fitting(load_run_data(self.config, self.data_dir, self.record).dataset)

    def on(self, other: str) -> "OpenedRun":
        """The same run with other data, whose test part, or all of it where it has none, is tested.

        Args:
            other: name of a data set, or path of one's own data.

        Raises:
            InputError: no such data, or data that the network is not for.
        """
        dataset = load_run_data(self.config, self.data_dir, self.record, other).dataset
        return replace(self, given=self._fitting(dataset))

    def _fitting(self, dataset: Dataset) -> Dataset:
        """InputError for data that the network is not for."""
        record, shape, outputs = self.record, tuple(dataset.train.shape), dataset.num_classes
        if record is not None and (shape, outputs) != (tuple(record.shape), record.num_outputs):
            raise InputError(
                f"{dataset.name} has samples of {list(shape)} and {outputs} classes, but the run in {self.path} is for "
                f"{list(record.shape)} and {record.num_outputs}: give other data"
            )
        return dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, or of the values of a real target."""
        names = getattr(self.record.targets, "names", None) if self.record is not None else None
        if self.record is None or (names is None and self.given is not None):
            return self.dataset.classes
        return tuple(f"y{k}" for k in range(self.record.num_outputs)) if names is None else names

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return tuple(self.dataset.train.shape) if self.record is None else self.record.shape

    @property
    def title(self) -> str:
        """What its data is called, with what must be said beside a result."""
        return self.dataset.title if self.record is None or self.given is not None else self.record.title

    @property
    def holds_spikes(self) -> bool:
        """Whether its data is made of sequences of spikes."""
        return holds_spikes(self.dataset) if self.record is None else self.record.spikes

    @property
    def kind(self) -> str:
        """Of its samples: "images", "sequences", "sounds" or "events"."""
        data = self.config.data
        if data.kind:
            return data.kind
        if data.holds_events:
            return "events"
        if data.holds_speech:
            return "sounds"
        return "sequences" if data.holds_sequences else "images"

    def read(self, path: Path) -> Inputs:
        """Samples without labels, treated as its own; see ``read_inputs``.

        Raises:
            InputError: nothing there that it takes.
        """
        data, record = self.config.data, self.record or record_of(self.dataset)
        framing = data.framing() if data.holds_events else None
        sensor: Any = record.sensor or (event_set(data.dataset).sensor if data.holds_events else None)
        return read_inputs(path, record, self.kind, data.encoder not in UNBOUNDED, framing, data.speech_features(), sensor)

    def describe_in(self, folder: Path) -> None:
        """Write configuration and data into another folder, in which a network of this run has learned on: it opens as a run, too."""
        write_json(folder / "config.json", self.config.to_json())
        write_json(folder / "data.json", (self.record or record_of(self.dataset)).to_json())

    def feed(self, samples: Part) -> Feed:
        """Some of its samples, as the network sees them: unchanged."""
        return make_feed(self.config, samples)

    def evaluate(self, limit: int | None = None) -> Evaluation:
        """Scores on the first ``limit`` test samples, or on all."""
        return evaluate(self.network, self.feed(self.dataset.test), build_cost(self.config), limit)
