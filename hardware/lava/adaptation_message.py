"""What an adaptation inside Lava has come to: observations of every sample, from which it is gone through again, and registers."""

import copy
from collections.abc import Mapping

import numpy as np

from polystep_snn.errors import BackendError
from polystep_snn.hardware.input_neurons import CODES, InputNeurons
from polystep_snn.hardware.integer_network import IntegerNetwork
from polystep_snn.hardware.unlabelled import Adaptation, Observed
from polystep_snn.hardware.watching import Stream

NETWORKS = ("own", "beside")


def conclude(adaptation: Adaptation, stream: Stream, arrays: Mapping[str, np.ndarray]) -> None:
    """Take over what Lava's process came to.

    Args:
        adaptation: a new one, changed in place.
        stream: what Lava was shown.
        arrays: as ``AdaptingGraph`` fills them.

    Raises:
        BackendError: registers in Lava are not those that follow from what its neurons received; the adaptation stays as it was.
    """
    followed = copy.deepcopy(adaptation)
    # Networks are compared by identity.
    followed.deployed = followed.own = followed.beside = adaptation.deployed
    followed.history = list(adaptation.history)
    start = 0
    while start < len(stream):
        part = slice(start, min(start + followed.left, len(stream)))
        own, beside = (_observed(arrays, who, part, len(adaptation.deployed.layers)) for who in NETWORKS)
        followed.show(stream.received(part), own, beside)
        start = part.stop
    for who in NETWORKS:
        for name, values in registers(getattr(followed, who)).items():
            found = arrays[f"{who}_{name}"]
            if not np.array_equal(found, values):
                n = int(np.flatnonzero(found != values)[0])
                raise BackendError(f"Lava differs: register {n} of {name} of the network {who!r} is {found[n]} instead of {values[n]}")
    vars(adaptation).update(vars(followed))


def registers(network: IntegerNetwork) -> dict[str, np.ndarray]:
    """What a network's neurons hold, int32, by name; ``input_vth`` and ``input_bias`` of input neurons."""
    found: dict[str, np.ndarray] = {}
    for k, layer in enumerate(network.layers):
        exponent = np.full(layer.num_neurons, layer.bias_exp, np.int32)
        found |= {f"vth_{k}": layer.vth, f"bias_mant_{k}": layer.bias_mant.astype(np.int32), f"bias_exp_{k}": exponent}
    if network.encoder in CODES:
        neurons = network.input_neurons or InputNeurons.of_code(network.sizes[0])
        found |= {"input_vth": neurons.vth, "input_bias": neurons.bias}
    return found


def _observed(arrays: Mapping[str, np.ndarray], who: str, part: slice, num_layers: int) -> Observed:
    return Observed([arrays[f"{who}_sums_{k}"][part] for k in range(num_layers)], arrays[f"{who}_values"][part])
