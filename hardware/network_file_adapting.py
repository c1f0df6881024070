"""What a network's file holds for adapting without labels (schema 5): statistics that were kept, and registers of input neurons.

Tensors, int32: ``statistics.k.mean`` and ``statistics.k.std`` [N] of population k from 0, ``input.vth`` and ``input.bias`` [M]. Metadata:
``statistics``, an object of ``margin`` and of ``counts``, how many samples each population's are of. Either of the two parts may be there.
"""

from typing import Any

import numpy as np

from polystep_snn.hardware.current_statistics import KeptStatistics, Moments
from polystep_snn.hardware.input_neurons import InputNeurons
from polystep_snn.hardware.integer_network import IntegerNetwork

FIELD = "statistics"
_INPUT = ("input.vth", "input.bias")


def tensors_of(network: IntegerNetwork) -> dict[str, np.ndarray]:
    """The tensors of a network's parts."""
    tensors: dict[str, np.ndarray] = {}
    if network.input_neurons is not None:
        tensors |= {"input.vth": network.input_neurons.vth, "input.bias": network.input_neurons.bias}
    if network.statistics is not None:
        for k, moments in enumerate(network.statistics.received):
            tensors |= {f"statistics.{k}.mean": moments.mean, f"statistics.{k}.std": moments.std}
    return tensors


def fields_of(network: IntegerNetwork) -> dict[str, Any]:
    """The metadata of a network's statistics; nothing where there are none."""
    if network.statistics is None:
        return {}
    counts = [moments.samples for moments in network.statistics.received]
    return {FIELD: {"margin": network.statistics.margin, "counts": counts}}


def is_field(value: Any) -> bool:
    """Whether it is the metadata of some statistics."""
    return (
        isinstance(value, dict)
        and value.keys() == {"margin", "counts"}
        and type(value["margin"]) is int
        and isinstance(value["counts"], list)
        and all(type(count) is int and 2 <= count < 2**40 for count in value["counts"])
    )


def names_of(field: Any, present: set[str]) -> set[str] | None:
    """Of the tensors that are there, those that belong to such metadata (None: there is none); None where one is missing."""
    named = {f"statistics.{k}.{name}" for k in range(len(field["counts"])) for name in ("mean", "std")} if field is not None else set()
    inputs = present & set(_INPUT)
    if not named <= present or len(inputs) not in (0, 2):
        return None
    return named | inputs


def parts(field: Any, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    """The network's parts by name, for its constructor. InputError: values that none has."""
    found: dict[str, Any] = {}
    if _INPUT[0] in tensors:
        found["input_neurons"] = InputNeurons(tensors["input.vth"], tensors["input.bias"])
    if field is not None:
        received = tuple(
            Moments(tensors[f"statistics.{k}.mean"], tensors[f"statistics.{k}.std"], count) for k, count in enumerate(field["counts"])
        )
        found["statistics"] = KeptStatistics(received, field["margin"])
    return found
