"""Everything that is needed to repeat a run: groups of plain values, without torch. ``build.py`` makes things of them."""

import difflib
from dataclasses import Field, asdict, dataclass, fields
from typing import Any

from polystep_snn import __version__
from polystep_snn.datasets.config import DataConfig
from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, SumPool
from polystep_snn.options import COUNT, POSITIVE, Options, Range, option, up_to
from polystep_snn.snn.config import NetworkConfig
from polystep_snn.spaces.config import MethodConfig


@dataclass(frozen=True)
class OptimizerConfig(Options):
    """AdamW, its schedule, and what it is fed."""

    epochs: int = option(10, "passes over the training set", range=COUNT)
    batch_size: int = option(128, "samples a step", range=COUNT)
    lr: float = option(3e-3, "learning rate at the start; falls to 0 along half a cosine", range=POSITIVE)
    weight_decay: float = option(0.5, "decoupled weight decay of AdamW", range=up_to(POSITIVE.high))
    standardize: bool = option(
        False,
        "the first layer learns as if every input had mean 0 and standard deviation 1; its weights stay those of the inputs as they are",
    )
    class_weights: str = option(
        "none", "balanced: samples of rare classes are drawn more often, so that every class has the same weight", ("none", "balanced")
    )
    averaging: float = option(
        0.998,
        "decay of the running average of the weights that is evaluated and deployed; 0 for none",
        range=Range(0, 1, "a fraction from 0 to below 1", below=True),
    )
    keep: str = option(
        "best", "whose weights are tested and deployed: those of the epoch that scored best on validation, or of the last", ("best", "last")
    )


@dataclass(frozen=True)
class RunConfig(Options):
    """Randomness, and where a run computes."""

    seed: int = option(0, "decides initial weights, order of the data, encoders, probes", range=up_to(2**63 - 1))
    device: str = option("auto", "cpu, cuda, or auto")
    threads: int = option(0, "CPU threads; 0 for torch's choice", range=up_to(1024))
    compile: bool = option(True, "compile the inner loops (--no-compile: run eagerly)")


GROUPS: dict[str, type[Options]] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "method": MethodConfig,
    "optimizer": OptimizerConfig,
    "run": RunConfig,
}


def options_of(group: str) -> list[Field]:
    """The options of a group, as ``polystep-snn train`` takes them: without the data set, which is named first."""
    return [f for f in fields(GROUPS[group]) if f.name != "dataset"]  # type: ignore[arg-type]


OPTIONS = {f.name: f for group in GROUPS for f in options_of(group)}
_GROUP_OF = {f.name: group for group in GROUPS for f in options_of(group)}


@dataclass(frozen=True, init=False)
class TrainConfig:
    """A run on ``dataset``: five groups, made from flat options with the names and defaults of ``polystep-snn train``.

        config = TrainConfig("mnist", hidden=(256, 128), epochs=5)
        config.network.hidden, config.optimizer.epochs

    Raises:
        InputError: an option that there is not, of another type, out of its range, or that does not go with another one.
    """

    data: DataConfig
    network: NetworkConfig
    method: MethodConfig
    optimizer: OptimizerConfig
    run: RunConfig

    def __init__(self, dataset: str, **options: Any):
        for name in options:
            if name not in OPTIONS:
                like = difflib.get_close_matches(name, OPTIONS, 1)
                raise InputError(
                    f"there is no option {name!r}: " + (f"did you mean {like[0]!r}?" if like else "see polystep-snn train --help")
                )
        for group, kind in GROUPS.items():
            given = {name: value for name, value in options.items() if _GROUP_OF[name] == group}
            if group == "data":
                given["dataset"] = dataset
            object.__setattr__(self, group, kind(**given))
        self._check_together()

    def _check_together(self) -> None:
        """InputError where options of different groups do not go together."""
        data, network, method = self.data, self.network, self.method
        data.check_recordings()
        method.check_probed(network.num_spiking)
        if method.cost == "mse" and self.optimizer.class_weights != "none":
            raise InputError(f"class_weights is {self.optimizer.class_weights!r}, but real targets have no classes: leave it out")
        if method.cost == "mse" and network.readout == "count":
            raise InputError("readout is 'count', but real targets are answered by membranes: choose membrane or mean")
        if method.cost_steps == "all" and network.readout in ("max", "count"):
            raise InputError(
                f"cost_steps is 'all', but the readout {network.readout!r} decides once for all steps: choose the readout membrane or mean"
            )
        if method.credit == "exact" and (method.cost_steps == "all" or network.readout == "max"):
            given = "cost_steps is 'all'" if method.cost_steps == "all" else "readout is 'max'"
            raise InputError(f"{given}, but decisions over time are not followed exactly: choose the credit chained or auto")
        if self.optimizer.standardize and isinstance(network.layers[0], Conv | SumPool):
            raise InputError(f"standardize needs a dense first layer, but hidden begins with {network.hidden[0]!r}: leave it out")
        if method.windows > data.total_steps:
            raise InputError(f"windows is {method.windows}, but there are {data.total_steps} timesteps: choose at most as many")
        for name, delay in network.delays.items():
            if delay >= data.total_steps:
                raise InputError(
                    f"hidden layer {name!r} holds spikes back for up to {delay} steps, but there are {data.total_steps}: choose shorter "
                    "delays, or more --blank-steps"
                )
        if network.neuron == "loihi":
            if data.gives_currents and data.holds_sequences:
                raise InputError(f"features is {data.features!r}, but the neuron 'loihi' takes spikes: choose events")
            if data.gives_currents:
                raise InputError(
                    f"encoder is {data.encoder!r}, but the neuron 'loihi' takes spikes: choose rate, poisson, latency or population"
                )
            if data.counts:
                raise InputError("counts is True, but the neuron 'loihi' takes spikes, 0 or 1: leave it out")
            if method.space == "weight":
                raise InputError(
                    "space is 'weight', but the neuron 'loihi' is probed in the space 'node' only: choose that, or the neuron 'lif', which "
                    "is rounded on export"
                )

    def replace(self, **options: Any) -> "TrainConfig":
        """The same run with some options changed."""
        return TrainConfig(**{**self.options(), **options})

    def options(self) -> dict[str, Any]:
        """All options, flat: the data set and what ``TrainConfig`` takes beside it."""
        return {name: value for group in asdict(self).values() for name, value in group.items()}

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it: the version that wrote it, and the options."""
        return {"version": __version__, **self.options()}

    @classmethod
    def from_json(cls, value: Any) -> "TrainConfig":
        """The configuration that is the value of a run's ``config.json``; version 0.1.0 wrote none of its own.

        Raises:
            InputError: options that this version does not have, or lacks.
        """
        if not isinstance(value, dict):
            raise InputError(f"the run's configuration is {value!r}: restore it, or start a new run")
        options = dict(value)
        version = options.pop("version", "0.1.0")
        unknown = sorted(str(name) for name in options if name not in OPTIONS and name != "dataset")
        if unknown or "dataset" not in options:
            raise InputError(
                f"the run's configuration has {unknown or 'no dataset'}: it was written by version {version}, this is {__version__}; "
                "use that one"
            )
        return cls(**options)
