"""A NIR graph of LIF layers, as Norse, snnTorch and Sinabs write them, as a ``SpikingNetwork``: dense, convolutional, recurrent, late."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats.hdf5 import Tree
from polystep_snn.hardware.formats.nir import read_graph, recurrent_chain
from polystep_snn.snn.assembly import Assembly
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.nir_neurons import FIRING, INTEGRATING, Steps, delay_steps, neuron, numbers, steps_of

_DENSE, _POOLS = ("Affine", "Linear"), ("SumPool2d", "AvgPool2d")


def from_nir(source: str | Path | Any, dt: float | None = None, reset: str | None = None) -> SpikingNetwork:
    """The same network with the same spikes.

    The graph is a chain: an input, ``Affine``, ``Linear`` or ``Conv2d`` in turn with ``LIF``, ``CubaLIF`` or ``IF``, an output. The last
    layer is dense; its neurons may also be ``LI``, ``I`` or ``CubaLI`` (membrane readout). Graphs within the graph are chains too.
    ``SumPool2d`` and ``AvgPool2d`` may stand before weights, a ``Flatten`` stands where maps end. The input says the shape of maps, or else
    the first convolution.

    Spikes may come back to the dense hidden neurons that sent them through one ``Affine`` or ``Linear``: they arrive in the next step, and
    an ``Affine`` adds its biases in every step, the first one too. A ``Delay`` of whole steps may stand behind dense hidden neurons that
    are not recurrent.

    NIR's equations are discretised as by Norse and snnTorch (Euler's rule; the new current drives the membrane)::

        v += dt / tau * (r * I - v)                                         LIF, LI
        i += dt / tau_syn * (w_in * I - i); v += dt / tau_mem * (r * i - v)     CubaLIF
        v += dt * r * I                                                     IF, I

    What scales the input goes into weights and biases, and so do thresholds that differ between neurons (of a convolution, between
    channels). Potentials are counted from ``v_reset``; what a leak potential adds goes into biases. Spikes agree wherever a membrane is not
    within rounding of its threshold.

    NIR's constants are continuous, a step and the kind of reset are often not in the file, and every exporter has its own: snnTorch and
    SpikingJelly mean 1e-4 s, sinabs counts in steps (``dt=1``); the first and the last reset by subtraction unless told otherwise. Norse's
    ``to_nir`` writes tau = dt * tau; ``dt=dt ** 2`` undoes that, 1e-6 for its usual millisecond.

    Args:
        source: a file, or a ``nir.NIRGraph``.
        dt: length of a step, in s. None takes the one that the file says; else the one that its constants fit, or a millisecond, with a
            warning.
        reset: what a spike does to the membrane: "zero" takes it to ``v_reset``, "subtract" takes the threshold from it. None takes what
            the file says, else "zero", with a warning.

    Returns:
        A network with copies of the weights, float64 if the first ones are, else float32.

    Raises:
        InputError: a damaged file; a node, an order, a geometry or a constant that has no counterpart; names it.
    """
    graph = read_graph(source) if isinstance(source, str | Path) else _from_memory(source)
    nodes, ways_back = recurrent_chain(graph)
    steps: Steps | None = None
    (_, entry), *inner, _ = nodes
    shape = _input_shape(entry, inner)
    assembly = Assembly(shape)
    dtype = None
    for k, (name, node) in enumerate(inner):
        kind, last = node["type"], k == len(inner) - 1
        where = f"node {name!r}"
        neurons = FIRING + (INTEGRATING if last else ())
        if kind == "Flatten":
            # Some programs count its dimensions with the batch, some without: what is taken next tells how much is meant.
            assembly.flatten()
        elif assembly.waits and kind in neurons:
            steps = steps or steps_of(graph, nodes, dt, reset)
            if name in ways_back:
                way, weights = ways_back[name]
                assembly.recur(f"node {way!r}", *_weights(way, weights))
            assembly.fire(where, *neuron(name, node, assembly, steps))
        elif not assembly.waits and kind == "Delay":
            assembly.delay(where, delay_steps(name, node, assembly.num_neurons, steps.dt) if steps else np.zeros(0, np.int64))
        elif not assembly.waits and kind in _POOLS:
            size, stride, padding = (numbers(name, node, field) for field in ("kernel_size", "stride", "padding"))
            assembly.pool(where, size, stride, padding, None if kind == "AvgPool2d" else 1)
        elif not assembly.waits and kind in (*_DENSE, "Conv2d"):
            weight, bias = _weights(name, node)
            if dtype is None:
                dtype = torch.float64 if np.asarray(node["weight"]).dtype == np.float64 else torch.float32
                if shape is None:
                    _check_width(entry, name, weight)
            if kind == "Conv2d":
                assembly.convolve(where, weight, bias, **_geometry(name, node))
            else:
                assembly.connect(where, weight, bias)
        else:
            choices = neurons if assembly.waits else (*_DENSE, "Conv2d", *_POOLS, "Delay")
            hint = "; only the last may integrate" if assembly.waits and not last else ""
            raise InputError(f"{where} is {kind}, expected {', '.join(choices)}{hint}")
    return assembly.network(torch.empty(0, dtype=dtype))


def _from_memory(graph: Any) -> Tree:
    if type(graph).__name__ != "NIRGraph" or not hasattr(graph, "to_dict"):
        raise InputError(f"the graph is a {type(graph).__name__}: give a file or a nir.NIRGraph")
    return graph.to_dict()


def _input_shape(entry: Tree, inner: list[tuple[str, Tree]]) -> tuple[int, ...] | None:
    """Of maps; None where a dense layer comes first, which tells its width."""
    if not inner or inner[0][1]["type"] not in ("Conv2d", *_POOLS):
        return None
    shape, (name, node) = _shape(entry), inner[0]
    if shape is not None and len(shape) == 3:
        return tuple(shape)
    size = None if node["type"] != "Conv2d" else _geometry(name, node)["size"]
    if size is None:
        given = "no usable shape" if shape is None else f"shape {shape}"
        raise InputError(f"the input has {given}, but node {name!r} is {node['type']}: give it channels, height and width")
    return _weights(name, node)[0].shape[1], *size


def _shape(entry: Tree) -> list[int] | None:
    """What the input says of itself."""
    shape = entry.get("shape")
    if shape is None or isinstance(shape, str | dict) or np.asarray(shape).dtype.kind not in "iu" or np.ndim(shape) != 1:
        return None
    return np.asarray(shape).tolist()


def _check_width(entry: Tree, name: str, weight: torch.Tensor) -> None:
    shape = _shape(entry)
    if weight.ndim == 2 and shape is not None and math.prod(shape) != weight.shape[1]:
        raise InputError(f"the input has shape {shape}, but node {name!r} takes {weight.shape[1]} inputs")


def _weights(name: str, node: Tree) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and biases in float64."""
    weight = numbers(name, node, "weight")
    bias = np.zeros(weight.shape[:1]) if node["type"] == "Linear" else numbers(name, node, "bias")
    dimensions = "C, C_in, K, K" if node["type"] == "Conv2d" else "N, M"
    if weight.ndim != dimensions.count(",") + 1 or not weight.size or bias.shape != weight.shape[:1]:
        raise InputError(
            f"node {name!r} has weights {list(weight.shape)} and biases {list(bias.shape)}: give [{dimensions}] and [{dimensions[0]}]"
        )
    return torch.from_numpy(weight), torch.from_numpy(bias)


def _geometry(name: str, node: Tree) -> dict[str, Any]:
    """Of a convolution."""
    fields: dict[str, Any] = {field: numbers(name, node, field) for field in ("stride", "dilation", "groups")}
    padding, size = node.get("padding"), None
    if node.get("input_shape") is not None:
        size = numbers(name, node, "input_shape")
        if size.shape != (2,) or (size % 1).any():
            raise InputError(f"node {name!r}: input_shape is {size.tolist()}: give height and width")
        size = size.astype(int).tolist()
    return fields | {"padding": padding if isinstance(padding, str) else numbers(name, node, "padding"), "size": size}
