"""A NIR graph of dense, convolutional and LIF nodes, such as Norse, snnTorch and Sinabs write, as a ``SpikingNetwork``."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from polystep_snn.errors import InputError
from polystep_snn.hardware.formats.hdf5 import Tree
from polystep_snn.hardware.formats.nir import chain, read_graph
from polystep_snn.snn.assembly import Assembly
from polystep_snn.snn.network import SpikingNetwork
from polystep_snn.snn.neurons import LIFParameters
from polystep_snn.snn.readouts import MembraneReadout

_DENSE, _POOLS = ("Affine", "Linear"), ("SumPool2d", "AvgPool2d")
_FIRING, _INTEGRATING = ("LIF", "CubaLIF", "IF"), ("LI", "I")


def from_nir(source: str | Path | Any, dt: float | None = None) -> SpikingNetwork:
    """The same network with the same spikes.

    The graph is a chain: an input, ``Affine``, ``Linear`` or ``Conv2d`` in turn with ``LIF``, ``CubaLIF`` or ``IF``, an output. The last
    layer is dense; its neurons may also be ``LI`` or ``I`` (membrane readout). ``SumPool2d`` and ``AvgPool2d`` may stand before weights, a
    ``Flatten`` stands where maps end. The input says the shape of maps, or else the first convolution. NIR's equations are discretised as
    by Norse and snnTorch (Euler's rule; the new current drives the membrane)::

        v += dt / tau * (r * I - v)                                         LIF, LI
        i += dt / tau_syn * (w_in * I - i); v += dt / tau_mem * (r * i - v)     CubaLIF
        v += dt * r * I                                                     IF, I

    What scales the input goes into weights and biases, and so do thresholds that differ between neurons (of a convolution, between
    channels). Spikes agree wherever a membrane is not within rounding of its threshold.

    NIR's constants are continuous, ``dt`` is not in the file, and every exporter has its own: snnTorch means 1e-4. Norse's ``to_nir``
    writes tau = dt * tau; ``dt=dt ** 2`` undoes that, 1e-6 for its usual millisecond.

    Args:
        source: a file, or a ``nir.NIRGraph``.
        dt: length of a step, in s. None takes the one that a file of ours says, or a millisecond.

    Returns:
        A network with copies of the weights, float64 if the first ones are, else float32.

    Raises:
        InputError: a damaged file; a node, an order, a geometry or a constant that has no counterpart; names it.
    """
    graph = read_graph(source) if isinstance(source, str | Path) else _from_memory(source)
    nodes = chain(graph)
    step = _step(graph, dt)
    (_, entry), *inner, _ = nodes
    shape = _input_shape(entry, inner)
    assembly = Assembly(shape)
    dtype = None
    for k, (name, node) in enumerate(inner):
        kind, last = node["type"], k == len(inner) - 1
        where = f"node {name!r}"
        neurons = _FIRING + (_INTEGRATING if last else ())
        if kind == "Flatten":
            # Some programs count its dimensions with the batch, some without: what is taken next tells how much is meant.
            assembly.flatten()
        elif assembly.waits and kind in neurons:
            gain, neuron = _neuron(name, node, assembly, step)
            assembly.fire(where, gain, neuron)
        elif not assembly.waits and kind in _POOLS:
            size, stride, padding = (_numbers(name, node, field) for field in ("kernel_size", "stride", "padding"))
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
            choices = neurons if assembly.waits else (*_DENSE, "Conv2d", *_POOLS)
            hint = "; only the last may integrate" if assembly.waits and not last else ""
            raise InputError(f"{where} is {kind}, expected {', '.join(choices)}{hint}")
    return assembly.network(torch.empty(0, dtype=dtype))


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
    weight = _numbers(name, node, "weight")
    bias = np.zeros(len(weight)) if node["type"] == "Linear" else _numbers(name, node, "bias")
    dimensions = "C, C_in, K, K" if node["type"] == "Conv2d" else "N, M"
    if weight.ndim != dimensions.count(",") + 1 or not weight.size or bias.shape != weight.shape[:1]:
        raise InputError(
            f"node {name!r} has weights {list(weight.shape)} and biases {list(bias.shape)}: give [{dimensions}] and [{dimensions[0]}]"
        )
    return torch.from_numpy(weight), torch.from_numpy(bias)


def _geometry(name: str, node: Tree) -> dict[str, Any]:
    """Of a convolution."""
    fields: dict[str, Any] = {field: _numbers(name, node, field) for field in ("stride", "dilation", "groups")}
    padding, size = node.get("padding"), None
    if node.get("input_shape") is not None:
        size = _numbers(name, node, "input_shape")
        if size.shape != (2,) or (size % 1).any():
            raise InputError(f"node {name!r}: input_shape is {size.tolist()}: give height and width")
        size = size.astype(int).tolist()
    return fields | {"padding": padding if isinstance(padding, str) else _numbers(name, node, "padding"), "size": size}


def _neuron(name: str, node: Tree, layer: Assembly, dt: float) -> tuple[np.ndarray, LIFParameters | MembraneReadout]:
    """What multiplies a layer's input, one number a row of its weights, and its constants."""
    kind = node["type"]
    for zero in ("v_leak", "v_reset"):
        if node.get(zero) is not None and (shift := _numbers(name, node, zero)).any():
            raise InputError(
                f"node {name!r}: {zero} is {shift[shift != 0].flat[0]:g}, but membranes rest and restart at 0 here: "
                "move it into bias and threshold"
            )
    constants: dict[str, Any] = {"dt": dt}
    gain = _spread(name, node, "r", layer)
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
            gain, constants["tau_syn_inv"] = gain * rate * _spread(name, node, "w_in", layer), rate / dt
    gain = _tidy(gain, node)
    if kind in _FIRING:
        v_th = _spread(name, node, "v_threshold", layer)
        if not (v_th > 0).all():
            raise InputError(f"node {name!r}: a threshold is {v_th.min():g}: make it positive")
        if len(np.unique(v_th)) > 1:
            gain, v_th = gain / v_th, np.ones_like(v_th)
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


def _spread(name: str, node: Tree, field: str, layer: Assembly) -> np.ndarray:
    """A constant of a neuron layer, one value a row of its weights."""
    values = _numbers(name, node, field)
    if values.size == 1:
        return values.reshape(-1).repeat(layer.num_rows)
    if values.size != layer.num_neurons:
        raise InputError(f"node {name!r}: {field} has {values.size} values for {layer.num_neurons} neurons")
    each = values.reshape(layer.num_rows, -1)
    if (each != each[:, :1]).any():
        raise InputError(f"node {name!r}: {field} differs within a channel, whose neurons share their weights and threshold: make it equal")
    return each[:, 0]


def _numbers(name: str, node: Tree, field: str) -> np.ndarray:
    value = node.get(field)
    if value is None or isinstance(value, str | dict):
        raise InputError(f"node {name!r} has no usable {field!r}: give finite numbers")
    values = np.asarray(value)
    if values.dtype.kind not in "biuf" or not values.size or not np.isfinite(values).all():
        raise InputError(f"node {name!r}: {field} contains NaN, infinity or nothing: give finite numbers")
    return values.astype(np.float64)
