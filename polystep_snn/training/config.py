"""Everything that is needed to repeat a run: plain values, without torch. ``build.py`` makes things of them."""

import re
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any

from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, SumPool

NEURONS = ("lif", "loihi")
ENCODERS = ("direct", "rate", "poisson", "latency", "population")
# In place of an encoder: recordings are spikes already.
EVENTS = "events"
READOUTS = ("membrane", "count")
RESETS = ("zero", "subtract")
POLYTOPES = ("orthoplex", "simplex", "cube")
TRANSPORTS = ("softmax", "sinkhorn")
BINNINGS = ("time", "count")
SPACES = ("node", "weight")
CREDITS = ("exact", "chained")

# What float32 represents with room to spare, and what nobody means.
_SMALLEST, _LARGEST = 1e-30, 1e30
_LARGEST_COUNT = 2**24


_CONVOLUTION = re.compile(r"(\d{1,6})c(\d{1,4})(?:s(\d{1,4}))?(?:p(\d{1,4}))?")
_POOL = re.compile(r"p(\d{1,4})")


def parse_layer(item: int | str) -> int | Conv | SumPool:
    """A hidden layer as it is written on the command line: ``128``, ``16c5``, ``16c5s2p1`` or ``p2``.

    Raises:
        InputError: something else.
    """
    if isinstance(item, int):
        return item
    if item.isdecimal():
        return int(item)
    if found := _CONVOLUTION.fullmatch(item):
        channels, kernel, stride, padding = found.groups()
        return Conv(int(channels), int(kernel), int(stride or 1), int(padding or 0))
    if found := _POOL.fullmatch(item):
        return SumPool(int(found[1]))
    raise InputError(f"hidden layer {item!r}: give a width, a convolution such as 16c5 or 16c5s2p1, or p2 for sum-pooling")


def _option(default: Any, help: str, choices: tuple[str, ...] | None = None) -> Any:
    return field(default=default, metadata={"help": help, "choices": choices})


