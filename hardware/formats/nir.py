r"""Integer networks as NIR graphs (Neuromorphic Intermediate Representation, nir 1.0).

A chain ``input - dense_0 - neurons_0 - dense_1 - ... - output`` whose equations, discretised by Euler's rule with step ``dt`` as
Norse and snnTorch do, are the chip's without its rounding. In the chip's words, with ``a = (du + 1) / 4096``, ``b = dv / 4096``::

    no current memory (du = 4095)   IF       v' = r I, r = 1 / dt                            b = 0
                                    LIF      tau v' = -v + I, tau = dt / b, weights / b      b > 0
    with it                         CubaLIF  tau_syn i' = -i + w_in I, tau_syn = dt / a, w_in = 1 / a
                                             tau_mem v' = v_leak - v + r i, tau_mem = dt / b, r = 1 / b, v_leak = bias / b

``LIF`` has ``r = 1`` because Norse's importer takes that for granted; the factor is in the weights. ``CubaLIF`` has no value for "no
leak": ``b`` is then 2^-60, which no float32 membrane can tell from 0. Biases reach a membrane past the current, which for
``CubaLIF`` only ``v_leak`` does. Membranes are counted in 64ths of the chip's, times the power of two next to the layer's ``scale``: so
the integers stay exact in float32, and the numbers are about those of training.

A readout whose membranes decide and whose thresholds are the largest there are (it never fires) becomes ``I``, ``LI`` or ``CubaLI``,
and the graph puts out its membranes; any other one puts out spikes.

**Convolutions** are ``Conv2d`` in front of neurons of shape (channels, height, width), and a ``Flatten`` of all three leads on to a dense
layer; NIR counts dimensions without the batch. Three things have no place there and are refused: a kernel that is not square (nir takes
its height for its width when it checks shapes), biases that differ within a channel unless ``v_leak`` carries them, and neurons that
are numbered anew in front of a convolution.

**Recurrent weights** are a ``Linear`` from neurons back to themselves: ``neurons_k - recurrent_k - neurons_k``. What passes it arrives
in the next step, as on the chip. **Delays** are a ``Delay`` in front of a layer's weights, in s: steps times ``dt``.

What floats cannot say: ``decay`` rounds toward zero, ``u`` wraps and ``v`` saturates at 24 bits. With ``dv = 0`` and ``du = 4095``
spikes are equal to the last one; otherwise a membrane at its threshold may fall to the other side. The network itself, integer for
integer, is kept as metadata, and only from there is it read back.
"""

import io
import math
from itertools import pairwise
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.files import write_atomically
from polystep_snn.geometry import Convolution
from polystep_snn.hardware.fixed_point import ALIGNMENT, DECAY_BITS
from polystep_snn.hardware.formats.embedded import NAME, embed, extract, same
from polystep_snn.hardware.formats.hdf5 import Tree, part, require
from polystep_snn.hardware.formats.nir_graph import chain as chain
from polystep_snn.hardware.formats.nir_graph import read_graph as read_graph
from polystep_snn.hardware.formats.nir_graph import recurrent_chain as recurrent_chain
from polystep_snn.hardware.integer_network import VTH_BITS, IntegerLayer, IntegerNetwork

# snnTorch reads time constants with this step, whatever the file says; Norse is told.
DT = 1e-4
_NO_LEAK = 2.0**-60
_INTEGRATING = ("I", "LI", "CubaLI")


def write(path: str | Path, network: IntegerNetwork, dt: float = DT) -> None:
    """Write a network atomically.

    Args:
        path: the file, by custom ``.nir``.
        network: one that the format can carry: any dense one.
        dt: the step, in s, that the time constants mean.

    Raises:
        InputError: nir is not installed, ``dt`` is not positive, the file cannot be written, or a layer has what the format has no
            place for; names it.
    """
    if not (1e-9 <= dt <= 1e9):
        raise InputError(f"dt is {dt:g}: give the length of a step in s")
    nir = require("nir")
    graph = describe(network, dt)
    nodes = {}
    for name, fields in graph["nodes"].items():
        fields = dict(fields)
        kind = getattr(nir, fields.pop("type"))
        nodes[name] = kind({kind.__name__.lower(): fields["shape"]}) if "shape" in fields else kind(**fields)
    edges = [(before, after) for before, after in graph["edges"]]
    built = nir.NIRGraph(nodes=nodes, edges=edges, metadata=graph["metadata"])
    # HDF5 does not survive a full disk: it writes to memory.
    memory = io.BytesIO()
    nir.write(memory, built)
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(memory.getbuffer()))


