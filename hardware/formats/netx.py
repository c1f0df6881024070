r"""Integer networks as lava-dl's ``.net`` files, which ``lava.lib.dl.netx.hdf5.Network`` loads. Written with h5py alone.

``layer/<k>`` holds a dense layer as in ``netx_dense.py`` or a convolution as in ``netx_convolution.py``, ``bias`` [N] if there is
one, and ``neuron`` with ``type`` "CUBA", ``iDecay`` = du + 1, ``vDecay`` = dv, ``vThMant``, ``refDelay`` = 1, ``gradedSpike`` = False.
A network that starts with a convolution has a layer "input" of its shape in front, and a layer "flatten" stands between one and a dense
layer.

**Biases** are shifted by 6 bits (the loader knows no other exponent), so the others cannot be carried. **Thresholds** are one a layer:
Lava's LIF has one, of shape (1,).

**Readout.** The network's output port carries spikes. For a readout whose membranes decide, look at ``network.out_layer.neuron.v`` after
the last step; with the largest threshold, 2^17 - 1, it never fires below saturation. Every layer answers a step later than the one
before it, though its bias acts from the first step on: the loader's ``reset_interval`` resets the layers one after the other. It does not
clear spikes that are on their way by delays or recurrent weights: leave blank steps between samples there, or run each by itself.

lava-dl takes no notice of the dataset ``polystep_snn`` beside ``layer``: our own file, with everything that has no place here.

Source: lava-dl ``netx/hdf5.py``, ``netx/utils.py`` and ``netx/blocks/process.py``; lava-nc ``utils/weightutils.py``.
"""

import io
import logging
from dataclasses import replace
from pathlib import Path
from reprlib import repr as shown
from typing import Any

import numpy as np

from polystep_snn.errors import InputError
from polystep_snn.files import write_atomically
from polystep_snn.hardware.formats import netx_convolution, netx_dense
from polystep_snn.hardware.formats.embedded import NAME, embed, extract, same
from polystep_snn.hardware.formats.hdf5 import Tree, one_number, part, read_tree, require
from polystep_snn.hardware.formats.netx_dense import split_weights as split_weights
from polystep_snn.hardware.integer_network import IntegerLayer, IntegerNetwork

BIAS_EXP = 6
_log = logging.getLogger("polystep_snn")


def write(path: str | Path, network: IntegerNetwork) -> None:
    """Write a network atomically.

    Args:
        path: the file, by custom ``.net``.
        network: one that the format can carry.

    Raises:
        InputError: h5py is not installed, the file cannot be written, or a layer has what the format has no place for; names it.
    """
    h5py = require("h5py")
    layers, data = describe(network), embed(network)
    # HDF5 does not survive a full disk: it writes to memory.
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        for k, fields in layers.items():
            group = file.create_group(f"layer/{k}")
            # The shape and type that lava-dl gives the name.
            group.create_dataset("type", (1,), "S10", [fields["type"][0].encode()])
            _fill(group, {name: value for name, value in fields.items() if name != "type"})
        file[NAME] = data
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(memory.getbuffer()))


def read(path: str | Path, num_steps: int | None = None) -> IntegerNetwork:
    """A chain of dense and convolutional CUBA layers: one that ``write`` was given, or one that lava-dl exported.

    A file of lava-dl says nothing of encoders or classes: the network takes "events", counts spikes, and numbers its classes.

    Args:
        path: the file.
        num_steps: T. Needed for a file of lava-dl, which does not say; replaces the one in a file of ours.

    Raises:
        InputError: no such file, a damaged one, a layer that has no counterpart here (names it), or one of ours that was changed since.
    """
    path = Path(path)
    tree = read_tree(path)
    layers = part(tree, "layer", dict, f"{path} is no lava-dl network: it")
    if NAME not in tree:
        if num_steps is None:
            raise InputError(f"{path} does not say for how many steps it runs: give num_steps")
        network = _foreign(path, layers, num_steps)
        _log.warning("%s: neurons fire above their threshold here, as in Lava and on the chip; while lava-dl trains, also at it", path.name)
        return network
    network = extract(part(tree, NAME, np.ndarray, f"{path}:"), path)
    if not same(describe(network), layers):
        raise InputError(f"{path}: the layers are no longer those of the network inside: export it again, or delete {NAME!r} from the file")
    return network if num_steps is None else replace(network, num_steps=num_steps)


def describe(network: IntegerNetwork) -> Tree:
    """The layers of a network's file as nested dicts, just as they are read.

    Raises:
        InputError: what the format cannot carry.
    """
    layers: list[Tree] = []
    shape: tuple[int, ...] | None = None
    for k, layer in enumerate(network.layers):
        convolution = layer.convolution
        if convolution is None:
            layers += [{"type": ["flatten"]}] if shape and len(shape) > 1 else []
            shape = (layer.num_neurons,)
        else:
            if shape is None:
                layers.append({"type": ["input"], "shape": np.array(convolution.input_shape, np.int64)})
            elif shape != convolution.input_shape:
                raise InputError(
                    f"layer {k} sees {list(convolution.input_shape)}, but what comes before it has shape {list(shape)}: "
                    "lava-dl cannot reshape it"
                )
            shape = convolution.output_shape
        layers.append(_layer_fields(f"layer {k}", layer))
    return {str(k): fields for k, fields in enumerate(layers)}


