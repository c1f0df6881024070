"""Everything that is needed to repeat a run, and what it is made into."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import torch

from polystep_snn.errors import InputError
from polystep_snn.polystep.schedule import Schedule
from polystep_snn.polystep.step import NodeSpace, PolyStep
from polystep_snn.polystep.transport import Sinkhorn, Softmax, Transport
from polystep_snn.snn.encoders import ENCODERS, Encoder, make_encoder
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, Readout, SpikeCountReadout

READOUTS = ("membrane", "count")
TRANSPORTS: dict[str, type[Softmax] | type[Sinkhorn]] = {"softmax": Softmax, "sinkhorn": Sinkhorn}
# A spike-count readout learns from counts alone only once its outputs fire: until then half of the final membrane counts too.
_RESIDUAL = Schedule(0.5, 0.0, until=0.9)


def _option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class TrainConfig:
    """A run. Each field is an option of ``polystep-snn train``, with the same name and default."""

    dataset: str
    hidden: tuple[int, ...] = _option((128,), "widths of the hidden layers")
    num_steps: int = _option(15, "timesteps a sample")
    encoder: str = _option("direct", "from pixels to currents or spikes", tuple(ENCODERS))
    readout: str = _option("membrane", "membranes of integrators, or spike counts of LIF neurons", READOUTS)
    beta: float = _option(0.95, "fraction of a membrane left after a step")
    v_th: float = _option(0.0, "threshold of the hidden neurons; 0 to choose each layer's from its initial firing rate")
    reset: str = _option("zero", "what a spike does to the membrane", ("zero", "subtract"))
    epochs: int = _option(10, "passes over the training set")
    batch_size: int = _option(128, "samples a step")
    lr: float = _option(3e-3, "learning rate at the start; falls to 0 along half a cosine")
    weight_decay: float = _option(0.5, "decoupled weight decay of AdamW")
    averaging: float = _option(0.998, "decay of the running average of the weights that is evaluated and deployed; 0 for none")
    radius: float = _option(0.6, "shift of a hidden neuron's input current in a probe, in thresholds")
    windows: int = _option(1, "time windows that a probe shifts independently")
    polytope: str = _option("orthoplex", "vertices that are probed", ("orthoplex", "simplex", "cube"))
    transport: str = _option("softmax", "from costs to weights", tuple(TRANSPORTS))
    eps: float = _option(1.0, "entropic regularisation of the transport, in nats")
    probed: int = _option(0, "hidden neurons probed a layer and step, at random; 0 for all")
    seed: int = _option(0, "decides initial weights, order of the data, encoders, probes")
    device: str = _option("auto", "cpu, cuda, or auto")
    threads: int = _option(0, "CPU threads; 0 for torch's choice")
    compile: bool = _option(True, "compile the inner loops (--no-compile: run eagerly)")

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for option in fields(self):
            choices, value = option.metadata.get("choices"), getattr(self, option.name)
            if choices and value not in choices:
                raise InputError(f"{option.name} is {value!r}: choose one of {', '.join(choices)}")
        at_least_one = ("num_steps", "epochs", "batch_size", "windows")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}: choose at least 1")
        if not self.hidden or min(self.hidden) < 1:
            raise InputError(f"hidden is {list(self.hidden)}: give at least one width, each at least 1")
        if self.windows > self.num_steps:
            raise InputError(f"windows is {self.windows}, but there are {self.num_steps} timesteps: choose at most as many")
        for name in ("lr", "radius", "eps"):
            if not 0 < getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}: choose a positive number")
        for name in ("weight_decay", "probed", "threads", "seed", "v_th"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}: choose 0 or more")
        if not 0 <= self.averaging < 1:
            raise InputError(f"averaging is {self.averaging}: choose a decay in [0, 1), 0 for none")

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TrainConfig":
        """The configuration in a run's ``config.json``.

        Raises:
            InputError: options that this version does not have, or lacks.
        """
        known = {f.name for f in fields(cls)}
        unknown = sorted(set(value) - known)
        if unknown or "dataset" not in value:
            raise InputError(f"the run's configuration has {unknown or 'no dataset'}: it was written by another version, use that one")
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    def resolved(self) -> "TrainConfig":
        """With ``auto`` replaced by what it stands for here, so that a resumed run computes with the same."""
        device = self.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        elif device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"device is {device!r}, but torch finds no CUDA device: choose 'cpu' or 'auto'")
        elif device.split(":")[0] not in ("cpu", "cuda"):
            raise InputError(f"device is {device!r}: choose cpu, cuda or auto")
        return replace(self, device=device, threads=self.threads or torch.get_num_threads())

    def make_encoder(self) -> Encoder:
        """The encoder of a run."""
        return make_encoder(self.encoder, self.num_steps)

    def make_network(self, num_inputs: int, num_classes: int) -> SpikingNetwork:
        """The network of a run, with its initial weights.

        Args:
            num_inputs: pixels of an image.
            num_classes: width of the readout.
        """
        neuron = LIFParameters.from_beta(self.beta, reset=self.reset, v_th=self.v_th or 1.0)
        readout: Readout = MembraneReadout()
        if self.readout == "count":
            readout = SpikeCountReadout(LIFParameters.from_beta(self.beta, reset=self.reset))
        sizes = [self.make_encoder().num_channels(num_inputs), *self.hidden, num_classes]
        return SpikingNetwork(sizes, neuron, readout, torch.Generator().manual_seed(self.seed)).to(self.device)

    def make_polystep(self, network: SpikingNetwork) -> PolyStep:
        """What fills the gradients."""
        transport: Transport = TRANSPORTS[self.transport](eps=self.eps)
        space = NodeSpace(radius=self.radius, num_windows=self.windows, polytope=self.polytope, num_probed=self.probed or None)
        residual = None if self.readout == "membrane" else _RESIDUAL
        return PolyStep(network, space, transport, residual=residual, compile=self.compile, seed=self.seed)

    def make_optimizer(self, network: SpikingNetwork) -> torch.optim.Optimizer:
        """What takes the step. Biases and weights decay alike."""
        return torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=self.weight_decay, fused=True)


# What a data set needs other than the defaults: small sets take smaller batches and more passes.
RECIPES: dict[str, dict[str, Any]] = {
    "mnist": {},
    "digits": {"batch_size": 32, "epochs": 30},
}