def who_reads(network: IntegerNetwork) -> str:
    """Which programs have the nodes that ``write`` makes of a network; said with every export."""
    kinds = {fields["type"] for fields in describe(network, DT)["nodes"].values()}
    if "Delay" in kinds or any(layer.recurrent is not None for layer in network.layers):
        # As tried: Norse 1.1.0 with nirtorch 2.6.
        return "it has delays or spikes that come back, which Norse 1.1 does not run as they are: hold a reader's spikes against ours"
    integrating = sorted(kinds & set(_INTEGRATING))
    if integrating:
        return (
            f"the last layer integrates ({', '.join(integrating)}), which snnTorch and SpikingJelly do not read: "
            "train with --readout count for them"
        )
    return "its neurons fire and restart at 0: where a program's default is another reset, as in snnTorch and sinabs, name it there"


def read(path: str | Path) -> IntegerNetwork:
    """The network that ``write`` was given, from the file ``path``.

    Raises:
        InputError: no such file, a damaged one, one of another program (``polystep_snn.snn.from_nir`` reads those), or one whose
            graph was changed since.
    """
    path = Path(path)
    graph = read_graph(path)
    metadata = graph.get("metadata")
    if not isinstance(metadata, dict) or NAME not in metadata:
        raise InputError(f"{path} holds no integer network, another program wrote it: polystep_snn.from_nir reads float networks")
    network = extract(part(metadata, NAME, np.ndarray, f"{path}: the metadata"), path)
    dt = part(metadata, "dt", np.ndarray, f"{path}: the metadata")
    if dt.dtype != np.float64 or dt.shape or not 1e-9 <= dt <= 1e9:
        raise InputError(f"{path} is damaged (its dt is {shown(dt.tolist())}): export it again")
    if not same(describe(network, float(dt)), graph):
        raise InputError(f"{path}: the graph is no longer that of the integers inside: read it with polystep_snn.from_nir, or export again")
    return network


def describe(network: IntegerNetwork, dt: float) -> Tree:
    """The graph of a network as nested dicts, just as ``read_graph`` returns it.

    Raises:
        InputError: what the format cannot carry.
    """
    last = len(network.layers) - 1
    shape = _shapes(network.layers[0])[0]
    nodes: Tree = {"input": _end("Input", shape)}
    for k, layer in enumerate(network.layers):
        integrates = network.reads_membranes and k == last and int(layer.vth.min()) == 2**VTH_BITS - 1
        name, (seen, after) = "dense" if layer.convolution is None else "convolution", _shapes(layer)
        if len(seen) == 1 and len(shape) > 1:
            nodes[f"flatten_{k}"] = _flatten(shape)
        elif seen != shape:
            raise InputError(f"layer {k} sees {list(seen)}, but what comes before it has shape {list(shape)}: NIR cannot reshape it")
        if layer.max_delay:
            assert layer.delays is not None
            nodes[f"delay_{k}"] = {"type": "Delay", "delay": layer.delays * dt, "metadata": {"delays": layer.delays}}
        nodes[f"{name}_{k}"], nodes[f"neurons_{k}"] = _weights_and_neurons(f"layer {k}", layer, dt, integrates)
        shape = after
    nodes["output"] = _end("Output", shape)
    edges = [list(pair) for pair in pairwise(nodes)]
    for k, layer in enumerate(network.layers):
        if layer.recurrent is not None:
            if nodes[f"neurons_{k}"]["type"] in _INTEGRATING:
                raise InputError(f"layer {k} integrates and never fires, but has recurrent weights: leave them out, they do nothing")
            nodes[f"recurrent_{k}"] = _linear(layer.recurrent, layer)
            edges += [[f"neurons_{k}", f"recurrent_{k}"], [f"recurrent_{k}", f"neurons_{k}"]]
    return {"type": "NIRGraph", "nodes": nodes, "edges": edges, "metadata": {NAME: embed(network), "dt": np.float64(dt)}}