@dataclass(frozen=True)
class TrainConfig:
    """A run. Each field is an option of ``polystep-snn train``, with the same name and default."""

    dataset: str
    hidden: tuple[int | str, ...] = _option(
        (128,), "the hidden layers: widths, convolutions such as 16c5 or 16c5s2p1 (channels, kernel, stride, padding), p2 for sum-pooling"
    )
    num_steps: int = _option(15, "timesteps a sample")
    encoder: str = _option("direct", "from pixels to currents or spikes; events are taken as they are", (*ENCODERS, EVENTS))
    neuron: str = _option("lif", "floating-point LIF, or the integer neuron of Loihi 2 (8-bit weights, spike input)", NEURONS)
    weight_bits: int = _option(32, "32, or 8 to compute with int8 weights in every forward pass")
    readout: str = _option("membrane", "membranes of integrators, or spike counts of neurons that fire", READOUTS)
    readout_decay: float = _option(1.0, "fraction of a membrane readout left after a step; 1 for no leak")
    beta: float = _option(0.95, "fraction of a membrane left after a step")
    alpha: float = _option(0.0, "fraction of a synaptic current left after a step; 0 for none")
    v_th: float = _option(0.0, "threshold of the hidden neurons; 0 to choose each layer's from its initial firing rate")
    reset: str = _option("zero", "what a spike does to the membrane", RESETS)
    epochs: int = _option(10, "passes over the training set")
    batch_size: int = _option(128, "samples a step")
    lr: float = _option(3e-3, "learning rate at the start; falls to 0 along half a cosine")
    weight_decay: float = _option(0.5, "decoupled weight decay of AdamW")
    averaging: float = _option(0.998, "decay of the running average of the weights that is evaluated and deployed; 0 for none")
    space: str = _option("node", "probe neurons' currents, all in one pass, or weights, one candidate at a time, as the paper does", SPACES)
    radius: float = _option(0.6, "shift of a hidden neuron's input current in a probe, in thresholds; of --space weight, a distance")
    target_rate: float = _option(0.05, "firing rate, in spikes a step, that --rate-weight draws hidden neurons to")
    rate_weight: float = _option(0.0, "how strongly, in nats: times the squared distance of each neuron's rate; 0 for none")
    windows: int = _option(1, "time windows that a probe shifts independently")
    polytope: str = _option("orthoplex", "vertices that are probed", POLYTOPES)
    transport: str = _option("softmax", "from costs to weights", TRANSPORTS)
    eps: float = _option(1.0, "entropic regularisation of the transport, in nats; of --space weight, in units of the spread of costs")
    probed: tuple[int, ...] = _option(
        (0,), "hidden neurons probed a step, at random, 0 for all: one number a layer, or one for every layer"
    )
    credit: str = _option(
        "exact", "follow probes through all layers behind, or hand credit on from layer to layer: fast in deep networks", CREDITS
    )
    rank: int = _option(8, "random directions in which a row of weights is probed, of --space weight")
    seed: int = _option(0, "decides initial weights, order of the data, encoders, probes")
    device: str = _option("auto", "cpu, cuda, or auto")
    threads: int = _option(0, "CPU threads; 0 for torch's choice")
    compile: bool = _option(True, "compile the inner loops (--no-compile: run eagerly)")
    window_us: int = _option(315_000, "events from this time on are dropped, in µs; 105000 keeps the first of N-MNIST's three saccades")
    bin_by: str = _option("time", "steps of equal duration, or of equally many events", BINNINGS)
    denoise_us: int = _option(0, "drop an event without one beside it in so many µs before; 0 keeps all")
    stabilize: bool = _option(False, "undo the motion of N-MNIST's saccades")
    crop: tuple[int, ...] = _option((), "left, top, width and height of the part of the sensor that is kept, in pixels; by default all")
    polarity: bool = _option(True, "ON and OFF events are inputs of their own")
    counts: bool = _option(False, "inputs are numbers of events instead of 0 and 1")
    shift: int = _option(0, "training recordings are moved at random by up to so many pixels")
    jitter: float = _option(0.0, "every event of them is moved at random, standard deviation in pixels")
    time_jitter: float = _option(0.0, "and in time, standard deviation in steps")
    drop: float = _option(0.0, "and dropped with this probability")

    def __post_init__(self):
        for option in fields(self):
            self._check(option.name, option.default, option.metadata.get("choices"))
        layers = [parse_layer(item) for item in self.hidden]
        if not layers or not all(1 <= n <= _LARGEST_COUNT for n in layers if isinstance(n, int)):
            raise InputError(f"hidden is {list(self.hidden)}: give at least one width, each from 1 to {_LARGEST_COUNT}")
        num_hidden = sum(not isinstance(layer, SumPool) for layer in layers)
        if len(self.probed) not in (1, num_hidden) or not all(0 <= n <= _LARGEST_COUNT for n in self.probed):
            raise InputError(
                f"probed is {list(self.probed)}: give one number for all {num_hidden} hidden layers or one a layer, 0 to {_LARGEST_COUNT}"
            )
        for name in ("num_steps", "epochs", "batch_size", "windows", "rank"):
            if not 1 <= getattr(self, name) <= _LARGEST_COUNT:
                raise InputError(f"{name} is {getattr(self, name)}: choose a number from 1 to {_LARGEST_COUNT}")
        if self.windows > self.num_steps:
            raise InputError(f"windows is {self.windows}, but there are {self.num_steps} timesteps: choose at most as many")
        for name in ("lr", "radius", "eps"):
            if not _SMALLEST <= getattr(self, name) <= _LARGEST:
                raise InputError(f"{name} is {getattr(self, name)}: choose a positive number, from {_SMALLEST} to {_LARGEST}")
        if self.v_th != 0 and not _SMALLEST <= self.v_th <= _LARGEST:
            raise InputError(f"v_th is {self.v_th}: choose a positive number, from {_SMALLEST} to {_LARGEST}, or 0 to have it chosen")
        for name, largest in (("weight_decay", _LARGEST), ("rate_weight", _LARGEST), ("threads", 1024), ("seed", 2**63 - 1)):
            if not 0 <= getattr(self, name) <= largest:
                raise InputError(f"{name} is {getattr(self, name)}: choose a number from 0 to {largest}")
        for name in ("beta", "alpha", "readout_decay", "target_rate"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}: choose a fraction from 0 to 1")
        if self.weight_bits not in (8, 32):
            raise InputError(f"weight_bits is {self.weight_bits}: choose 8 or 32")
        if self.neuron == "loihi":
            for name, value, needed in (("weight_bits", self.weight_bits, 8), ("reset", self.reset, "zero")):
                if value != needed:
                    raise InputError(f"{name} is {value}, but the neuron 'loihi' needs {needed}: choose it, or the neuron 'lif'")
            if self.encoder == "direct":
                raise InputError("encoder is 'direct', but the neuron 'loihi' takes spikes: choose rate, poisson, latency or population")
            if self.counts:
                raise InputError("counts is True, but the neuron 'loihi' takes spikes, 0 or 1: leave it out")
            if self.space == "weight":
                raise InputError(
                    "space is 'weight', but the neuron 'loihi' is probed in the space 'node' only: choose that, or the neuron 'lif', which "
                    "is rounded on export"
                )
        if not 0 <= self.averaging < 1:
            raise InputError(f"averaging is {self.averaging}: choose a fraction from 0 to below 1")
        for option in fields(self):
            if getattr(self, option.name) == option.default:
                continue
            if self.encoder != EVENTS and option.name in EVENT_OPTIONS:
                raise InputError(
                    f"{option.name} is {getattr(self, option.name)}, but the encoder {self.encoder!r} is for images, which have no "
                    f"events: leave it out, or choose the encoder {EVENTS!r}"
                )
            for space, names in SPACE_OPTIONS.items():
                if self.space != space and option.name in names:
                    raise InputError(
                        f"{option.name} is {getattr(self, option.name)}, but the space {self.space!r} has no such option: leave it out, or "
                        f"choose the space {space!r}"
                    )

    def _check(self, name: str, default: Any, choices: tuple[str, ...] | None) -> None:
        """InputError unless a value has the type of its default, and is one of the choices."""
        value = getattr(self, name)
        kind = str if default is MISSING else type(default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(self, name, float(value))
        elif kind is tuple and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(self, name, (value,))
        elif kind is tuple and isinstance(value, list | tuple):
            kinds = (int, str) if name == "hidden" else (int,)
            if not all(isinstance(n, kinds) and not isinstance(n, bool) for n in value):
                raise InputError(f"{name} is {list(value)}: give whole numbers" + (", or layers such as 16c5" if name == "hidden" else ""))
            object.__setattr__(self, name, tuple(value))
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(f"{name} is {value!r}: give a value of type {kind.__name__}")
        if choices and value not in choices:
            raise InputError(f"{name} is {value!r}: choose one of {', '.join(choices)}")

    @classmethod
    def from_json(cls, value: Any) -> "TrainConfig":
        """The configuration in a run's ``config.json``.

        Raises:
            InputError: options that this version does not have, or lacks.
        """
        if not isinstance(value, dict):
            raise InputError(f"the run's configuration is {value!r}: restore it, or start a new run")
        unknown = sorted(set(value) - {f.name for f in fields(cls)})
        if unknown or "dataset" not in value:
            raise InputError(f"the run's configuration has {unknown or 'no dataset'}: it was written by another version, use that one")
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)