def _layer_fields(where: str, layer: IntegerLayer) -> Tree:
    if len(np.unique(layer.vth)) > 1:
        raise InputError(
            f"{where}: thresholds differ, {int(layer.vth.min())} to {int(layer.vth.max())}, but lava-dl has one a layer: train with one"
        )
    neuron: Tree = {
        "type": "CUBA",
        "iDecay": np.int64(layer.du + 1),
        "vDecay": np.int64(layer.dv),
        "vThMant": np.int64(layer.vth[0]),
        "refDelay": np.int64(1),
        "gradedSpike": np.bool_(False),
    }
    mantissas = _mantissas(where, layer) if layer.bias.any() else None
    if layer.convolution is not None:
        weight = layer.weight.astype(np.int16) << layer.weight_exp
        return netx_convolution.describe(where, weight, layer.convolution, mantissas) | {"neuron": neuron}
    return netx_dense.describe(where, layer, mantissas) | {"neuron": neuron}


def _mantissas(where: str, layer: IntegerLayer) -> np.ndarray:
    """The biases with the one exponent there is."""
    odd = layer.bias[layer.bias % 2**BIAS_EXP != 0]
    if odd.size:
        raise InputError(f"{where}: a bias is {int(odd[0])}, but lava-dl's are multiples of {2**BIAS_EXP}: round it, or train without")
    mantissas = layer.bias >> BIAS_EXP
    reach = np.iinfo(np.int16)
    wide = layer.bias[(mantissas < reach.min) | (mantissas > reach.max)]
    if wide.size:
        raise InputError(f"{where}: a bias is {int(wide[0])}, beyond 16 bits times {2**BIAS_EXP}: lower it")
    return mantissas


def _fill(group: Any, fields: Tree) -> None:
    for name, value in fields.items():
        if isinstance(value, dict):
            _fill(group.create_group(name), value)
        else:
            group[name] = value


def _foreign(path: Path, groups: Tree, num_steps: int) -> IntegerNetwork:
    """A network that lava-dl's loader would build the same."""
    numbered = [groups.get(str(k)) for k in range(len(groups))]
    layers: list[IntegerLayer] = []
    shape: tuple[int, ...] | None = None
    # By how many steps the outputs of the layer before are delayed.
    late: np.ndarray | None = None
    flat = False
    for k, group in enumerate(numbered):
        where = f"{path}: layer {k}"
        if not isinstance(group, dict):
            raise InputError(f"{where} is missing: the layers must be numbered from 0")
        try:
            kind = _type_of(group, "it")
            if kind == "input" and any(name in group for name in ("neuron", "weight", "bias")):
                raise InputError(
                    "its input block has neurons, which make spikes of values, and here spikes arrive: export the network without them, "
                    "and give it the spikes that they send"
                )
            if k == 0 and kind == "input":
                shape = netx_convolution.sizes(group, "shape", None) if "shape" in group else None
                continue
            if kind == "flatten" and (not layers or layers[-1].convolution is not None):
                flat = True
                continue
            if kind == "conv" and not flat:
                layers.append(_foreign_convolution(group, shape, late))
            elif kind in netx_dense.TYPES and (flat or not layers or layers[-1].convolution is None):
                fields, late = netx_dense.foreign(group, kind == "dense_rec", late)
                layers.append(IntegerLayer(**fields, **_foreign_neurons(group, len(fields["weight"]))))
            else:
                kinds = " and ".join(map(repr, netx_dense.TYPES))
                raise InputError(f"it is {shown(kind)}: only {kinds} layers are read, and 'conv' with a 'flatten' between the two")
            shape, flat = netx_convolution.output_shape(layers[-1]), False
            _layer_fields("its meaning in lava-dl", layers[-1])
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if not layers:
        raise InputError(f"{path} has no dense layer and no convolution: export a network")
    if late is not None:
        raise InputError(f"{path}: the outputs of its last layer are delayed by up to {late.max()} steps, and nothing comes after it here")
    first = layers[0].convolution
    return IntegerNetwork(
        layers=tuple(layers),
        readout="count",
        num_steps=num_steps,
        encoder="events",
        input_shape=(layers[0].num_inputs,) if first is None else first.input_shape,
        classes=tuple(str(c) for c in range(layers[-1].num_neurons)),
        provenance={"source": path.name},
    )


def _type_of(group: Tree, where: str) -> str:
    """The text at "type", alone or in a list of one."""
    value = group.get("type")
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    return part({"type": value}, "type", str, where)


def _foreign_convolution(group: Tree, input_shape: tuple[int, ...] | None, late: np.ndarray | None) -> IntegerLayer:
    if "delay" in group or late is not None:
        raise InputError("it is a convolution with delays, or behind delays, which have no counterpart here: dense layers have")
    weight, convolution, bias = netx_convolution.foreign(group, input_shape)
    neurons = _foreign_neurons(group, convolution.num_neurons)
    return IntegerLayer(weight=weight, bias_mant=bias, convolution=convolution, **neurons)


def _foreign_neurons(group: Tree, size: int) -> dict[str, Any]:
    neuron = part(group, "neuron", dict, "it")
    kind = _type_of(neuron, "its 'neuron'")
    if kind not in ("CUBA", "LOIHI"):
        raise InputError(f"its neurons are {shown(kind)}: only 'CUBA' ones are read")
    constants = {name: one_number(neuron, name) for name in ("iDecay", "vDecay", "vThMant")}
    for name, plain in (("messageBits", 0), ("gradedSpike", 0), ("refDelay", 1)):
        if name in neuron and one_number(neuron, name) != plain:
            raise InputError(f"{name} is {one_number(neuron, name)}: only {plain} has a counterpart here")
    if not -(2**31) <= constants["vThMant"] < 2**31:
        raise InputError(f"vThMant is {constants['vThMant']}: it must fit 17 bits")
    return {
        "vth": np.full(size, constants["vThMant"], np.int32),
        "bias_exp": BIAS_EXP,
        "du": constants["iDecay"] - 1,
        "dv": constants["vDecay"],
    }