def _shapes(layer: IntegerLayer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of what arrives and of the neurons."""
    if layer.convolution is None:
        return (layer.num_inputs,), (layer.num_neurons,)
    return layer.convolution.input_shape, layer.convolution.output_shape


def _flatten(shape: tuple[int, ...]) -> Tree:
    return {"type": "Flatten", "input_type": np.array(shape, np.int64), "start_dim": np.int64(0), "end_dim": np.int64(-1)}


def _end(kind: str, shape: tuple[int, ...]) -> Tree:
    return {"type": kind, "shape": np.array(shape, np.int64)}


def _weights_and_neurons(where: str, layer: IntegerLayer, dt: float, integrates: bool) -> tuple[Tree, Tree]:
    """A layer's two nodes; see the top of this file."""
    unit, gain, keeps_current = _unit(layer), _gain(layer), _keeps_current(layer)
    bias = layer.bias * unit / 2**ALIGNMENT
    leak, shape = layer.dv / 2**DECAY_BITS, _shapes(layer)[1]

    def full(value: Any) -> np.ndarray:
        return np.broadcast_to(value, layer.num_neurons).astype(np.float32).reshape(shape)

    fields: dict[str, Any]
    if keeps_current:
        leak, rise = leak or _NO_LEAK, (layer.du + 1) / 2**DECAY_BITS
        fields = {"tau_syn": full(dt / rise), "tau_mem": full(dt / leak), "r": full(1 / leak), "w_in": full(1 / rise)}
        fields["v_leak"] = full(bias / leak)
    elif leak:
        fields = {"tau": full(dt / leak), "r": full(1), "v_leak": full(0)}
    else:
        fields = {"r": full(1 / dt)}
    kind = ("Cuba" if keeps_current else "") + ("LI" if leak else "I")
    if not integrates:
        kind += "F"
        fields |= {"v_threshold": full(layer.vth * unit), "v_reset": full(0)}

    weights = _linear(layer.weight, layer)
    added = None if keeps_current or not layer.bias.any() else bias * gain
    if layer.convolution is not None:
        weights |= {"type": "Conv2d", **_convolution(where, layer.convolution, added)}
    elif added is not None:
        weights |= {"type": "Affine", "bias": added.astype(np.float32)}
    constants = {name: np.int64(getattr(layer, name)) for name in ("bias_exp", "du", "dv", "weight_exp")}
    return weights, {"type": kind, **fields, "metadata": {"vth": layer.vth, "bias_mant": layer.bias_mant, **constants}}


def _keeps_current(layer: IntegerLayer) -> bool:
    return layer.du + 1 < 2**DECAY_BITS


def _unit(layer: IntegerLayer) -> float:
    """What 64 of the chip's membrane are in the file."""
    return 2.0 ** min(max(round(math.log2(layer.scale)), -40), 40)


def _gain(layer: IntegerLayer) -> float:
    """By which an ``LIF``, whose input is multiplied by its leak, gets more."""
    return 1.0 if _keeps_current(layer) or not layer.dv else 1 / (layer.dv / 2**DECAY_BITS)


def _linear(weight: np.ndarray, layer: IntegerLayer) -> Tree:
    """Some weights of a layer, and for those who look the integers under the chip's names."""
    factor = _unit(layer) * _gain(layer) * 2.0**layer.weight_exp
    metadata = {"weight": weight, "scale": np.float64(layer.scale)}
    return {"type": "Linear", "weight": (weight * factor).astype(np.float32), "metadata": metadata}


def _convolution(where: str, convolution: Convolution, bias: np.ndarray | None) -> Tree:
    """What a ``Conv2d`` has beside its weights; biases ``[N]``."""
    channels, (height, width) = convolution.channels, convolution.kernel
    if height != width:
        raise InputError(
            f"{where}: the kernel is {height} x {width}, and nir checks square ones alone: fill it up with zeros, or change it"
        )
    by_channel = np.zeros((channels, 1)) if bias is None else bias.reshape(channels, -1)
    if (by_channel != by_channel[:, :1]).any():
        raise InputError(f"{where}: biases differ within a channel, but NIR's convolutions have one a channel: train with one")
    pairs = {"stride": convolution.stride, "padding": convolution.padding, "dilation": (1, 1), "input_shape": convolution.input_shape[1:]}
    fields: Tree = {name: np.array(pair, np.int64) for name, pair in pairs.items()}
    return fields | {"groups": np.int64(1), "bias": by_channel[:, 0].astype(np.float32)}
