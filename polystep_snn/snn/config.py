"""The network of a run: its layers, neurons and readout. Plain values, without torch; they check themselves."""

import re
from dataclasses import dataclass

from polystep_snn.errors import InputError
from polystep_snn.geometry import Conv, Delayed, Item, Recurrent, SumPool
from polystep_snn.options import FRACTION, LARGEST_COUNT, POSITIVE, Options, option, up_to

NEURONS = ("lif", "loihi")
READOUTS = ("membrane", "mean", "max", "count")
RESETS = ("zero", "subtract")

_CONVOLUTION = re.compile(r"(\d{1,6})c(\d{1,4})(?:s(\d{1,4}))?(?:p(\d{1,4}))?")
_POOL = re.compile(r"p(\d{1,4})")
_RECURRENT = re.compile(r"(\d{1,10})r")
_DELAYED = re.compile(r"(\d{1,10})d(\d{1,4})")


def parse_layer(item: int | str) -> int | Conv | SumPool | Recurrent | Delayed:
    """A hidden layer as it is written on the command line: ``128``, ``128r``, ``128d16``, ``16c5``, ``16c5s2p1`` or ``p2``.

    Raises:
        InputError: something else.
    """
    if isinstance(item, int):
        return item
    # Longer numbers than int() takes are no widths anyway.
    if item.isdecimal() and len(item) <= 10:
        return int(item)
    if found := _CONVOLUTION.fullmatch(item):
        channels, kernel, stride, padding = found.groups()
        return Conv(int(channels), int(kernel), int(stride or 1), int(padding or 0))
    if found := _POOL.fullmatch(item):
        return SumPool(int(found[1]))
    if found := _RECURRENT.fullmatch(item):
        return Recurrent(int(found[1]))
    if found := _DELAYED.fullmatch(item):
        return Delayed(int(found[1]), int(found[2]))
    raise InputError(
        f"hidden layer {item!r}: give a width, 128r for recurrent neurons, 128d16 for delays up to 16 steps, a convolution such as 16c5 or "
        "16c5s2p1, or p2 for sum-pooling"
    )


@dataclass(frozen=True)
class NetworkConfig(Options):
    """The network of a run; ``training/build.py`` makes it."""

    hidden: tuple[int | str, ...] = option(
        (128,),
        "the hidden layers: widths, recurrent ones such as 128r, ones whose spikes arrive up to 16 steps later such as 128d16, "
        "convolutions such as 16c5 or 16c5s2p1 (channels, kernel, stride, padding), p2 for sum-pooling",
        layers=True,
    )
    neuron: str = option("lif", "floating-point LIF, or the integer neuron of Loihi 2 (8-bit weights, spike input)", NEURONS)
    weight_bits: int = option(32, "32, or 8 to compute with int8 weights in every forward pass", (8, 32))
    readout: str = option(
        "membrane",
        "membranes of integrators after the last step, their mean or maximum over time, or spike counts of neurons that fire",
        READOUTS,
    )
    readout_decay: float = option(1.0, "fraction of a membrane readout left after a step; 1 for no leak", range=FRACTION)
    beta: float = option(0.95, "fraction of a membrane left after a step", range=FRACTION)
    alpha: float = option(0.0, "fraction of a synaptic current left after a step; 0 for none", range=FRACTION)
    recurrent_scale: float = option(
        1.0, "recurrent weights at the start: uniform within so much over the square root of their number", range=up_to(1e3)
    )
    learn_delays: bool = option(False, "training moves the delays of layers such as 128d16, which else stay as they are drawn")
    v_th: float = option(0.0, "threshold of the hidden neurons; 0 to choose each layer's from its initial firing rate")
    reset: str = option("zero", "what a spike does to the membrane", RESETS)

    def __post_init__(self):
        super().__post_init__()
        layers = self.layers
        widths = [x if isinstance(x, int) else x.width for x in layers if isinstance(x, int | Recurrent | Delayed)]
        if not layers or not all(1 <= n <= LARGEST_COUNT for n in widths):
            raise InputError(f"hidden is {list(self.hidden)}: give at least one width, each from 1 to {LARGEST_COUNT}")
        if self.v_th != 0 and not POSITIVE.holds(self.v_th):
            raise InputError(f"v_th is {self.v_th}: choose {POSITIVE.words}, or 0 to have it chosen")
        if self.neuron == "loihi":
            for name, value, needed in (("weight_bits", self.weight_bits, 8), ("reset", self.reset, "zero")):
                if value != needed:
                    raise InputError(f"{name} is {value}, but the neuron 'loihi' needs {needed}: choose it, or the neuron 'lif'")

    @property
    def layers(self) -> list[Item]:
        """The hidden layers, parsed."""
        found: list[Item] = [parse_layer(item) for item in self.hidden]
        found = [x._replace(scale=self.recurrent_scale) if isinstance(x, Recurrent) else x for x in found]
        return [x._replace(learned=self.learn_delays) if isinstance(x, Delayed) else x for x in found]

    @property
    def delays(self) -> dict[str, int]:
        """The longest delay of each layer that has some, in steps, by how the layer is written."""
        pairs = zip(self.hidden, self.layers, strict=True)
        return {str(name): layer.max_delay for name, layer in pairs if isinstance(layer, Delayed)}

    @property
    def num_spiking(self) -> int:
        """Hidden layers that have neurons: all but sum-pooling."""
        return sum(not isinstance(layer, SumPool) for layer in self.layers)