FRAMING_OPTIONS = ("window_us", "bin_by", "denoise_us", "stabilize", "crop", "polarity", "counts")
AUGMENTATION_OPTIONS = ("shift", "jitter", "time_jitter", "drop")
EVENT_OPTIONS = FRAMING_OPTIONS + AUGMENTATION_OPTIONS
# What one space has and the other has not.
SPACE_OPTIONS = {"node": ("windows", "probed", "credit", "target_rate", "rate_weight"), "weight": ("rank",)}

# What a data set needs other than the defaults: small sets take smaller batches and more passes.
RECIPES: dict[str, dict[str, Any]] = {
    "mnist": {},
    "digits": {"batch_size": 32, "epochs": 30},
    # Events move the weights of many active pixels at once. With a threshold that is large against a step of the optimizer, and a radius
    # that reaches it from far below, fewer neurons fall silent for good. Rounded weights generalise better from few recordings.
    "nmnist": {
        "encoder": EVENTS,
        "num_steps": 30,
        "beta": 0.9,
        "v_th": 1.0,
        "weight_bits": 8,
        "batch_size": 32,
        "epochs": 80,
        "windows": 10,
        "radius": 2.0,
        "eps": 3.0,
        "lr": 1e-2,
        "averaging": 0.98,
        "shift": 2,
    },
    # The sets below are not at hand: their recipes are N-MNIST's, changed for lengths, sizes and sensors, and have not been tuned.
    "shd": {
        "encoder": EVENTS,
        "num_steps": 100,
        "window_us": 1_000_000,
        "v_th": 1.0,
        "batch_size": 32,
        "epochs": 30,
        "windows": 10,
        "radius": 2.0,
        "eps": 3.0,
        "lr": 1e-2,
        "averaging": 0.995,
        "shift": 20,
    },
    # The first neurons stand behind sums over 4 x 4 pixels.
    "dvsgesture": {
        "encoder": EVENTS,
        "hidden": ("p4", "16c5s2", "32c3s2"),
        "num_steps": 30,
        "window_us": 1_500_000,
        "beta": 0.9,
        "batch_size": 8,
        "epochs": 40,
        "credit": "chained",
        "windows": 5,
        "radius": 0.5,
        "lr": 4e-3,
        "weight_decay": 0.05,
        "averaging": 0.995,
        "shift": 8,
    },
}
# What the chip's neuron needs.
NEURON_RECIPES: dict[str, dict[str, Any]] = {
    "lif": {},
    "loihi": {"weight_bits": 8, "encoder": "rate", "num_steps": 16},
}
# What weight space needs: costs are those of whole batches, and a displacement is a unit vector times the learning rate.
SPACE_RECIPES: dict[str, dict[str, Any]] = {
    "node": {},
    "weight": {"radius": 0.5, "polytope": "simplex", "eps": 1.0, "batch_size": 256, "lr": 2e-2, "weight_decay": 0.0},
}


def recipe(dataset: str, neuron: str = "lif", space: str = "node") -> dict[str, Any]:
    """What is different from the defaults for a data set, a neuron and a space.

    Of data set and neuron the data set's opinion counts, since it knows what the data is. Of all, the space's does: the data sets' radii,
    temperatures and learning rates were found in node space, where they are in other units, and what another space does not have is
    left out.
    """
    others = {**NEURON_RECIPES[neuron], **RECIPES[dataset]}
    foreign = {name for owner, names in SPACE_OPTIONS.items() if owner != space for name in names}
    return {**{name: value for name, value in others.items() if name not in foreign}, **SPACE_RECIPES[space]}
