"""When a deployed network adapts without labels, and which networks can."""

from dataclasses import dataclass

from polystep_snn.errors import InputError
from polystep_snn.hardware.current_statistics import KeptStatistics
from polystep_snn.hardware.integer_network import IntegerNetwork, check_whole
from polystep_snn.hardware.simulator import largest_input

_LEAST_WINDOW = 20


@dataclass(frozen=True)
class TransportRule:
    """When maps are made, and when they are taken over.

    Attributes:
        window: samples of a stage, at least 20.
        lost: share of the margin that has to be lost before anything is done.
        share: of what was lost that maps have to bring back.
        errors: standard errors by which they have to.
        moved: how often as far as by chance the first population's Gaussians have to be, to be others.
    """

    window: int = 150
    lost: float = 0.08
    share: float = 0.4
    errors: float = 3.0
    moved: float = 4.0

    def __post_init__(self):
        check_whole("window", self.window, _LEAST_WINDOW, 2**20, "statistics need enough samples, give a whole number")
        for name, low, high in (("lost", 0.0, 1.0), ("share", 0.0, 1.0), ("errors", 0.0, 100.0), ("moved", 1.0, 1e6)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InputError(f"{name} is {value!r}: choose from {low:g} to {high:g}")


def check_adaptable(network: IntegerNetwork) -> KeptStatistics:
    """Its kept statistics; InputError unless it can be adapted without labels."""
    if network.statistics is None:
        raise InputError(
            "the network's file has no statistics of what its neurons receive: write it again from its run, with "
            "`polystep-snn export RUN --format network --out RUN/network.safetensors`"
        )
    if network.input_neurons is not None:
        raise InputError("the network has been adapted before: give the deployed one")
    if len(network.layers) < 2:
        raise InputError("the network has no hidden layer: give one")
    for k, layer in enumerate(network.layers):
        if largest_input(layer) * network.num_steps >= 2**31:
            raise InputError(f"layer {k}: sums of {network.num_steps} steps leave 32 bits: use fewer steps or smaller weights")
    return network.statistics
