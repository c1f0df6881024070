"""A NIR graph of linear and LIF nodes, such as Norse and snnTorch write, as a ``SpikingNetwork``."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats.hdf5 import Tree
from polystep_snn.hardware.formats.nir import chain, read_graph
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout, SpikeCountReadout

_LINEAR, _FIRING, _INTEGRATING = ("Affine", "Linear"), ("LIF", "CubaLIF", "IF"), ("LI", "I")


def from_nir(source: str | Path | Any, dt: float | None = None) -> SpikingNetwork:
    """The same network with the same spikes.

    The graph is a chain: an input, ``Affine`` or ``Linear`` in turn with ``LIF``, ``CubaLIF`` or ``IF``, an output. The last neurons may
    also be ``LI`` or ``I`` (membrane readout). A ``Flatten`` after the input is what the network does anyway. NIR's equations are
    discretised as by Norse and snnTorch (Euler's rule; the new current drives the membrane)::

        v += dt / tau * (r * I - v)                                         LIF, LI
        i += dt / tau_syn * (w_in * I - i); v += dt / tau_mem * (r * i - v)     CubaLIF
        v += dt * r * I                                                     IF, I

    What scales the input goes into weights and biases, and so do thresholds that differ between neurons. Spikes agree wherever a
    membrane is not within rounding of its threshold.

    NIR's constants are continuous, ``dt`` is not in the file, and every exporter has its own: snnTorch means 1e-4. Norse's ``to_nir``
    writes tau = dt * tau; ``dt=dt ** 2`` undoes that, 1e-6 for its usual millisecond.

    Args:
        source: a file, or a ``nir.NIRGraph``.
        dt: length of a step, in s. None takes the one that a file of ours says, or a millisecond.

    Returns:
        A network with copies of the weights, float64 if the first ones are, else float32.

    Raises:
        InputError: a damaged file; a node, an order or a constant that has no counterpart; names it.
    """
    graph = read_graph(source) if isinstance(source, str | Path) else _from_memory(source)
    nodes = chain(graph)
    step = _step(graph, dt)
    (_, entry), *inner, _ = nodes
    if inner and inner[0][1]["type"] == "Flatten":
        inner = inner[1:]
    if not inner or len(inner) % 2:
        raise InputError(f"the graph has {len(inner)} nodes between input and output: give pairs of Affine or Linear and neurons")
    linears, neurons = inner[0::2], inner[1::2]

    weights, biases, converted = [], [], []
    for k, ((name, linear), (neuron_name, neuron)) in enumerate(zip(linears, neurons, strict=True)):
        weight, bias = _linear(name, linear)
        last = k == len(linears) - 1
        gain, converted_neuron = _neuron(neuron_name, neuron, len(weight), step, last)
        weights.append(weight * gain[:, None])
        biases.append(bias * gain)
        converted.append(converted_neuron)
    sizes = [weights[0].shape[1], *(len(w) for w in weights)]
    for k, ((name, _), weight) in enumerate(zip(linears[1:], weights[1:], strict=True), 1):
        if weight.shape[1] != sizes[k]:
            raise InputError(f"node {name!r} takes {weight.shape[1]} inputs, but {neurons[k - 1][0]!r} has {sizes[k]} neurons")
    _check_width(entry, linears[0][0], sizes[0])

    readout = converted[-1] if isinstance(converted[-1], MembraneReadout) else SpikeCountReadout(converted[-1])
    hidden = [p for p in converted[:-1] if isinstance(p, LIFParameters)]
    network = SpikingNetwork(sizes, hidden, readout)
    if np.asarray(linears[0][1]["weight"]).dtype == np.float64:
        network = network.double()
    with torch.no_grad():
        for parameter, value in (*zip(network.weights, weights, strict=True), *zip(network.biases, biases, strict=True)):
            parameter.copy_(torch.from_numpy(value))
    return network


def _from_memory(graph: Any) -> Tree:
    if type(graph).__name__ != "NIRGraph" or not hasattr(graph, "to_dict"):
        raise InputError(f"the graph is a {type(graph).__name__}: give a file or a nir.NIRGraph")
    return graph.to_dict()


def _step(graph: Tree, dt: float | None) -> float:
    metadata = graph.get("metadata")
    said = metadata.get("dt") if isinstance(metadata, dict) else None
    if dt is None:
        dt = float(said) if isinstance(said, np.ndarray | np.floating | float) and np.ndim(said) == 0 else 1e-3
    if not 0 < dt < float("inf"):
        raise InputError(f"dt is {dt:g}: give the length of a step in s")
    return dt


def _check_width(entry: Tree, name: str, width: int) -> None:
    shape = entry.get("shape")
    if isinstance(shape, np.ndarray) and shape.dtype.kind in "iu" and np.prod(shape) != width:
        raise InputError(f"the input has shape {shape.tolist()}, but node {name!r} takes {width} inputs")


def _linear(name: str, node: Tree) -> tuple[np.ndarray, np.ndarray]:
    """Weight [N, M] and bias [N] in float64."""
    if node["type"] not in _LINEAR:
        raise InputError(f"node {name!r} is {node['type']}, expected {' or '.join(_LINEAR)}")
    weight = _numbers(name, node, "weight")
    bias = _numbers(name, node, "bias") if node["type"] == "Affine" else np.zeros(len(weight))
    if weight.ndim != 2 or not weight.size or bias.shape != weight.shape[:1]:
        raise InputError(f"node {name!r} has weights {list(weight.shape)} and biases {list(bias.shape)}: give [N, M] and [N]")
    return weight, bias


def _neuron(name: str, node: Tree, size: int, dt: float, last: bool) -> tuple[np.ndarray, LIFParameters | MembraneReadout]:
    """What multiplies a layer's input, [N], and its constants."""
    kind = node["type"]
    choices = _FIRING + (_INTEGRATING if last else ())
    if kind not in choices:
        raise InputError(f"node {name!r} is {kind}, expected {', '.join(choices)}" + ("" if last else "; only the last may integrate"))
    for zero in ("v_leak", "v_reset"):
        if node.get(zero) is not None and (shift := _numbers(name, node, zero)).any():
            raise InputError(
                f"node {name!r}: {zero} is {shift[shift != 0].flat[0]:g}, but membranes rest and restart at 0 here: "
                "move it into bias and threshold"
            )
    constants: dict[str, Any] = {"dt": dt}
    gain = _spread(name, node, "r", size)
    if kind in ("IF", "I"):
        if dt != 1 and (gain == 1).all():
            raise InputError(
                f"node {name!r}: r is 1, which by NIR's equation scales inputs by dt = {dt:g}, though many programs that write it "
                f"mean 1: set r to {1 / dt:g} if so, or to another value"
            )
        gain, constants["tau_mem_inv"] = gain * dt, 0.0
    else:
        rate = _rate(name, node, "tau_mem" if kind == "CubaLIF" else "tau", dt)
        gain, constants["tau_mem_inv"] = gain * rate, rate / dt
        if kind == "CubaLIF":
            rate = _rate(name, node, "tau_syn", dt)
            gain, constants["tau_syn_inv"] = gain * rate * _spread(name, node, "w_in", size), rate / dt
    gain = _tidy(gain, node)
    if kind in _FIRING:
        v_th = _spread(name, node, "v_threshold", size)
        if not (v_th > 0).all():
            raise InputError(f"node {name!r}: a threshold is {v_th.min():g}: make it positive")
        if len(np.unique(v_th)) > 1:
            gain, v_th = gain / v_th, np.ones(size)
        constants["v_th"] = float(v_th[0])
    try:
        p = LIFParameters(**constants).checked()
        return gain, p if kind in _FIRING else MembraneReadout(decay=p.beta)
    except InputError as error:
        raise InputError(f"node {name!r}: {error}") from None


def _rate(name: str, node: Tree, field: str, dt: float) -> float:
    """``dt / tau``, the same for the whole layer."""
    tau = np.unique(_numbers(name, node, field))
    if len(tau) != 1:
        raise InputError(f"node {name!r}: {field} has {len(tau)} different values, but one constant serves a whole layer here")
    if tau[0] <= 0:
        raise InputError(f"node {name!r}: {field} is {tau[0]:g}: make it positive")
    return float(_tidy(dt / tau, node)[0])


def _tidy(values: np.ndarray, node: Tree) -> np.ndarray:
    """What was meant by constants that come as float32, in which 0.05 is 0.0500000007: a chip's 4096ths, or a short decimal."""
    if np.asarray(node["r"]).dtype != np.float32:
        return values
    for meant in (np.round(values * 4096) / 4096, np.array([float(f"{x:.5g}") for x in values])):
        values = np.where(np.abs(meant - values) <= 1e-6 * np.abs(values), meant, values)
    return values


def _spread(name: str, node: Tree, field: str, size: int) -> np.ndarray:
    """A constant of a neuron layer, one value a neuron."""
    values = _numbers(name, node, field)
    if values.size not in (1, size):
        raise InputError(f"node {name!r}: {field} has {values.size} values for {size} neurons")
    return np.broadcast_to(values.reshape(-1), size)


def _numbers(name: str, node: Tree, field: str) -> np.ndarray:
    value = node.get(field)
    if value is None or isinstance(value, str | list | dict):
        raise InputError(f"node {name!r} has no usable {field!r}: give finite numbers")
    values = np.asarray(value)
    if values.dtype.kind not in "biuf" or not values.size or not np.isfinite(values).all():
        raise InputError(f"node {name!r}: {field} contains NaN, infinity or nothing: give finite numbers")
    return values.astype(np.float64)
